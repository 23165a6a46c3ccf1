"""Finds banned terms in a text that is still being written. Pure.

Owns how terms and text are compared: letters folded (case, accents, look-alikes), invisible characters and Markdown's marks
inside a word passed over, digits read as the letters they stand for, letters written apart put together. A term is whole words;
scripts without spaces have none, and a star at an end of a term lets the word go on there. Called by `output.py`.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from chatwright.features.guard.folding import fold_lookalikes


def _ranges(characters: Iterable[str]) -> list[tuple[str, str]]:
    ranges: list[tuple[str, str]] = []
    for character in sorted(characters):
        if ranges and ord(character) == ord(ranges[-1][1]) + 1:
            ranges[-1] = (ranges[-1][0], character)
        else:
            ranges.append((character, character))
    return ranges


IGNORED: Final = frozenset(
    chr(point)
    for point in (*range(0xAD, 0x3100), *range(0xA66F, 0x11A00), *range(0x1BC9D, 0x1F000), *range(0xE0000, 0xE01F0))
    if unicodedata.category(chr(point)) in ("Mn", "Me", "Cf")
)
"""What is seen as nothing, or as part of the letter before it."""
IGNORED_CLASS: Final = "".join(f"{first}-{last}" if first != last else first for first, last in _ranges(IGNORED))
"""The same, as it stands in a class of characters of a pattern."""
MAX_IGNORED = 8
"""So many of them in a row pass inside a word. `output.py` lets no more through."""
_MARKDOWN = frozenset("*_~`\\")
_MAX_MARKDOWN = 4
_MAX_APART = 8  # characters that are no letters between two words of a term
_MAX_SPACED = 3  # and between two letters that are written apart
_LEAST_SPACED = 3
_LEET = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "@": "a", "$": "s", "!": "i", "|": "l"}
_OF_LEET: dict[str, str] = {}
for _mark, _letter in _LEET.items():
    _OF_LEET[_letter] = _OF_LEET.get(_letter, "") + _mark
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af]"
)

Node = dict[str, Any]
"""One step of a trie: character -> node; "" -> `_End` where a term may end."""


@dataclass(frozen=True, slots=True)
class _End:
    rule: str
    bounded: bool  # the word must end here


@dataclass(frozen=True, slots=True)
class Span:
    """`rule` holds from `start` to `end` of the text that was scanned."""

    start: int
    end: int
    rule: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """`spans` are certain, in order, and do not overlap. From `open_at` on everything hangs on what follows."""

    spans: list[Span]
    open_at: int


def fold_text(text: str) -> str:
    """`text` as it is compared, of the same length."""
    return text.lower() if text.isascii() else fold_lookalikes(text)


class TermMatcher:
    """Looks for all terms of a list at once. Building takes 2 µs a letter; scanning about 1 µs a word."""

    def __init__(self, rules: Iterable[tuple[str, Sequence[str]]], *, spaced: bool = True) -> None:
        """`rules`: a rule's name and its terms. `spaced`: also find letters written apart."""
        self._spaced = spaced
        self._words: Node = {}
        self._anywhere: Node = {}
        for rule, terms in rules:
            for term in terms:
                self._add(rule, term)
        self._word_start = _starts(self._words, r"(?<![^\W_])")
        self._any_start = _starts(self._anywhere, "")

    def scan(self, folded: str, begin: int, *, last: bool) -> Scanned:
        """Look at `folded` (see `fold_text`) from `begin` on; what stands before it only says where words begin. `last`:
        nothing follows."""
        spans: list[Span] = []
        open_at = len(folded)
        for root, pattern in ((self._words, self._word_start), (self._anywhere, self._any_start)):
            if pattern is None:
                continue
            free = begin
            for start in pattern.finditer(folded, begin):
                at = start.start()
                if at < free:
                    continue
                found = _walk(root, folded, at, last=last)
                if found is None and self._spaced:
                    found = _walk_spaced(root, folded, at, last=last)
                if found is _OPEN:
                    open_at = min(open_at, at)
                    break
                if found is not None:
                    spans.append(found)
                    free = found.end
        spans.sort(key=lambda span: span.start)
        return Scanned(spans, open_at)

    def _add(self, rule: str, term: str) -> None:
        for folded in _foldings(term):
            bare = folded.removeprefix("*").removesuffix("*")
            left_open = folded.startswith("*") or not bare or _is_free(bare[0])
            right_open = folded.endswith("*") or not bare or _is_free(bare[-1])
            if not bare:
                continue
            node = self._anywhere if left_open else self._words
            for character in bare:
                node = node.setdefault(character, {})
            known: _End | None = node.get("")
            node[""] = _End(known.rule if known else rule, not right_open and (known is None or known.bounded))


def is_spaceless(character: str) -> bool:
    """Whether a character is of a script that puts no spaces between words."""
    return _SPACELESS.match(character) is not None


