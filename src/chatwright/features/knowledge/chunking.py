"""A document as chunks: passages small enough to embed, whole enough to quote. Pure; called by `pipeline/index.py`.

Blocks (paragraphs, list items, code, tables) are cut into units: sentences, or lines of code and table rows. Units are
packed greedily under a token bound, never across a heading. A unit is broken only if it alone passes the bound.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

from chatwright.domain.language import split_sentences
from chatwright.features.knowledge.blocks import Block, clean, media_type_of
from chatwright.features.knowledge.html import html_blocks, html_title
from chatwright.features.knowledge.markup import front_matter_title, markdown_blocks, plain_blocks

MAX_TOKENS = 200  # with title and heading still under the embedder's 256
MAX_CHARACTERS = 2_000  # 200 tokens of prose are 900; a bound for text that the vocabulary sees as one unknown word
MAX_CONTEXT_CHARACTERS = 160
MAX_HEADING_CHARACTERS = 200
HEADING_SEPARATOR = " › "

CountTokens = Callable[[str], int]
"""Tokens of a text. Must be additive over white space: count("a b") <= count("a") + count("b")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One passage of a document.

    `heading` is the path of headings above it, without the document's title. `anchor` is the fragment of the nearest
    heading, for the citation's address. The first `overlap` characters of `text` repeat the end of the chunk before.
    `content_hash` is the SHA-256 of what is embedded: equal hashes have equal vectors.
    """

    ordinal: int
    heading: str
    anchor: str | None
    text: str
    tokens: int
    content_hash: bytes
    embedding_text: str
    overlap: int = 0


@dataclass(frozen=True, slots=True)
class _Unit:
    """The smallest piece. `joiner` stands before it when it follows another unit of its chunk."""

    text: str
    tokens: int
    joiner: str
    is_prose: bool
    starts_block: bool
    block: "_Frame"


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """What belongs around every part of one block: a code fence, a table's header."""

    tokens: int = 0
    opening: str = ""
    closing: str = ""


@dataclass(slots=True)
class _Section:
    heading: str
    anchor: str | None
    units: list[_Unit] = field(default_factory=list[_Unit])


def chunk_document(
    text: str,
    media_type: str,
    count: CountTokens,
    *,
    title: str = "",
    max_tokens: int = MAX_TOKENS,
    max_characters: int = MAX_CHARACTERS,
) -> list[Chunk]:
    """Cut a document into chunks of at most `max_tokens` tokens and `max_characters` characters each.

    Every character of the body but white space stands in the chunks or their headings, in order. `count` counts tokens
    of the embedder's vocabulary. Deterministic. CPU work, in proportion to the text: run it in a thread.
    Raises UnsupportedMediaType; ValueError if a bound is too small to work with.
    """
    if max_tokens < 16 or max_characters < 64:
        raise ValueError("chunks need at least 16 tokens and 64 characters")
    cutter = _Cutter(count, max_tokens, max_characters)
    chunks: list[Chunk] = []
    for section in _sections(read_blocks(clean(text), media_type), cutter, title):
        for body, overlap in _pack(section.units, cutter):
            context = _context(title, section.heading)
            embedding_text = f"{context}\n{_plain(body)}" if context else _plain(body)
            chunks.append(
                Chunk(
                    ordinal=len(chunks),
                    heading=section.heading,
                    anchor=section.anchor,
                    text=body,
                    tokens=count(body),
                    content_hash=hashlib.sha256(embedding_text.encode()).digest(),
                    embedding_text=embedding_text,
                    overlap=overlap,
                )
            )
    return chunks


def document_title(text: str, media_type: str, filename: str = "") -> str:
    """The best title a document offers: its own, its first heading, its first line if short, or its file's name.

    At most 200 characters, never empty. Raises UnsupportedMediaType.
    """
    kind = media_type_of(media_type)
    head = clean(text[:200_000])
    title = ""
    if kind == "text/html":
        title = html_title(head)
    elif kind == "text/markdown":
        title = front_matter_title(head)
    if not title:
        blocks = read_blocks(head, kind)
        headings = [block for block in blocks if block.kind == "heading"]
        tops = [block for block in headings if block.level == 1]
        if tops or headings:
            title = _plain((tops or headings)[0].text)
        elif kind == "text/plain" and blocks:
            first = blocks[0].text
            title = first if "\n" not in first and len(first) <= 80 and not first.endswith((".", ":", ",", ";")) else ""
    if not title and filename:
        title = re.sub(r"[-_\s]+", " ", PurePath(filename.replace("\\", "/")).stem).strip()
        title = title[:1].upper() + title[1:]
    return " ".join(title.split())[:200].strip() or "Untitled"


