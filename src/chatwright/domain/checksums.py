"""Numbers that prove themselves: cards by Luhn's digit, accounts by ISO 13616. Pure.

Used by the cache, which keeps nothing that is somebody's, and by the guard, which masks it.
"""


def is_luhn(digits: str) -> bool:
    """Whether the last of `digits` is the check digit of a card's number."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_iban(text: str) -> bool:
    """Whether an account's number is whole: 15 to 34 characters, spaces left out, that leave 1 when divided by 97."""
    code = text.replace(" ", "").upper()
    if not 15 <= len(code) <= 34 or not code.isascii() or not code.isalnum():
        return False
    return int("".join(str(int(character, 36)) for character in code[4:] + code[:4])) % 97 == 1