def _foldings(term: str) -> set[str]:
    spelt = {term, term.replace("ß", "ss").replace("ẞ", "SS")}
    return {
        " ".join("".join(character for character in fold_text(each) if character not in IGNORED).split())
        for each in spelt
    }


def _is_free(character: str) -> bool:
    """Whether a term may begin or end with `character` in the midst of what looks like a word."""
    return not character.isalnum() or _SPACELESS.match(character) is not None


def _starts(root: Node, boundary: str) -> re.Pattern[str] | None:
    """Where a term of the trie may begin: its first letter, and behind it the second or what may stand between them."""
    branches = [
        f"[{_as_class(first)}](?=[{_as_class(*node)}\\W_]|\\Z)" if "" not in node else f"[{_as_class(first)}]"
        for first, node in root.items()
        if first
    ]
    return re.compile(f"{boundary}(?:{'|'.join(branches)})") if branches else None


def _as_class(*characters: str) -> str:
    """The characters and the digits that are read as them, as they stand in a class of a pattern."""
    return re.escape("".join(dict.fromkeys(each for one in characters for each in one + _OF_LEET.get(one, ""))))


_OPEN: Final = Span(-1, -1, "")


def _walk(root: Node, text: str, at: int, *, last: bool) -> Span | None:
    """The longest term that begins at `at`; `_OPEN` while more text may change that."""
    return _follow(_Step(root), text, at, at, last=last)


@dataclass(slots=True)
class _Step:
    """How far a walk has come: counts of letters, of digits read as letters, and of what was passed over in a row."""

    node: Node
    letters: int = 0
    digits: int = 0
    passed: int = 0
    marks: int = 0
    apart: int = 0


def _follow(step: _Step, text: str, at: int, here: int, *, last: bool) -> Span | None:
    found, size = None, len(text)
    while here < size:
        character = text[here]
        child = step.node.get(character)
        if child is None and character in _LEET:
            child = step.node.get(_LEET[character])
            step.digits += child is not None
        if child is not None:
            step.node, here = child, here + 1
            step.letters += 1
            step.passed = step.marks = 0
            step.apart = 1 if character == " " else 0
            end: _End | None = child.get("")
            if end is not None and step.digits * 2 <= step.letters:
                fits = _ends_word(text, here, last=last) if end.bounded else True
                if fits is None:
                    return _OPEN
                if fits:
                    found = Span(at, here, end.rule)
                    if len(child) == 1:
                        return found
            continue
        if character in IGNORED:
            step.passed += 1
            if step.passed > MAX_IGNORED:
                return found
        elif step.apart and not character.isalnum():
            step.apart += 1
            if step.apart > _MAX_APART:
                return found
        elif not step.apart and " " in step.node and not character.isalnum():
            # The mark may stand between two words as well as within one: both are followed.
            other = _Step(step.node[" "], step.letters, step.digits, apart=1)
            if character not in _MARKDOWN or step.marks >= _MAX_MARKDOWN:
                step = other
            else:
                branch = _follow(other, text, at, here + 1, last=last)
                if branch is _OPEN:
                    return _OPEN
                found = branch or found
                step.marks += 1
        elif character in _MARKDOWN and step.marks < _MAX_MARKDOWN:
            step.marks += 1
        else:
            return found
        here += 1
    return found if last else _OPEN


def _ends_word(text: str, at: int, *, last: bool) -> bool | None:
    """Whether no letter follows directly on `at`; None: that is not written yet."""
    passed = 0
    while at < len(text):
        character = text[at]
        if character.isalnum():
            return _SPACELESS.match(character) is not None
        if character not in IGNORED and character not in _MARKDOWN:
            return True
        passed += 1
        if passed > MAX_IGNORED + _MAX_MARKDOWN:
            return True
        at += 1
    return True if last else None


def _walk_spaced(root: Node, text: str, at: int, *, last: bool) -> Span | None:
    """The same for a word whose letters are written apart: "b a d", "b.a.d"."""
    node = root
    here, size, letters, digits = at, len(text), 0, 0
    while here < size:
        character = text[here]
        step = node.get(character)
        if step is None and character in _LEET:
            step = node.get(_LEET[character])
            digits += step is not None
        if step is None or character == " ":
            return None
        node, here, letters = step, here + 1, letters + 1
        if here < size and text[here].isalnum():
            return None
        end: _End | None = node.get("")
        if end is not None and letters >= _LEAST_SPACED and digits * 2 <= letters and (here < size or last):
            return Span(at, here, end.rule)
        between = here
        while here < size and not text[here].isalnum() and text[here] not in "@$!|":
            here += 1
        if here - between > _MAX_SPACED:
            return None
    return None if last else _OPEN


@lru_cache(maxsize=64)
def matcher_of(rules: tuple[tuple[str, tuple[str, ...]], ...], spaced: bool) -> TermMatcher:  # noqa: FBT001 - a cache's key
    """A matcher, built once for a list: the same few lists serve every answer of a chatbot."""
    return TermMatcher(rules, spaced=spaced)
