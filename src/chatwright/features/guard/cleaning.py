"""Takes characters out of a text that nobody sees: hidden letters, marks of direction, selectors that carry bytes.

Owns which of them belong to a real script or emoji and stay. What stays is not changed, except that it is brought into
normal form C. Called at accept, and for whatever else gets into a prompt: metadata, imported rows, documents. Pure.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from chatwright.domain.guard import Finding

_FLAGS = "|".join(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)
_HIDDEN_RUN = 3
"""Fewer invisible characters than this come from word processors and web pages every day; nobody needs to hear of them."""

# One alternative a kind. The flags come first: a flag of England is spelt with the very letters that hide text elsewhere.
_SUSPECT = re.compile(
    f"(?P<flag>{_FLAGS})"
    "|(?P<tags>[\U000e0000-\U000e007f]+)"
    "|(?P<selectors>[\ufe00-\ufe0f\U000e0100-\U000e01ef]+)"
    "|(?P<joiners>[\u200b-\u200d])"
    "|(?P<marks>[\u200e\u200f\u061c]+)"
    "|(?P<bidi>[\u202a-\u202e\u2066-\u2069])"
    "|(?P<fillers>[\u115f\u1160\u180e\u034f])"
    "|(?P<blank>[\u00ad\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0080-\U000e00ff\U000e01f0-\U000e0fff]+)"
    "|(?P<controls>[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]+)"
)
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
# Scripts whose letters join or break by ZWJ and ZWNJ: Arabic and its kin, those of India, Tibet, Myanmar, Khmer, Mongolia.
_JOINING = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefc"
    "\U00010a00-\U00010fff\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
# Scripts without spaces between words, where a zero-width space says where a line may break.
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u1a1f\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf]")
_HAN = re.compile("[\u2e80-\u2fdf\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PAIRED = {"\u202c": "\u202a\u202b\u202d\u202e", "\u2069": "\u2066\u2067\u2068"}
_OVERRIDES = "\u202d\u202e"
_EMOJI_BASES = "0123456789#*\u2139\u203c\u2049\u3030\u24c2"

_RULES = {
    "tags": "hidden_tags",
    "selectors": "hidden_selectors",
    "joiners": "hidden_zero_width",
    "marks": "hidden_bidi",
    "bidi": "hidden_bidi",
    "fillers": "hidden_zero_width",
    "blank": "hidden_zero_width",
    "controls": "hidden_controls",
}
_SCORES = {
    "hidden_tags": 0.95,
    "hidden_selectors": 0.9,
    "hidden_bidi": 0.5,
    "hidden_zero_width": 0.4,
    "hidden_controls": 0.2,
}
HIDDEN = frozenset(_SCORES)
"""Rules that cleaning finds by."""
SPELLING = frozenset(("hidden_tags", "hidden_selectors"))
"""Those of them whose characters stand for a text, which is then in `Cleaned.hidden`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """`findings`: what was hidden, a kind each, with spans in the text as it came. `hidden`: what the tags and selectors
    spelt, to be scanned like any text; empty almost always."""

    text: str
    findings: tuple[Finding, ...] = ()
    hidden: str = ""


@dataclass(slots=True)
class _Dropped:
    count: int
    start: int
    end: int


def clean(text: str) -> Cleaned:
    """Drop what is invisible and has no business where it stands. Linear; twice is the same as once."""
    if text.isascii() and text.isprintable():
        return Cleaned(text=text)
    dropped: dict[str, _Dropped] = {}
    spelt: list[str] = []
    current = _strip(text, dropped, spelt)
    while True:
        # Composing may bring together what stood apart, so both are repeated until nothing moves.
        composed = current if unicodedata.is_normalized("NFC", current) else unicodedata.normalize("NFC", current)
        current = _strip(composed, {}, [])
        if current == composed:
            break
    findings = tuple(
        Finding(rule=rule, start=seen.start, end=seen.end, score=_SCORES[rule])
        for rule, seen in dropped.items()
        if rule == "hidden_tags" or seen.count >= _HIDDEN_RUN
    )
    return Cleaned(text=current, findings=findings, hidden="".join(spelt) if findings else "")


def _strip(text: str, dropped: dict[str, _Dropped], spelt: list[str]) -> str:
    """`text` without what has to go. Notes in `dropped` what went, by rule, and in `spelt` what it said."""
    match = _SUSPECT.search(text)
    if match is None:
        return text
    keeps = _Keeping(text)
    pieces: list[str] = []
    at, last = 0, ""
    for match in _SUSPECT.finditer(text):
        kind, start, end = str(match.lastgroup), match.start(), match.end()
        if start > at:
            pieces.append(text[at:start])
            last = text[start - 1]
        at = end
        found = match.group()
        kept = keeps(kind, last, found, start, end)
        if kept:
            pieces.append(kept)
            last = kept[-1]
        if len(kept) < len(found):
            # A visible neighbour within the word is what makes it hiding; at the edges it is a slip of copy and paste.
            if kind in {"joiners", "blank"} and not (last.isalnum() and text[end : end + 1].isalnum()):
                continue
            rule = _RULES[kind]
            seen = dropped.setdefault(rule, _Dropped(0, start, end))
            seen.count, seen.end = seen.count + len(found) - len(kept), end
            if kind == "tags" or (kind == "selectors" and len(found) > 1):
                spelt.append(_spell(found))
    pieces.append(text[at:])
    return "".join(pieces)


