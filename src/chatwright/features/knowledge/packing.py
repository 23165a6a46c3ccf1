"""Blocks cut into units (sentences, lines of code, rows of a table), and units packed into passages under bounds. Pure;
used by `chunking`. A unit is broken only if it alone passes the bound.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatwright.domain.documents import Block
from chatwright.domain.language import sentence_spans

CountTokens = Callable[[str], int]
"""Tokens of a text. Must be additive over white space: count("a b") <= count("a") + count("b"); and between two characters
of a script without spaces."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece. `joiner` stands before it when it follows another unit of its chunk."""

    text: str
    tokens: int
    joiner: str
    is_prose: bool
    starts_block: bool
    block: "Frame"
    page: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What belongs around every part of one block: a code fence, a table's header."""

    tokens: int = 0
    opening: str = ""
    closing: str = ""


# --- units ----------------------------------------------------------------------------------------------------------


class Cutter:
    """Cuts blocks into units under the bounds of one call."""

    def __init__(self, count: CountTokens, max_tokens: int, max_characters: int) -> None:
        self.count = count
        self.max_tokens = max_tokens
        self.max_characters = max_characters

    def beside(self, lead: str) -> "Cutter":
        """One for text that `lead` stands before."""
        return Cutter(self.count, self.max_tokens - self.count(lead), self.max_characters - len(lead)) if lead else self

    def fits(self, text: str) -> bool:
        return len(text) <= self.max_characters and self.count(text) <= self.max_tokens

    def units(self, block: Block) -> Iterator[Unit]:
        match block.kind:
            case "code":
                yield from self._lines(block.text.split("\n"), _code_frame(block), block.page, is_code=True)
            case "table":
                lines = block.text.split("\n")
                header = "\n".join(lines[: block.header_rows])
                rows = lines[block.header_rows :]
                if (
                    header
                    and rows
                    and self.count(header) * 2 <= self.max_tokens
                    and len(header) * 2 <= self.max_characters
                ):
                    yield from self._lines(rows, Frame(opening=header + "\n"), block.page)
                else:
                    yield from self._lines(lines, Frame(), block.page)
            case "item" if block.mark:
                text = f"{block.mark} {block.text}"
                yield from self._sentences(text, "\n" + "  " * min(block.level, 4), block.page, is_prose=False)
            case "item":  # a further paragraph of the item before
                joiner = "\n\n" + "  " * min(block.level + 1, 4)
                yield from self._sentences(block.text, joiner, block.page, is_prose=False)
            case _:
                yield from self._sentences(block.text, "\n\n", block.page, is_prose=True)

    def _sentences(self, text: str, joiner: str, page: int | None, *, is_prose: bool) -> Iterator[Unit]:
        frame = Frame()
        first = True
        before = 0  # where the sentence before ends
        for start, end in sentence_spans(text):
            between = "" if start == before and start and _is_unspaced(text[start - 1], text[start]) else " "
            before = end
            for part, glue in self._parts(text[start:end]):
                yield Unit(part, self.count(part), joiner if first else glue or between, is_prose, first, frame, page)
                first, between = False, ""

    def _lines(self, lines: list[str], frame: Frame, page: int | None, *, is_code: bool = False) -> Iterator[Unit]:
        framed = Frame(self.count(frame.opening) + self.count(frame.closing), frame.opening, frame.closing)
        if framed.tokens * 2 > self.max_tokens:
            framed = Frame()  # rather no fence than one that leaves no room
        room_characters = self.max_characters - len(framed.opening) - len(framed.closing)
        room = Cutter(self.count, self.max_tokens - framed.tokens, room_characters)
        first = True
        blank = 0
        for line in lines:
            if not line.strip():
                blank += 1
                continue
            joiner = "\n" * (min(blank, 2) + 1) if is_code else "\n"
            blank = 0
            for number, (part, _) in enumerate(room._parts(line.rstrip())):
                before = "\n\n" if first else joiner if number == 0 else "\n"
                yield Unit(part, self.count(part), before, False, first, framed, page)
                first = False

    def _parts(self, text: str) -> Iterator[tuple[str, str]]:
        """(part, what stands before it): `text` whole if it fits; else cut between words; a word that is too long by
        itself, at its punctuation or anywhere. The first has nothing before it."""
        if self.fits(text):
            yield text, ""
            return
        current: list[str] = []
        tokens = length = 0
        space = ""
        for word in text.split():
            size = self.count(word) if len(word) <= self.max_characters else self.max_tokens + 1
            if current and (tokens + size > self.max_tokens or length + len(word) + 1 > self.max_characters):
                yield " ".join(current), space
                current, tokens, length, space = [], 0, 0, " "
            if size > self.max_tokens or len(word) > self.max_characters:
                before = ""
                for piece in self._slices(word):
                    yield piece, "" if before and _is_unspaced(before, piece[0]) else space
                    before, space = piece[-1], " "
                continue
            current.append(word)
            tokens += size
            length += len(word) + 1
        if current:
            yield " ".join(current), space

    def _slices(self, word: str) -> Iterator[str]:
        """Pieces of a word without spaces (Chinese, Thai, an address) that fit, as long as they can be."""
        at = 0
        size = min(len(word), self.max_characters)
        while at < len(word):
            piece = word[at : at + size]
            if len(piece) > 1 and self.count(piece) > self.max_tokens:
                size = max(1, len(piece) // 2)
                continue
            if at + len(piece) < len(word):
                piece = piece[: _cut_before(word[at : at + size + 1], len(piece))]
            yield piece
            at += len(piece)
            size = min(self.max_characters, len(piece) * 2 + 2)


_PAUSES = frozenset("，、；：。！？,;:)）」』】》…ฯๆ/&")
_LEADING_VOWELS = frozenset("เแโใไ")  # Thai: written before the consonant that they follow in speech
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)