def read_blocks(text: str, media_type: str) -> list[Block]:
    """Split a cleaned document into blocks. Raises UnsupportedMediaType, Unprocessable."""
    match media_type_of(media_type):
        case "text/plain":
            return list(plain_blocks(text))
        case "text/markdown":
            return list(markdown_blocks(text))
        case "text/html":
            return list(html_blocks(text))


def slug(heading: str) -> str:
    """The fragment that GitHub and most site generators give a heading."""
    kept = re.sub(r"[^\w\- ]", "", _plain(heading).strip().lower())
    return kept.replace(" ", "-")


# --- sections -------------------------------------------------------------------------------------------------------


def _sections(blocks: list[Block], cutter: "_Cutter", title: str) -> Iterator[_Section]:
    """Units grouped under their path of headings. A heading with nothing below it is its own text."""
    path: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    section = _Section("", None)
    bare: Block | None = None  # a heading that nothing has followed yet
    for block in blocks:
        if block.kind != "heading":
            section.units.extend(cutter.units(block))
            bare = None
            continue
        if section.units:
            yield section
        elif bare is not None and bare.level >= block.level:
            yield _Section(section.heading, section.anchor, list(cutter.units(bare)))
        text = _plain(block.text)[:MAX_HEADING_CHARACTERS]
        while path and path[-1][0] >= block.level:
            path.pop()
        path.append((block.level, text))
        anchor = block.anchor or _unique(slug(block.text), seen)
        names = [name for _, name in path]
        if names[0].casefold() == title.strip().casefold():
            names = names[1:]
        section = _Section(HEADING_SEPARATOR.join(names), anchor[:MAX_HEADING_CHARACTERS] or None)
        bare = block
        if (
            len(block.text) > MAX_HEADING_CHARACTERS
        ):  # no reader's heading: its start names the section, all of it is text
            section.units.extend(cutter.units(Block(kind="prose", text=block.text)))
    if not section.units and bare is not None:
        section.units.extend(cutter.units(bare))
    if section.units:
        yield section


def _unique(fragment: str, seen: dict[str, int]) -> str:
    number = seen.get(fragment, 0)
    seen[fragment] = number + 1
    return f"{fragment}-{number}" if number and fragment else fragment


def _context(title: str, heading: str) -> str:
    """Title and headings for the embedding, the nearest heading kept whole as far as it fits."""
    context = HEADING_SEPARATOR.join(part for part in (title.strip(), heading) if part)
    return context if len(context) <= MAX_CONTEXT_CHARACTERS else context[-MAX_CONTEXT_CHARACTERS:].partition(" ")[2]


_LINK = re.compile(r"\[([^\[\]\n]{1,400})\]\([^()\s]{0,2000}(?:\s[^()\n]{0,400})?\)")
_MARKS = re.compile(r"(?<!\w)(\*\*|__|\*|_)(?=\S)([^*_\n]{1,400})(?<=\S)\1(?!\w)")


def _plain(text: str) -> str:
    """Markdown's inline marks off: they tell a vector nothing."""
    return _MARKS.sub(r"\2", _LINK.sub(r"\1", text)).replace("`", "")


# --- units ----------------------------------------------------------------------------------------------------------


