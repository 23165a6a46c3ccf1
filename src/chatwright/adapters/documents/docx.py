"""Word documents (DOCX) as blocks, read as a stream of XML. Used by `reading`.

Kept: headings by style, lists with their numbers, tables, text boxes, footnotes, formulas as text. Left out: page headers
and footers, comments, deleted and hidden text, the table of contents.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from chatwright.adapters.documents.archive import (
    Archive,
    Element,
    attribute,
    child,
    core_properties,
    descendants,
    local,
)
from chatwright.adapters.documents.blocks import clean, listed, squeeze, table_blocks
from chatwright.adapters.documents.limits import Notes
from chatwright.domain.documents import Block
from chatwright.domain.errors import Unprocessable

_SKIPPED = listed(
    "del moveFrom instrText delText Fallback sectPr pPr rPr tblPr tcPr trPr sdtPr sdtEndPr commentReference rt rubyPr"
)
_BULLETS = frozenset({"bullet", "none"})


@dataclass(slots=True, kw_only=True)
class _Style:
    name: str = ""
    based_on: str | None = None
    level: int | None = None
    numbering: tuple[str, int] | None = None


@dataclass(slots=True)
class _Styles:
    """What styles.xml, numbering.xml and footnotes.xml say."""

    styles: dict[str, _Style] = field(default_factory=dict[str, _Style])
    formats: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict[tuple[str, int], tuple[str, int]])
    """(list, level) → (number format, first number)."""
    footnotes: dict[str, str] = field(default_factory=dict[str, str])

    def chain(self, style_id: str | None) -> Iterator[_Style]:
        for _ in range(20):
            style = self.styles.get(style_id or "")
            if style is None:
                return
            yield style
            style_id = style.based_on


def docx_blocks(archive: Archive, notes: Notes) -> Iterator[Block]:
    """Blocks of a document in reading order. Raises Unprocessable if it is damaged."""
    main = next(
        (part for kind, part in archive.relations("").values() if kind == "officeDocument"), "word/document.xml"
    )
    if main not in archive.names:
        raise Unprocessable("the file is damaged: its document part is missing; export it again")
    notes.title, language = core_properties(archive)
    notes.set_language(language)
    reader = _DocxReader(_read_styles(archive, main))
    for element in archive.stream(main, "body"):
        yield from reader.read(element)
    yield from reader.end_code()


def _read_styles(archive: Archive, main: str) -> _Styles:
    parts = dict(archive.relations(main).values())
    found = _Styles()
    tree = archive.tree(parts.get("styles", "word/styles.xml"))
    for style in descendants(tree, "style") if tree is not None else ():
        paragraph = child(style, "pPr")
        level = attribute(child(paragraph, "outlineLvl"), "val")
        found.styles[attribute(style, "styleId") or ""] = _Style(
            name=(attribute(child(style, "name"), "val") or "").casefold(),
            based_on=attribute(child(style, "basedOn"), "val"),
            level=int(level) + 1 if level and level.isdigit() else None,
            numbering=_numbering(paragraph),
        )
    if (tree := archive.tree(parts.get("numbering", "word/numbering.xml"))) is not None:
        _read_numbering(tree, found)
    for kind in ("footnotes", "endnotes"):
        if (tree := archive.tree(parts.get(kind, f"word/{kind}.xml"))) is not None:
            for note in tree:
                text = squeeze(" ".join(_inline(paragraph)[0] for paragraph in descendants(note, "p")))
                if text and attribute(note, "type") is None:
                    found.footnotes[f"{kind}:{attribute(note, 'id')}"] = text
    return found


def _read_numbering(tree: Element, found: _Styles) -> None:
    levels: dict[str, list[tuple[int, str, int]]] = {}
    for abstract in descendants(tree, "abstractNum"):
        rows = levels.setdefault(attribute(abstract, "abstractNumId") or "", [])
        for level in descendants(abstract, "lvl"):
            start = attribute(child(level, "start"), "val") or "1"
            rows.append(
                (
                    _number(attribute(level, "ilvl")),
                    attribute(child(level, "numFmt"), "val") or "decimal",
                    _number(start, 1),
                )
            )
    for number in descendants(tree, "num"):
        list_id = attribute(number, "numId") or ""
        for level, form, start in levels.get(attribute(child(number, "abstractNumId"), "val") or "", []):
            found.formats[list_id, level] = (form, start)


def _number(text: str | None, default: int = 0) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 9 else default


def _numbering(properties: Element | None) -> tuple[str, int] | None:
    list_id = attribute(child(properties, "numPr", "numId"), "val")
    return (list_id, _number(attribute(child(properties, "numPr", "ilvl"), "val"))) if list_id is not None else None


def _inline(paragraph: Element) -> tuple[str, list[Element], list[str]]:
    """A paragraph's text, the text boxes anchored in it, and the ids of its footnotes."""
    parts: list[str] = []
    boxes: list[Element] = []
    footnotes: list[str] = []
    waiting = list(paragraph)[::-1]
    while waiting:
        element = waiting.pop()
        match local(element):
            case "t":
                parts.append(element.text or "")
            case "tab" | "br" | "cr" | "ptab":
                parts.append(" ")
            case "noBreakHyphen":
                parts.append("-")
            case "r" if _is_hidden(element):
                pass
            case "txbxContent":
                boxes.append(element)
            case "footnoteReference" | "endnoteReference" as name:
                footnotes.append(f"{name.removesuffix('Reference')}s:{attribute(element, 'id')}")
            case name if name in _SKIPPED:
                pass
            case _:
                waiting += list(element)[::-1]
    return clean("".join(parts)), boxes, footnotes


