"""Blocks: what every kind of document becomes before it is cut into chunks. Pure; read by `markup`, `html`, `chunking`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chatwright.domain.errors import UnsupportedMediaType

Kind = Literal["heading", "prose", "item", "code", "table"]
MediaType = Literal["text/plain", "text/markdown", "text/html"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One paragraph, list item, code block, table or heading.

    `text` is Markdown without the outer marks: code without its fence, a heading without its `#`; a table has one line
    per row. `level`: of a heading 1..6, of an item its nesting from 0. `mark`: an item's marker, a code block's
    language. `header_rows`: lines of a table that belong above every part of it.
    """

    kind: Kind
    text: str
    level: int = 0
    mark: str = ""
    anchor: str | None = None
    header_rows: int = 0


def media_type_of(media_type: str) -> MediaType:
    """Reduce a content type to one that can be read. Raises UnsupportedMediaType for all others."""
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


_CONTROLS = {code: " " for code in range(32) if code not in (9, 10)} | {
    0: "",
    0x7F: " ",
    0xFEFF: "",
    0x0C: "\n",
    0x85: "\n",
    0x2028: "\n",
    0x2029: "\n",
}


def clean(text: str) -> str:
    """Make any string storable and readable: NULs go, lone surrogates become U+FFFD, line ends become one newline."""
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if not _is_encodable(text) else text
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def squeeze(text: str) -> str:
    return " ".join(text.split())


def table_blocks(rows: list[list[str]], header_rows: int) -> Iterator[Block]:
    """A Markdown table; a row of empty cells falls."""
    kept = [(number, row) for number, row in enumerate(rows) if any(row)]
    if not kept:
        return
    width = max(len(row) for _, row in kept)
    lines: list[str] = []
    headers = 0
    for number, row in kept:
        cells = [cell.replace("|", "\\|") for cell in row] + [""] * (width - len(row))
        lines.append("| " + " | ".join(cells) + " |")
        if number + 1 == header_rows or (number < header_rows and number == kept[-1][0]):
            lines.append("|" + " --- |" * width)
            headers = len(lines)
    yield Block(kind="table", text="\n".join(lines), header_rows=headers)