def _is_unspaced(before: str, after: str) -> bool:
    """Whether two neighbours belong to scripts that put no spaces between words."""
    return bool(_UNSPACED.match(before) and _UNSPACED.match(after))


def _cut_before(text: str, end: int) -> int:
    """The best place to cut at or before `end` (0 < end < len(text)): behind a pause, never within a letter's marks."""
    for at in range(end, max(end * 3 // 5, 1), -1):
        if text[at - 1] in _PAUSES:
            return at
    for at in range(end, max(end - 12, 0), -1):
        if not unicodedata.category(text[at]).startswith("M") and text[at - 1] not in _LEADING_VOWELS:
            return at
    return end


def _code_frame(block: Block) -> Frame:
    fence = "```"
    while fence in block.text and len(fence) < 12:
        fence += "`"
    language = block.mark[:40].replace("`", "")
    return Frame(opening=f"{fence}{language}\n", closing=f"\n{fence}")


# --- packing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Packed:
    """A passage. Its first `overlap` characters repeat the one before; `page` is where the rest begins."""

    text: str
    overlap: int
    page: int | None


def pack(units: list[Unit], cutter: Cutter) -> Iterator[Packed]:
    """Fill passages with units, in order."""
    block_tokens: dict[int, int] = {}
    for unit in units:
        block_tokens[id(unit.block)] = block_tokens.get(id(unit.block), unit.block.tokens) + unit.tokens
    current: list[Unit] = []
    repeated = 0  # units at the start of `current` that stand in the passage before too
    for unit in units:
        if len(current) > repeated and _breaks_before(unit, current, block_tokens[id(unit.block)], cutter):
            yield _packed(current, repeated)
            current = _carry(current, unit, cutter)
            repeated = len(current)
        current.append(unit)
    if current:
        yield _packed(current, repeated)


def _packed(current: list[Unit], repeated: int) -> Packed:
    return Packed(_render(current), len(_render(current[:repeated])) if repeated else 0, current[repeated].page)


def _breaks_before(unit: Unit, current: list[Unit], block_tokens: int, cutter: Cutter) -> bool:
    used = _tokens(current)
    if not _fits([*current, unit], cutter):
        return True
    # Rather begin a block in a new chunk than cut it, once this one is half full and the block would fit whole.
    return (
        unit.starts_block and used * 2 >= cutter.max_tokens and used + block_tokens > cutter.max_tokens >= block_tokens
    )


def _carry(current: list[Unit], unit: Unit, cutter: Cutter) -> list[Unit]:
    """The sentence that the next chunk repeats, so that "It also …" keeps what it refers to."""
    last = current[-1]
    small = last.tokens * 4 <= cutter.max_tokens and len(last.text) * 4 <= cutter.max_characters
    return [last] if last.is_prose and small and _fits([last, unit], cutter) else []


def _tokens(units: list[Unit]) -> int:
    frames = {id(unit.block): unit.block.tokens for unit in units}
    return sum(unit.tokens for unit in units) + sum(frames.values())


def _length(units: list[Unit]) -> int:
    """Characters of `units` rendered, at most."""
    frames = {id(unit.block): len(unit.block.opening) + len(unit.block.closing) for unit in units}
    return sum(len(unit.text) + len(unit.joiner) for unit in units) + sum(frames.values())


def _fits(units: list[Unit], cutter: Cutter) -> bool:
    return _tokens(units) <= cutter.max_tokens and _length(units) <= cutter.max_characters


def _render(units: list[Unit]) -> str:
    parts: list[str] = []
    frame: Frame | None = None
    for unit in units:
        opens = unit.block is not frame
        if frame is not None and opens:
            parts.append(frame.closing)
        if parts:
            parts.append(unit.joiner)
        if opens:
            parts.append(unit.block.opening)
        parts.append(unit.text)
        frame = unit.block
    if frame is not None:
        parts.append(frame.closing)
    return "".join(parts)
