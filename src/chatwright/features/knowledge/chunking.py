"""A document as chunks: passages small enough to embed, whole enough to quote. Pure; called by `pipeline/index.py`.

Blocks are grouped into sections, under their path of headings or the question that they answer; `packing` fills passages
with a section's text, never across its end.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Literal

from chatwright.adapters.documents.blocks import clean, is_question
from chatwright.adapters.documents.html import html_blocks, html_language, html_title
from chatwright.adapters.documents.markup import front_matter_title, markdown_blocks, plain_blocks
from chatwright.domain.documents import Block, Extract
from chatwright.domain.errors import UnsupportedMediaType
from chatwright.domain.language import detect_language
from chatwright.features.knowledge.embedding_text import HEADING_SEPARATOR, embedding_text, plain
from chatwright.features.knowledge.packing import CountTokens, Cutter, Packed, Unit, pack

MAX_TOKENS = 200  # with title and heading still under the embedder's 256
MAX_CHARACTERS = 2_000  # 200 tokens of prose are 900; a bound for text that the vocabulary sees as one unknown word
MAX_HEADING_CHARACTERS = 200

MediaType = Literal["text/plain", "text/markdown", "text/html"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One passage of a document.

    `heading` is the path of headings above it, without the document's title. `anchor` is the fragment of the nearest
    heading, for the citation's address; `page` is where the passage begins. `question`: of an FAQ the question that it
    answers, which is the nearest heading or the text's first line. The first `overlap` characters of `text` repeat what
    stands in the chunk before. `language` is ISO 639-1. `content_hash` is the SHA-256 of what is embedded: equal hashes
    have equal vectors.
    """

    ordinal: int
    heading: str
    anchor: str | None
    text: str
    tokens: int
    content_hash: bytes
    embedding_text: str
    overlap: int = 0
    page: int | None = None
    language: str | None = None
    question: str | None = None


@dataclass(slots=True)
class _Section:
    """`asked`: the question stands in no heading; it is put before the text of each of the section's passages."""

    heading: str
    anchor: str | None
    question: str | None = None
    asked: bool = False
    units: list[Unit] = field(default_factory=list[Unit])

    @property
    def lead(self) -> str:
        return f"{self.question}\n" if self.asked else ""


def chunk_document(
    text: str,
    media_type: str,
    count: CountTokens,
    *,
    title: str = "",
    max_tokens: int = MAX_TOKENS,
    max_characters: int = MAX_CHARACTERS,
) -> list[Chunk]:
    """Cut a text document into chunks, as `chunk_extract` does.

    Every character of the body but white space and boilerplate stands in the chunks or their headings, in order.
    Raises UnsupportedMediaType; Unprocessable; ValueError if a bound is too small to work with.
    """
    cleaned = clean(text)
    language = html_language(cleaned) if media_type_of(media_type) == "text/html" else None
    extract = Extract(title="", blocks=tuple(read_blocks(cleaned, media_type)), language=language)
    return chunk_extract(extract, count, title=title, max_tokens=max_tokens, max_characters=max_characters)


def chunk_extract(
    extract: Extract,
    count: CountTokens,
    *,
    title: str = "",
    max_tokens: int = MAX_TOKENS,
    max_characters: int = MAX_CHARACTERS,
) -> list[Chunk]:
    """Cut what a document holds into chunks of at most `max_tokens` tokens and `max_characters` characters each.

    `title` stands above each chunk when it is embedded. `count` counts tokens of the embedder's vocabulary.
    Deterministic. CPU work, in proportion to the text: run it in a thread.
    Raises ValueError if a bound is too small to work with.
    """
    if max_tokens < 16 or max_characters < 64:
        raise ValueError("chunks need at least 16 tokens and 64 characters")
    cutter = Cutter(count, max_tokens, max_characters)
    chunks: list[Chunk] = []
    for section in _sections(extract.blocks, cutter, title):
        for packed in _passages(section, cutter):
            embedded = embedding_text(title=title, heading=section.heading, text=packed.text, question=section.question)
            chunks.append(
                Chunk(
                    ordinal=len(chunks),
                    heading=section.heading,
                    anchor=section.anchor,
                    text=packed.text,
                    tokens=count(packed.text),
                    content_hash=hashlib.sha256(embedded.encode()).digest(),
                    embedding_text=embedded,
                    overlap=packed.overlap,
                    page=packed.page,
                    language=detect_language(packed.text) or extract.language,
                    question=section.question,
                )
            )
    return chunks


def _passages(section: _Section, cutter: Cutter) -> Iterator[Packed]:
    """A section's passages; those of a question that no heading holds each begin with it."""
    lead = section.lead
    for number, packed in enumerate(pack(section.units, cutter.beside(lead))):
        overlap = packed.overlap + len(lead) if number else 0
        yield Packed(lead + packed.text, overlap, packed.page)


