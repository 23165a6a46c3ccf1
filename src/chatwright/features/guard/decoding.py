"""Other ways to read a text: encoded stretches decoded, disguised letters shown plainly, so that rules see what a model would.

Owns the decoders and their bounds. Nothing of a view ever reaches a prompt: views are only looked at. Called by
`signals.py`, and by the flows that score a decoded view. Pure; linear in the text: every decoder reads it a bounded number
of times, and the views of one text hold no more than `MAX_DECODED` characters together.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import unquote

from chatwright.features.guard.folding import COMMON_WORDS, fold_lookalikes, has_lookalikes

MAX_VIEWS = 12
MAX_DECODED = 16_000
_SAMPLE = 400
"""Characters by which a text is tried for a cipher: who turns round what follows turns round the beginning, too."""
_TRIED = 150
"""Characters that are moved along the alphabet 25 times over."""

_BASE64 = re.compile(r"(?<![\w+/=-])(?:[A-Za-z0-9+/_-]{4,}+[\r\n]{0,2}+)++={0,2}")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[\s:,;]{0,2}+){8,}+")
_BINARY = re.compile(r"(?<![0-9A-Za-z])(?:[01]{8}[\s,]{0,2}+){4,}+")
_CODES = re.compile(r"(?<![0-9A-Za-z.])\d{2,3}(?:[\s,;]{1,2}+\d{2,3}(?!\d)){7,}+")
_ESCAPES = re.compile(r"(?:\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}){4,}+")
_ENTITY = re.compile(r"&#x?[0-9A-Fa-f]{1,6};")
_PERCENT = re.compile(r"%[2-7][0-9A-Fa-f]")
_MORSE = re.compile(r"(?<!\S)[.\-·−–]{1,6}+(?:[ /|\n]{1,3}+[.\-·−–]{1,6}+){7,}+")
_SPACED = re.compile(r"(?<![^\W_])[^\W_](?:(?:[ \t]{1,3}|[._*|~,/+-]{1,2} ?)[^\W_](?![^\W_])){5,}+")
_LEET_WORD = re.compile(r"[A-Za-z013457@$!|]{3,}+")
_LEET_LETTER = re.compile(r"[A-Za-z][013457@$!|]+[A-Za-z]|(?<![0-9A-Za-z])[013457@$][A-Za-z]+[013457@$!|]+[A-Za-z]")
_LONGEST_WORD = 30
_QUOTED = re.compile(r"""["'“‘]([^"'“”‘’\n]{2,200})["'”’]""")
_WORDS = re.compile(r"[^\W\d_]+")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEET_OTHER = str.maketrans("013457@$!|", "oleastasil")
_SHIFTS = tuple(
    {first + at: first + (at + shift) % 26 for first in (ord("a"), ord("A")) for at in range(26)} for shift in range(26)
)
_MORSE_LETTERS = {
    ".-": "a", "-...": "b", "-.-.": "c", "-..": "d", ".": "e", "..-.": "f", "--.": "g", "....": "h", "..": "i",
    ".---": "j", "-.-": "k", ".-..": "l", "--": "m", "-.": "n", "---": "o", ".--.": "p", "--.-": "q", ".-.": "r",
    "...": "s", "-": "t", "..-": "u", "...-": "v", ".--": "w", "-..-": "x", "-.--": "y", "--..": "z",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`text`: what the characters `start` to `end` of the text say when read as `kind`. `aligned`: character i of the view
    stands at `start + i`."""

    kind: str
    text: str
    start: int
    end: int
    aligned: bool = False


def find_views(text: str) -> tuple[View, ...]:
    """Every way to read `text` that differs from what stands there, at most `MAX_VIEWS`, none longer than what is left of
    `MAX_DECODED`. What was decoded is decoded once more, so that one wrapper inside another is seen."""
    views: list[View] = []
    room = MAX_DECODED
    for view in _decode(text):
        inner = [View(kind=deeper.kind, text=deeper.text, start=view.start, end=view.end) for deeper in _unwrap(view)]
        for found in (view, *inner):
            if len(views) >= MAX_VIEWS or room <= 0:
                return tuple(views)
            views.append(found if len(found.text) <= room else _cut(found, room))
            room -= len(found.text)
    return tuple(views)