class _Keeping:
    """Says of each suspect what stays of it. `last` is the character before it that stays, empty at the beginning."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._right_to_left = _RIGHT_TO_LEFT.search(text) is not None
        self._paired: frozenset[int] | None = None
        self._selectors_left: int | None = None
        self._kinds: dict[str, Callable[[str, str, int, int], str]] = {
            "flag": lambda _last, found, _start, _end: found,
            "selectors": self._selectors,
            "joiners": self._joiners,
            "marks": self._marks,
            "bidi": self._bidi,
            "fillers": self._fillers,
        }

    def __call__(self, kind: str, last: str, found: str, start: int, end: int) -> str:
        keep = self._kinds.get(kind)
        return keep(last, found, start, end) if keep else ""

    def _selectors(self, last: str, found: str, _start: int, _end: int) -> str:
        if len(found) > 1 or not last:
            return ""
        if found in "\ufe0e\ufe0f":
            return found if last in _EMOJI_BASES or unicodedata.category(last) in {"So", "Sm", "Sk"} else ""
        if _HAN.match(last):
            if self._selectors_left is None:
                # Names need a rare form now and then; a selector behind every other sign is a message of its own.
                self._selectors_left = 2 + len(_HAN.findall(self._text)) // 8
            self._selectors_left -= 1
            return found if self._selectors_left >= 0 else ""
        standard = found <= "\ufe02" and (unicodedata.category(last) in {"Sm", "So"} or "\u1000" <= last <= "\u109f")
        return found if standard else ""

    def _joiners(self, last: str, found: str, _start: int, end: int) -> str:
        following = self._text[end : end + 1]
        if found == "\u200b":
            return found if _SPACELESS.match(last) and (_SPACELESS.match(following) or not following.isalnum()) else ""
        if last and _JOINING.match(last):
            return found
        return found if found == "\u200d" and last and following and _is_emoji(last) and _is_emoji(following) else ""

    def _marks(self, _last: str, found: str, _start: int, _end: int) -> str:
        return found[:2] if self._right_to_left else ""

    def _bidi(self, _last: str, found: str, start: int, _end: int) -> str:
        if not self._right_to_left:
            return ""
        if self._paired is None:
            self._paired = _pair(self._text)
        return found if start in self._paired else ""

    def _fillers(self, last: str, found: str, _start: int, end: int) -> str:
        following = self._text[end : end + 1]
        if found == "\u180e":
            return found if "\u1800" <= last <= "\u18af" and last != found else ""
        if found == "\u034f":
            return found if last != found and following and unicodedata.combining(following) else ""
        # Halves of old Korean syllables: an empty beginning wants a vowel, an empty vowel wants a beginning.
        if found == "\u115f":
            return found if "\u1161" <= following <= "\u11a7" else ""
        return found if "\u1100" <= last <= "\u115e" else ""


def _pair(text: str) -> frozenset[int]:
    """Where the marks stand that embed or isolate a stretch and are closed again. An override turns letters round, so
    it goes, with what closes it."""
    stack: list[tuple[str, int]] = []
    paired: list[int] = []
    for match in re.finditer("[\u202a-\u202e\u2066-\u2069]", text):
        mark, at = match.group(), match.start()
        openers = _PAIRED.get(mark)
        if openers is None:
            stack.append((mark, at))
        elif stack and stack[-1][0] in openers:
            opener, opened = stack.pop()
            if opener not in _OVERRIDES:
                paired += (opened, at)
    return frozenset(paired)


def _is_emoji(character: str) -> bool:
    return character == "\ufe0f" or unicodedata.category(character) in {"So", "Sm", "Sk"}


def _spell(found: str) -> str:
    """What hidden characters stand for: tags are ASCII moved up, selectors count bytes."""
    points = [ord(character) for character in found]
    if points[0] >= 0xE0100 or points[0] < 0xE0000:
        codes = bytes(point - 0xFE00 if point < 0xE0000 else min(point - 0xE0100 + 16, 255) for point in points)
        return codes.decode("utf-8", "replace")
    return "".join(chr(point - 0xE0000) for point in points if 0x20 <= point - 0xE0000 < 0x7F)
