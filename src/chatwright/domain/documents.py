"""What every kind of document becomes before it is cut into chunks: blocks in reading order. Values only.

Made by `adapters/documents`, cut by `features/knowledge/chunking.py`.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "prose", "item", "code", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One paragraph, list item, code block, table or heading.

    `text` is Markdown without the outer marks: code without its fence, a heading without its `#`; a table has one line
    per row. `level`: of a heading 1..6, of an item its nesting from 0. `mark`: an item's marker, a code block's
    language. `anchor`: the fragment that leads to a heading; None where one can be made of its words, "" where the
    format has none. `header_rows`: lines of a table that belong above every part of it. `page`: from 1, of a PDF the
    page, of slides the slide, of a workbook the sheet; None where a document has no such thing. `question`: of an FAQ
    the question that this block answers; blocks of one answer follow one another.
    """

    kind: Kind
    text: str
    level: int = 0
    mark: str = ""
    anchor: str | None = None
    header_rows: int = 0
    page: int | None = None
    question: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """A document's readable content.

    `title`: the document's own, "" if it says none. `language`: what the file declares, as ISO 639-1, else None.
    `pages`: how many it has, None where it has none. `warnings`: what was left out, in words for the owner.
    """

    title: str
    blocks: tuple[Block, ...]
    language: str | None = None
    pages: int | None = None
    warnings: tuple[str, ...] = ()