def _cut(view: View, room: int) -> View:
    return View(kind=view.kind, text=view.text[:room], start=view.start, end=view.end, aligned=view.aligned)


def _unwrap(view: View) -> Iterator[View]:
    if view.kind in {"base64", "hex", "percent", "codes"}:
        for _, decoder in _STRETCHES:
            yield from decoder(view.text)


def _decode(text: str) -> Iterator[View]:
    for sign, decoder in _STRETCHES:
        if sign is None or sign in text:
            yield from decoder(text)
    yield from _read_disguised(text)
    yield from _read_ciphers(text)


def _read_base64(text: str) -> Iterator[View]:
    for match in _BASE64.finditer(text):
        found = match.group()
        if len(found) < 16:
            continue
        packed = re.sub(r"[\s=]", "", found)[:MAX_DECODED].replace("-", "+").replace("_", "/")
        packed = packed[: len(packed) - (len(packed) % 4 == 1)]
        try:
            said = base64.b64decode(packed + "=" * (-len(packed) % 4))
        except (binascii.Error, ValueError):
            continue
        yield from _as_text("base64", said, match)


def _read_hex(text: str) -> Iterator[View]:
    for match in _HEX.finditer(text):
        digits = re.sub(r"0x|\\x|[^0-9A-Fa-f]", "", match.group())[:MAX_DECODED]
        yield from _as_text("hex", bytes.fromhex(digits[: len(digits) & ~1]), match)


def _read_binary(text: str) -> Iterator[View]:
    for match in _BINARY.finditer(text):
        bits = re.sub(r"[^01]", "", match.group())[:MAX_DECODED]
        yield from _as_text("codes", bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8)), match)


def _read_codes(text: str) -> Iterator[View]:
    for match in _CODES.finditer(text):
        numbers = [int(number) for number in re.findall(r"\d+", match.group()[:MAX_DECODED])]
        if all(9 <= number <= 126 for number in numbers):
            yield from _as_text("codes", bytes(numbers), match)


def _read_escapes(text: str) -> Iterator[View]:
    for match in _ESCAPES.finditer(text):
        points = re.findall(r"\\[ux]([0-9A-Fa-f]+)", match.group()[:MAX_DECODED])
        said = "".join(chr(int(point, 16)) for point in points)
        yield from _as_text("codes", said.encode("utf-8", "replace"), match)


def _read_percent(text: str) -> Iterator[View]:
    matches = list(_PERCENT.finditer(text))
    if len(matches) >= 3:
        start, end = matches[0].start(), matches[-1].end()
        yield View(kind="percent", text=unquote(text[max(0, start - 80) : end + 80]), start=start, end=end)


def _read_entities(text: str) -> Iterator[View]:
    matches = list(_ENTITY.finditer(text))
    if len(matches) >= 4:
        start, end = matches[0].start(), matches[-1].end()
        yield View(kind="codes", text=unescape(text[max(0, start - 80) : end + 80]), start=start, end=end)


def _read_morse(text: str) -> Iterator[View]:
    for match in _MORSE.finditer(text):
        plain = re.sub("[·]", ".", re.sub("[−–]", "-", match.group()[:MAX_DECODED]))
        words = [
            [_MORSE_LETTERS.get(sign, "") for sign in word.split()] for word in re.split(r"\s*[/|]\s*|\s{2,}", plain)
        ]
        said = " ".join("".join(word) for word in words)
        if len(said) >= 6:
            yield View(kind="morse", text=said, start=match.start(), end=match.end())