def document_title(text: str, media_type: str, filename: str = "") -> str:
    """The best title a text document offers: its own, its first heading, its first line if short, or its file's name.

    At most 200 characters, never empty. Raises UnsupportedMediaType.
    """
    kind = media_type_of(media_type)
    head = clean(text[:200_000])
    title = html_title(head) if kind == "text/html" else front_matter_title(head) if kind == "text/markdown" else ""
    blocks = () if title else tuple(read_blocks(head, kind))
    return extract_title(Extract(title=title, blocks=blocks), filename, first_line=kind == "text/plain")


def extract_title(extract: Extract, filename: str = "", *, first_line: bool = False) -> str:
    """The best title that a document offers: its own, its first heading, or its file's name; at most 200 characters,
    never empty. `first_line`: a short first line will do as well."""
    title = extract.title
    if not title:
        headings = [block for block in extract.blocks if block.kind == "heading"]
        tops = [block for block in headings if block.level == 1]
        if tops or headings:
            title = plain((tops or headings)[0].text)
        elif first_line and extract.blocks:
            first = extract.blocks[0].text
            title = first if "\n" not in first and len(first) <= 80 and not first.endswith((".", ":", ",", ";")) else ""
    if not title and filename:
        title = re.sub(r"[-_\s]+", " ", PurePath(filename.replace("\\", "/")).stem).strip()
        title = title[:1].upper() + title[1:]
    return " ".join(title.split())[:200].strip() or "Untitled"


def media_type_of(media_type: str) -> MediaType:
    """Reduce a content type to one of text. Raises UnsupportedMediaType for all others."""
    name = media_type.partition(";")[0].strip().lower()
    match name:
        case "text/plain" | "text/markdown" | "text/html":
            return name
        case "text/x-markdown":
            return "text/markdown"
        case "application/xhtml+xml":
            return "text/html"
        case _:
            raise UnsupportedMediaType(
                f"cannot read {name or 'a document without a media type'}; send text/plain, text/markdown or text/html",
                param="media_type",
            )


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
    kept = re.sub(r"[^\w\- ]", "", plain(heading).strip().lower())
    return kept.replace(" ", "-")


# --- sections -------------------------------------------------------------------------------------------------------


def _sections(blocks: Iterable[Block], cutter: Cutter, title: str) -> Iterator[_Section]:
    """Units grouped under their path of headings. A heading with nothing below it is its own text."""
    path: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    section = _Section("", None)
    bare: Block | None = None  # a heading that nothing has followed yet
    for block in blocks:
        if block.kind != "heading":
            asked = _short_enough(block.question, cutter)
            if asked != (section.question if section.asked else None):
                if section.units:
                    yield section
                section = _asking(section, path, asked)
            text = block if asked or not block.question else replace(block, text=f"{block.question}\n{block.text}")
            section.units.extend(cutter.beside(section.lead).units(text))
            bare = None
            continue
        if section.units:
            yield section
        elif bare is not None and bare.level >= block.level:
            yield _alone(section, bare, cutter)
        text = plain(block.text)[:MAX_HEADING_CHARACTERS]
        while path and path[-1][0] >= block.level:
            path.pop()
        path.append((block.level, text))
        anchor = block.anchor if block.anchor is not None else _unique(slug(block.text), seen)
        names = [name for _, name in path]
        if names[0].casefold() == title.strip().casefold():
            names = names[1:]
        section = _Section(
            HEADING_SEPARATOR.join(names),
            anchor[:MAX_HEADING_CHARACTERS] or None,
            question=text if names and is_question(text) else None,
        )
        bare = block
        if len(block.text) > MAX_HEADING_CHARACTERS:
            # No reader's heading: its start names the section, all of it is text.
            section.units.extend(cutter.units(Block(kind="prose", text=block.text, page=block.page)))
    if not section.units and bare is not None:
        section = _alone(section, bare, cutter)
    if section.units:
        yield section


def _short_enough(question: str | None, cutter: Cutter) -> str | None:
    """The question if it may stand before each passage of its answer: it leaves more than half of the room."""
    if question and cutter.count(question) * 2 < cutter.max_tokens and len(question) * 2 < cutter.max_characters:
        return question
    return None


def _asking(section: _Section, path: list[tuple[int, str]], asked: str | None) -> _Section:
    """A section at the same place for one more question; without one, for what follows the answers."""
    heading_question = path[-1][1] if path and is_question(path[-1][1]) and section.heading else None
    return _Section(section.heading, section.anchor, question=asked or heading_question, asked=asked is not None)


def _alone(section: _Section, heading: Block, cutter: Cutter) -> _Section:
    return _Section(section.heading, section.anchor, units=list(cutter.units(heading)))


def _unique(fragment: str, seen: dict[str, int]) -> str:
    number = seen.get(fragment, 0)
    seen[fragment] = number + 1
    return f"{fragment}-{number}" if number and fragment else fragment
