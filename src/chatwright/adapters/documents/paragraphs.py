"""Lines of a page, with their places and sizes, as paragraphs, items and headings. Pure; used by `pdf`."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from chatwright.adapters.documents.blocks import clean, squeeze
from chatwright.domain.documents import Block

_ITEM = re.compile(r"([•‣◦▪●○■□–—*·-]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])[ \t]+(?=\S)")
_NUMBERED_HEADING = re.compile(r"(?:(?:chapter|section|appendix|part|kapitel|abschnitt|anhang)\s+)?(?:[A-Z]|\d{1,2})(?:\.\d{1,2}){0,3}\.?\s+\S", re.IGNORECASE)  # fmt: skip
_ENDS_SENTENCE = re.compile(r"[.!?。！？:;,][\"'”’)]*$")
_BROKEN = "\ufffe"  # PDFium's mark for a hyphen at the end of a line; the line break is gone already
_WORD = re.compile(r"\w{2,}")
_BROKEN_WORD = re.compile(r"(\w+)\ufffe(\w+)")
MAX_HEADING_CHARACTERS = 160
_MAX_SEEN_WORDS = 50_000
_PRESENTATION = re.compile("[\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufdff\ufe70-\ufeff]")  # ligatures, Arabic letter shapes
_PRIVATE = re.compile("[\ue000-\uf8ff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of text. Lengths are points; `y` is the height of its bottom, from the page's bottom."""

    text: str
    size: float
    bold: bool
    x0: float
    x1: float
    y: float
    height: float


def readable(text: str) -> bool:
    """False for letters of a font that does not tell which they are: control and private characters."""
    odd = sum(character < " " or "\ue000" <= character <= "\uf8ff" or character == "\ufffd" for character in text)
    return odd * 3 < len(text)