def _is_hidden(run: Element) -> bool:
    vanish = child(run, "rPr", "vanish")
    return vanish is not None and attribute(vanish, "val") not in {"0", "false"}


class _DocxReader:
    def __init__(self, styles: _Styles) -> None:
        self._styles = styles
        self._counts: dict[tuple[str, int], int] = {}
        self._code: list[str] = []

    def read(self, element: Element) -> Iterator[Block]:
        """Blocks of one child of the body: a paragraph, a table, or a wrapper around several."""
        match local(element):
            case "p":
                yield from self._paragraph(element)
            case "tbl":
                yield from self.end_code()
                yield from self._table(element)
            case "sdt":
                gallery = attribute(child(element, "sdtPr", "docPartObj", "docPartGallery"), "val") or ""
                content = child(element, "sdtContent")
                if "table of contents" not in gallery.casefold() and content is not None:
                    yield from self.read(content)
            case "sdtContent" | "customXml" | "ins" | "moveTo" | "txbxContent":
                for inner in element:
                    yield from self.read(inner)
            case _:
                pass

    def end_code(self) -> Iterator[Block]:
        if self._code:
            yield Block(kind="code", text="\n".join(self._code).strip("\n"))
            self._code = []

    def _paragraph(self, paragraph: Element) -> Iterator[Block]:
        properties = child(paragraph, "pPr")
        styles = list(self._styles.chain(attribute(child(properties, "pStyle"), "val")))
        name = styles[0].name if styles else ""
        text, boxes, footnotes = _inline(paragraph)
        if re.search(r"\bcode\b|preformatted|source", name):
            self._code.append(text.rstrip())
        else:
            yield from self.end_code()
            if (text := squeeze(text)) and not name.startswith("toc"):
                yield self._block(text, name, properties, styles)
        for number in footnotes:
            if number in self._styles.footnotes:
                yield Block(kind="prose", text=self._styles.footnotes.pop(number))
        for box in boxes:
            yield from self.read(box)

    def _block(self, text: str, name: str, properties: Element | None, styles: list[_Style]) -> Block:
        outline = attribute(child(properties, "outlineLvl"), "val")
        level = int(outline) + 1 if outline and outline.isdigit() else None
        if level is None:
            level = next((style.level for style in styles if style.level is not None), None)
        if name == "title":
            level = 1
        elif level is None:
            level = next((int(style.name[8:]) for style in styles if re.fullmatch(r"heading \d", style.name)), None)
        if level is not None and level <= 9:
            return Block(kind="heading", text=text, level=min(level, 6), anchor="")
        numbering = _numbering(properties) or next((style.numbering for style in styles if style.numbering), None)
        if numbering is None or numbering[0] == "0":
            return Block(kind="prose", text=text)
        return Block(kind="item", text=text, level=min(numbering[1], 8), mark=self._mark(*numbering))

    def _mark(self, list_id: str, level: int) -> str:
        form, start = self._styles.formats.get((list_id, level), ("bullet", 1))
        if form in _BULLETS:
            return "-"
        count = self._counts.get((list_id, level), start - 1) + 1
        self._counts[list_id, level] = count
        for deeper in [key for key in self._counts if key[0] == list_id and key[1] > level]:
            del self._counts[deeper]
        if form in {"lowerLetter", "upperLetter"} and count <= 26:
            return f"{chr((97 if form == 'lowerLetter' else 65) + count - 1)}."
        return f"{count}."

    def _table(self, table: Element) -> Iterator[Block]:
        rows: list[list[str]] = []
        for row in _inside(table, "tr"):
            cells: list[str] = []
            for cell in _inside(row, "tc"):
                properties = child(cell, "tcPr")
                merge = child(properties, "vMerge")
                text = squeeze(" ".join(self._cell(cell)))
                if merge is not None and attribute(merge, "val") != "restart" and not text and rows:
                    text = (
                        rows[-1][len(cells)] if len(cells) < len(rows[-1]) else ""
                    )  # a merged cell holds for each row
                cells.append(text)
                cells += [""] * (min(_number(attribute(child(properties, "gridSpan"), "val"), 1), 64) - 1)
            rows.append(cells)
        if rows and max(len(row) for row in rows) == 1:  # a frame around text, not a table
            for row in _inside(table, "tr"):
                for cell in _inside(row, "tc"):
                    for inner in cell:
                        yield from self.read(inner)
            yield from self.end_code()
        else:
            yield from table_blocks(rows, 1)

    def _cell(self, cell: Element) -> Iterator[str]:
        for paragraph in descendants(cell, "p"):
            yield _inline(paragraph)[0]


def _inside(element: Element, name: str) -> Iterator[Element]:
    """Rows of a table or cells of a row, also those inside content controls; not those of tables within."""
    for inner in element:
        if local(inner) == name:
            yield inner
        elif local(inner) in {"sdt", "sdtContent", "ins", "customXml"}:
            yield from _inside(inner, name)