def _as_text(kind: str, said: bytes, match: re.Match[str]) -> Iterator[View]:
    """A view, if the bytes are words: random bytes are neither UTF-8 nor mostly letters and spaces."""
    try:
        decoded = said.decode("utf-8")
    except UnicodeDecodeError:
        decoded = said.decode("latin-1")
    readable = sum(character.isalpha() or character.isspace() for character in decoded)
    if (
        len(decoded) >= 6
        and decoded.replace("\n", "").replace("\t", "").isprintable()
        and readable >= 0.75 * len(decoded)
    ):
        yield View(kind=kind, text=decoded, start=match.start(), end=match.end())


def _read_disguised(text: str) -> Iterator[View]:
    """Letters that only look like others, digits for letters, letters set apart, words in pieces."""
    if has_lookalikes(text):
        yield View(kind="lookalikes", text=fold_lookalikes(text), start=0, end=len(text), aligned=True)
    if _LEET_LETTER.search(text):
        leet = [match for match in _LEET_WORD.finditer(text) if _is_leet(match.group())]
        for table in (_LEET, _LEET_OTHER) if "1" in text else (_LEET,):
            said = list(text)
            for match in leet:
                said[match.start() : match.end()] = match.group().translate(table)
            yield View(kind="leetspeak", text="".join(said), start=0, end=len(text), aligned=True)
    for match in _SPACED.finditer(text):
        # Two spaces, or another sign than the one between letters, stand between words.
        words = re.split(r"\s{2,}|\s*[/|]\s*| (?=\S[._*~,+-])", match.group())
        joined = " ".join(re.sub(r"[\W_]", "", word) for word in words)
        if len(joined) >= 6:
            yield View(kind="spaced", text=joined, start=match.start(), end=match.end())
    if "+" in text or "=" in text:
        pieces = list(_QUOTED.finditer(text))
        if len(pieces) >= 2:
            joined = [piece.group(1) for piece in pieces[:20]]
            start, end = pieces[0].start(), pieces[-1].end()
            yield View(kind="split", text="".join(joined), start=start, end=end)
            yield View(kind="split", text=" ".join(joined), start=start, end=end)


def _is_leet(word: str) -> bool:
    """Letters and digits mixed, which "10am" and "mp3" are, too: that costs a look, no more."""
    return len(word) <= _LONGEST_WORD and not word.isalpha() and any(letter.isalpha() for letter in word)


def _read_ciphers(text: str) -> Iterator[View]:
    """The text turned round, or its letters moved along the alphabet, where that has words and the text has none."""
    sample = text[:_SAMPLE]
    words = [word for word in _WORDS.findall(sample.casefold()) if len(word) > 2]
    if len(words) < 3 or not sample.isascii():
        return
    known = sum(word in COMMON_WORDS for word in words)
    if known * 5 > len(words):
        return
    least = max(2, known + 1, len(words) // 5)
    if sum(word[::-1] in COMMON_WORDS for word in words) >= least:
        bounded = text[:MAX_DECODED]
        yield View(kind="reversed", text=bounded[::-1], start=0, end=len(text))
        yield View(kind="reversed", text=_WORDS.sub(lambda word: word.group()[::-1], bounded), start=0, end=len(text))
    tried = " ".join(words)[:_TRIED]
    for shift in range(1, 26):
        if sum(word in COMMON_WORDS for word in tried.translate(_SHIFTS[shift]).split()) >= least:
            kind = "rot13" if shift == 13 else "shifted"
            yield View(kind=kind, text=text[:MAX_DECODED].translate(_SHIFTS[shift]), start=0, end=len(text))


_STRETCHES: tuple[tuple[str | None, Callable[[str], Iterator[View]]], ...] = (
    (None, _read_base64),
    (None, _read_hex),
    (None, _read_binary),
    (None, _read_codes),
    ("\\", _read_escapes),
    ("%", _read_percent),
    ("&#", _read_entities),
    (None, _read_morse),
)