class Composer:
    """Puts lines together, page after page. Holds the paragraph in progress: it may go on over a page's end."""

    def __init__(self, outline: dict[tuple[int, str], int]) -> None:
        self._outline = outline
        self._sizes: Counter[float] = Counter()
        self._seen: set[str] = set()
        self._lines: list[Line] = []
        self._page = 1
        self._kind: tuple[str, int] = ("prose", 0)

    def add(self, page: int, lines: list[Line]) -> Iterator[Block]:
        """Blocks that the lines of a page complete, in order."""
        for line in lines:
            self._sizes[line.size] += len(line.text)
        self._see(lines)
        body = self._sizes.most_common(1)[0][0] if self._sizes else 0.0
        for number, line in enumerate(lines):
            turned = number == 0
            follows = lines[number + 1] if number + 1 < len(lines) else None
            kind = self._kind_of(page, line, body)
            if kind[0] == "prose" and line.bold and _stands_out(line, None if turned else lines[number - 1], follows):
                kind = ("heading", 4)
            previous = self._lines[-1] if self._lines else None
            if previous is None or self._begins(line, previous, kind, turned=turned):
                yield from self.end()
                self._page, self._kind = page, kind
            self._lines.append(line)

    def _see(self, lines: list[Line]) -> None:
        """Take note of whole words, to tell later what a hyphen at a line's end meant."""
        if len(self._seen) >= _MAX_SEEN_WORDS:
            return
        was_broken = bool(self._lines) and self._lines[-1].text.endswith("-")
        for line in lines:
            found = _WORD.findall(_BROKEN_WORD.sub(" ", line.text.casefold()))
            is_broken = line.text.endswith(("-", "\u00ad", "‐"))
            self._seen.update(found[was_broken : len(found) - is_broken])
            was_broken = is_broken

    def end(self) -> Iterator[Block]:
        """The paragraph in progress, if any."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        kind, level = self._kind
        text = self._join(lines)
        marker = _ITEM.match(text)
        if not text:
            return
        if kind == "heading" and len(text) <= MAX_HEADING_CHARACTERS:
            yield Block(kind="heading", text=squeeze(text), level=level, page=self._page, anchor="")
        elif marker and kind == "item":
            mark = "-" if not marker[1].strip("().").isalnum() else marker[1]
            yield Block(kind="item", text=text[marker.end() :], mark=mark, page=self._page)
        else:
            yield Block(kind="prose", text=text, page=self._page)

    def _kind_of(self, page: int, line: Line, body: float) -> tuple[str, int]:
        level = self._outline.get((page, "".join(line.text.split()).casefold()))
        if level is not None:
            return "heading", min(level, 6)
        text = line.text
        if len(text) <= MAX_HEADING_CHARACTERS and sum(character.isalpha() for character in text) >= 3:
            ratio = line.size / body if body else 1.0
            if ratio >= 1.15 and not text.endswith((".", ",", ";")):
                return "heading", 1 if ratio >= 1.8 else 2 if ratio >= 1.4 else 3
            if line.bold and ratio >= 0.98 and not _ENDS_SENTENCE.search(text) and _NUMBERED_HEADING.match(text):
                return "heading", min(3 + text.split()[0].strip(".").count("."), 6)
        return ("item", 0) if _ITEM.match(text) else ("prose", 0)

    def _begins(self, line: Line, previous: Line, kind: tuple[str, int], *, turned: bool) -> bool:
        """Whether a line begins a paragraph of its own."""
        if kind[0] == "item" or kind[0] == "heading" or self._kind[0] == "heading":
            # A heading may take two lines; they are of one size and close together.
            same = kind == self._kind and kind[0] == "heading" and abs(line.size - previous.size) < 0.3
            return not (same and not turned and 0 < previous.y - line.y < 1.6 * max(line.height, 1.0))
        if abs(line.size - previous.size) > 0.8:
            return True
        if turned or line.y > previous.y + previous.height:  # the next page or column
            return bool(_ENDS_SENTENCE.search(previous.text)) or not line.text[:1].islower()
        gap = previous.y - line.y
        if gap > 1.75 * max(line.height, previous.height, 1.0):
            return True
        indented = line.x0 - previous.x0 > 0.9 * line.height and len(self._lines) > 1
        return indented and bool(_ENDS_SENTENCE.search(previous.text))

    def _join(self, lines: list[Line]) -> str:
        """The paragraph's text: full lines flow on, short ones stay lines (addresses, rows of tables)."""
        widest = max(line.x1 for line in lines)
        parts: list[str] = []
        for number, line in enumerate(lines):
            parts.append(line.text)
            if number + 1 < len(lines):
                follows = lines[number + 1]
                full = line.x1 > widest - 0.12 * max(1.0, widest - line.x0) or self._kind[0] == "heading"
                hyphen = line.text.endswith(("-", "\u00ad", "‐")) and follows.text[:1].islower()
                if hyphen and line.text[-2:-1].isalpha():
                    parts[-1] = line.text[:-1] + _BROKEN
                else:
                    parts.append(" " if full or follows.text[:1].islower() else "\n")
        text = _BROKEN_WORD.sub(self._mend, "".join(parts)).replace(_BROKEN, "-")
        return tidy(text).strip()

    def _mend(self, broken: re.Match[str]) -> str:
        """A word broken at a line's end, joined; a hyphen of its own stays ("self-hosted", "Schwarz-Weiß")."""
        left, right = broken[1], broken[2]
        if not right[0].islower() or left.isdigit():
            return f"{left}-{right}"
        joined = (left + right).casefold()
        both = left.casefold() in self._seen and right.casefold() in self._seen
        if both and joined not in self._seen and len(left) > 2 and len(right) > 3:
            return f"{left}-{right}"
        return left + right


def _stands_out(line: Line, previous: Line | None, follows: Line | None) -> bool:
    """Whether a bold line heads what follows: short, with room above, and plain text below."""
    if (
        len(line.text) > 100
        or _ENDS_SENTENCE.search(line.text)
        or line.text[0].islower()
        or sum(character.isalpha() for character in line.text) < 4
        or follows is None
        or follows.bold
        or not 0 < line.y - follows.y < 4 * max(line.height, 1.0)
    ):
        return False
    return previous is None or not 0 <= previous.y - line.y < 1.25 * max(line.height, previous.height)


def tidy(text: str) -> str:
    """Ligatures and letter shapes as plain letters, private characters and soft hyphens off, spaces single."""
    text = _PRESENTATION.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = clean(_PRIVATE.sub("", text)).replace("\u00ad", "")
    return "\n".join(line for part in text.split("\n") if (line := squeeze(part)))
