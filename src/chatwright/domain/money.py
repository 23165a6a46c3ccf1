"""Money is an integer count of nanodollars (1e-9 USD): sums are exact, and the smallest token price is a whole number."""

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import NewType

Nano = NewType("Nano", int)

NANO_PER_USD = 1_000_000_000


def nano_from_usd(amount: Decimal) -> Nano:
    """Convert USD to nanodollars, rounded up: a fraction of a nanodollar is never lost to us."""
    return Nano(int((amount * NANO_PER_USD).to_integral_value(rounding=ROUND_CEILING)))


def parse_usd(text: str) -> Nano:
    """Read a decimal string such as ``"12.50"``. Raises ValueError for anything that is not a finite amount >= 0."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not a decimal amount: {text!r}") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"not an amount of money: {text!r}")
    return nano_from_usd(amount)


def format_usd(amount: Nano | int) -> str:
    """Write nanodollars as a decimal string without an exponent, at least two digits after the point."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(int(amount)), NANO_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{digits}"