class _Cutter:
    """Cuts blocks into units under the bounds of one call."""

    def __init__(self, count: CountTokens, max_tokens: int, max_characters: int) -> None:
        self.count = count
        self.max_tokens = max_tokens
        self.max_characters = max_characters

    def fits(self, text: str) -> bool:
        return len(text) <= self.max_characters and self.count(text) <= self.max_tokens

    def units(self, block: Block) -> Iterator[_Unit]:
        match block.kind:
            case "code":
                yield from self._lines(block.text.split("\n"), _code_frame(block), is_code=True)
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
                    yield from self._lines(rows, _Frame(opening=header + "\n"))
                else:
                    yield from self._lines(lines, _Frame())
            case "item" if block.mark:
                yield from self._sentences(
                    f"{block.mark} {block.text}", "\n" + "  " * min(block.level, 4), is_prose=False
                )
            case "item":  # a further paragraph of the item before
                yield from self._sentences(block.text, "\n\n" + "  " * min(block.level + 1, 4), is_prose=False)
            case _:
                yield from self._sentences(block.text, "\n\n", is_prose=True)

    def _sentences(self, text: str, joiner: str, *, is_prose: bool) -> Iterator[_Unit]:
        frame = _Frame()
        first = True
        for sentence in split_sentences(text):
            for part in self._parts(sentence):
                yield _Unit(part, self.count(part), joiner if first else " ", is_prose, first, frame)
                first = False

    def _lines(self, lines: list[str], frame: _Frame, *, is_code: bool = False) -> Iterator[_Unit]:
        framed = _Frame(self.count(frame.opening) + self.count(frame.closing), frame.opening, frame.closing)
        if framed.tokens * 2 > self.max_tokens:
            framed = _Frame()  # rather no fence than one that leaves no room
        room_characters = self.max_characters - len(framed.opening) - len(framed.closing)
        room = _Cutter(self.count, self.max_tokens - framed.tokens, room_characters)
        first = True
        blank = 0
        for line in lines:
            if not line.strip():
                blank += 1
                continue
            joiner = "\n" * (min(blank, 2) + 1) if is_code else "\n"
            blank = 0
            for number, part in enumerate(room._parts(line.rstrip())):
                yield _Unit(
                    part, self.count(part), "\n\n" if first else joiner if number == 0 else "\n", False, first, framed
                )
                first = False

    def _parts(self, text: str) -> Iterator[str]:
        """`text` whole if it fits; else cut between words; a word that is too long by itself, anywhere."""
        if self.fits(text):
            yield text
            return
        current: list[str] = []
        tokens = length = 0
        for word in text.split():
            size = self.count(word) if len(word) <= self.max_characters else self.max_tokens + 1
            if current and (tokens + size > self.max_tokens or length + len(word) + 1 > self.max_characters):
                yield " ".join(current)
                current, tokens, length = [], 0, 0
            if size > self.max_tokens or len(word) > self.max_characters:
                yield from self._slices(word)
                continue
            current.append(word)
            tokens += size
            length += len(word) + 1
        if current:
            yield " ".join(current)

    def _slices(self, word: str) -> Iterator[str]:
        waiting = [word[at : at + self.max_characters] for at in range(0, len(word), self.max_characters)][::-1]
        while waiting:
            piece = waiting.pop()
            if len(piece) == 1 or self.count(piece) <= self.max_tokens:
                yield piece
            else:
                waiting += (piece[len(piece) // 2 :], piece[: len(piece) // 2])


def _code_frame(block: Block) -> _Frame:
    fence = "```"
    while fence in block.text and len(fence) < 12:
        fence += "`"
    language = block.mark[:40].replace("`", "")
    return _Frame(opening=f"{fence}{language}\n", closing=f"\n{fence}")


# --- packing --------------------------------------------------------------------------------------------------------


def _pack(units: list[_Unit], cutter: _Cutter) -> Iterator[tuple[str, int]]:
    """Fill chunks with units in order; yields each chunk's text and how much of it repeats the chunk before."""
    block_tokens: dict[int, int] = {}
    for unit in units:
        block_tokens[id(unit.block)] = block_tokens.get(id(unit.block), unit.block.tokens) + unit.tokens
    current: list[_Unit] = []
    repeated = 0  # units at the start of `current` that stand in the chunk before too
    for unit in units:
        if len(current) > repeated and _breaks_before(unit, current, block_tokens[id(unit.block)], cutter):
            yield _render(current), _overlap(current, repeated)
            current = _carry(current, unit, cutter)
            repeated = len(current)
        current.append(unit)
    if current:
        yield _render(current), _overlap(current, repeated)


def _breaks_before(unit: _Unit, current: list[_Unit], block_tokens: int, cutter: _Cutter) -> bool:
    used = _tokens(current)
    if not _fits([*current, unit], cutter):
        return True
    # Rather begin a block in a new chunk than cut it, once this one is half full and the block would fit whole.
    return (
        unit.starts_block and used * 2 >= cutter.max_tokens and used + block_tokens > cutter.max_tokens >= block_tokens
    )


def _carry(current: list[_Unit], unit: _Unit, cutter: _Cutter) -> list[_Unit]:
    """The sentence that the next chunk repeats, so that "It also …" keeps what it refers to."""
    last = current[-1]
    small = last.tokens * 4 <= cutter.max_tokens and len(last.text) * 4 <= cutter.max_characters
    return [last] if last.is_prose and small and _fits([last, unit], cutter) else []


def _tokens(units: list[_Unit]) -> int:
    frames = {id(unit.block): unit.block.tokens for unit in units}
    return sum(unit.tokens for unit in units) + sum(frames.values())


def _length(units: list[_Unit]) -> int:
    """Characters of `units` rendered, at most."""
    frames = {id(unit.block): len(unit.block.opening) + len(unit.block.closing) for unit in units}
    return sum(len(unit.text) + len(unit.joiner) for unit in units) + sum(frames.values())


def _fits(units: list[_Unit], cutter: _Cutter) -> bool:
    return _tokens(units) <= cutter.max_tokens and _length(units) <= cutter.max_characters


def _overlap(current: list[_Unit], repeated: int) -> int:
    return len(_render(current[:repeated])) if repeated else 0


def _render(units: list[_Unit]) -> str:
    parts: list[str] = []
    frame: _Frame | None = None
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
