"""Finds a prompt in an answer that spells it otherwise: in base64, in hexadecimal digits, in letters written apart. Pure.

What is read so is compared letter by letter. Only a stretch that looks encoded is ever held, and of a long one only its end.
Called by `output.py`.
"""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

GRAM: Final = 24
"""So many letters of a prompt in a row are no chance."""
_WINDOW = 160
_EVERY = 40
_LONGEST = 4_096


@dataclass(frozen=True, slots=True)
class _Kind:
    """One way to write letters otherwise: `run` is a whole stretch of it, `known` how much of one it takes to know it for one,
    `more` what may stand at the end of the text behind a stretch that goes on."""

    run: re.Pattern[str]
    known: re.Pattern[str]
    more: re.Pattern[str]


_PAIR = r"(?:0x|\\x)?[0-9a-fA-F]{2}"
_PAIR_READ = re.compile(r"(?:0x|\\x)?([0-9a-fA-F]{2})")
_KINDS = {
    "base64": _Kind(
        re.compile(r"[A-Za-z0-9+/_-]{24,}(?:\r?\n[A-Za-z0-9+/_-]{4,})*+"),
        re.compile(r"[A-Za-z0-9+/_-]{24}"),
        re.compile(r"(?:\r?(?:\n[A-Za-z0-9+/_-]{0,3})?)?\Z"),
    ),
    "hex": _Kind(
        re.compile(rf"(?<![^\W_])(?:{_PAIR}[\s:,-]{{0,2}}){{12,}}"),
        re.compile(rf"(?:{_PAIR}[\s:,-]{{0,2}}){{11}}{_PAIR}"),
        re.compile(r"(?:0x?|\\x?)?[0-9a-fA-F]?\Z"),
    ),
    "spaced": _Kind(
        re.compile(r"(?<![^\W_])(?:[^\W_](?![^\W_])[\W_]{1,3}){12,}[^\W_]?"),
        re.compile(r"(?:[^\W_](?![^\W_])[\W_]{1,3}){11}[^\W_][\W_]"),
        re.compile(r"\Z"),
    ),
}
_SUSPECT = re.compile(
    rf"[A-Za-z0-9+/_-]{{24}}|(?:{_PAIR}[\s:,-]{{0,2}}){{8}}|(?:(?<![^\W_])[^\W_](?![^\W_])[\W_]{{1,3}}){{5}}"
)
"""What the end of every stretch has in it once the stretch is known, and ordinary text has not."""
_REACH = 64  # characters of text before a new piece that it may take
_KEPT = 100  # of what has gone out: a stretch may have begun there


class EncodedWatch:
    """Follows one answer to `prompt`; `told` gives what every visitor may read."""

    def __init__(self, prompt: str, told: Callable[[], Sequence[str]]) -> None:
        self._grams = _grams(prompt)
        self._told = told
        self._text = ""
        self._at = 0
        self._checked: dict[tuple[str, int], int] = {}
        self._done: dict[str, int] = {}
        self._open = False
        self.open_at = 0
        self.leak_at: int | None = None
        self.leak_end = 0

    def feed(self, text: str, *, last: bool = False) -> None:
        """Take new text as it is. Positions count from the answer's beginning."""
        self._text += text
        size = len(self._text)
        self.open_at = self._at + size
        keep_from = max(0, size - _KEPT)
        if not self._grams:
            return
        if not self._open and _SUSPECT.search(self._text, max(0, size - len(text) - _REACH)) is None:
            self._forget(keep_from)
            return
        self._open = False
        for kind, patterns in _KINDS.items():
            since = max(self._done.get(kind, 0) - self._at, 1 if self._at else 0)
            for run in patterns.run.finditer(self._text, since):
                known = patterns.known.match(self._text, run.start())
                if known is None:
                    continue
                is_open = not last and patterns.more.match(self._text, run.end()) is not None
                name = (kind, self._at + run.start())
                checked = self._checked.get(name, self._at + run.start()) - self._at
                if not is_open or run.end() - checked >= _EVERY:
                    self._check(kind, run.start(), known.end() - 1, run.end(), checked)
                    self._checked[name] = self._at + run.end()
                if not is_open:
                    self._done[kind] = self._at + run.end()
                if is_open and run.end() - run.start() <= _LONGEST:
                    self._open = True
                    keep_from = min(keep_from, max(0, run.start() - 1))
                    held = max(known.end() - 1, run.end() - _WINDOW)
                    self.open_at = min(self.open_at, self._at + held)
        self._forget(keep_from)

    def _forget(self, count: int) -> None:
        if count:
            self._text, self._at = self._text[count:], self._at + count
        if self._checked:
            self._checked = {name: end for name, end in self._checked.items() if name[1] >= self._at}

    def _check(self, kind: str, start: int, known: int, end: int, checked: int) -> None:
        """Compare what a stretch says, from a little before where it was last compared."""
        for pairs in _DECODERS[kind](self._text, start, end, max(start, checked - _WINDOW)):
            said = "".join([letter for letter, _ in pairs])
            for at in range(len(said) - GRAM + 1):
                if said[at : at + GRAM] in self._grams and not self._is_told(said[at : at + GRAM]):
                    cut = self._at + max(pairs[at][1], known)
                    if self.leak_at is None or cut < self.leak_at:
                        self.leak_at, self.leak_end = cut, self._at + pairs[at + GRAM - 1][1] + 1
                    break

    def _is_told(self, gram: str) -> bool:
        return any(gram in letters_of(text) for text in self._told())


def letters_of(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


@lru_cache(maxsize=32)
def _grams(prompt: str) -> frozenset[str]:
    """Every fourth run of letters: a stretch that is three letters longer has one of them in it."""
    letters = letters_of(prompt)
    return frozenset(letters[at : at + GRAM] for at in range(0, len(letters) - GRAM + 1, 4))


_Letters = list[tuple[str, int]]
"""Letters as they are read, each with its place in the text."""


def _of_base64(text: str, start: int, end: int, since: int) -> Iterator[_Letters]:
    """Four readings: whatever stands before it in the same stretch moves the beginning of what is encoded."""
    places = [at for at in range(max(start, since), end) if not text[at].isspace()]
    for offset in range(4):
        pairs: _Letters = []
        for at in range(offset, len(places) - 1, 4):
            four = "".join([text[place] for place in places[at : at + 4]]).replace("-", "+").replace("_", "/")
            raw = base64.b64decode(four + "=" * (4 - len(four)))
            pairs += [(letter, places[at]) for letter in letters_of(raw.decode("latin-1"))]
        yield pairs


def _of_hex(text: str, start: int, end: int, since: int) -> Iterator[_Letters]:
    pairs = [found for found in _PAIR_READ.finditer(text, start, end) if found.start() >= since]
    yield [(letter, pair.start()) for pair in pairs for letter in letters_of(chr(int(pair[1], 16)))]


def _of_spaced(text: str, _start: int, end: int, since: int) -> Iterator[_Letters]:
    yield [(text[at].lower()[:1], at) for at in range(since, end) if text[at].isalnum()]


_DECODERS: dict[str, Callable[[str, int, int, int], Iterator[_Letters]]] = {
    "base64": _of_base64,
    "hex": _of_hex,
    "spaced": _of_spaced,
}
