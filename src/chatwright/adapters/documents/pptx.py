"""Slides (PPTX) as blocks: one section per slide, its title as the heading. Used by `reading`.

Kept: text, tables, the numbers of charts, the words of diagrams. Left out: speaker's notes, hidden slides, dates and
slide numbers.
"""

from collections.abc import Iterator

from chatwright.adapters.documents.archive import (
    Archive,
    Element,
    child,
    core_properties,
    descendants,
    local,
)
from chatwright.adapters.documents.blocks import clean, squeeze, table_blocks
from chatwright.adapters.documents.limits import ExtractLimits, Notes, too_many_pages
from chatwright.domain.documents import Block
from chatwright.domain.errors import Unprocessable

_NO_CONTENT = frozenset({"sldNum", "dt", "ftr", "hdr"})
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_STRICT_RELATION = "{http://purl.oclc.org/ooxml/officeDocument/relationships}"


def pptx_blocks(archive: Archive, notes: Notes, limits: ExtractLimits) -> Iterator[Block]:
    """Blocks of a presentation, slide by slide. Raises Unprocessable, PayloadTooLarge."""
    main = next(
        (part for kind, part in archive.relations("").values() if kind == "officeDocument"), "ppt/presentation.xml"
    )
    tree = archive.tree(main)
    if tree is None:
        raise Unprocessable("the file is damaged: its presentation part is missing; export it again")
    notes.title, language = core_properties(archive)
    notes.set_language(language)
    relations = archive.relations(main)
    slides = [relations.get(_relation(slide, "id") or "") for slide in descendants(tree, "sldId")]
    notes.pages = len(slides)
    if len(slides) > limits.max_pages:
        too_many_pages(len(slides), limits, "slides")
    for number, found in enumerate(slides, start=1):
        if found is not None and (slide := archive.tree(found[1])) is not None:
            yield from _slide_blocks(archive, found[1], slide, number, notes)


def _relation(element: Element | None, name: str) -> str | None:
    if element is None:
        return None
    return element.get(_RELATION + name) or element.get(_STRICT_RELATION + name)


def _slide_blocks(archive: Archive, part: str, slide: Element, page: int, notes: Notes) -> Iterator[Block]:
    if slide.get("show") in {"0", "false"}:
        notes.warn(f"slide {page} is hidden and was left out")
        return
    relations = archive.relations(part)
    if any(kind == "notesSlide" for kind, _ in relations.values()):
        notes.warn("speaker's notes were left out")
    tree = child(slide, "cSld", "spTree")
    shapes = list(_shapes(tree)) if tree is not None else []
    titles = [shape for shape in shapes if _placeholder(shape) in {"title", "ctrTitle"}]
    for shape in titles:
        if text := squeeze(" ".join(text for _, text, _ in _paragraphs(shape))):
            yield Block(kind="heading", text=text, level=2, page=page, anchor="")
    for shape in shapes:
        if shape in titles or _placeholder(shape) in _NO_CONTENT:
            continue
        if local(shape) == "graphicFrame":
            yield from _frame_blocks(archive, relations, shape, page)
        else:
            yield from _text_blocks(shape, page)


def _shapes(tree: Element) -> Iterator[Element]:
    waiting = list(tree)[::-1]
    while waiting:
        shape = waiting.pop()
        match local(shape):
            case "sp" | "cxnSp" | "graphicFrame":
                yield shape
            case "grpSp":
                waiting += list(shape)[::-1]
            case "AlternateContent":
                choice = child(shape, "Choice")
                waiting += list(choice)[::-1] if choice is not None else []
            case _:
                pass


def _placeholder(shape: Element) -> str:
    found = child(shape, "nvSpPr", "nvPr", "ph")
    return (found.get("type") or "body") if found is not None else ""


def _paragraphs(shape: Element) -> Iterator[tuple[int, str, bool]]:
    """(level, text, whether it is a list's item) of a shape's paragraphs that say something."""
    for paragraph in descendants(shape, "p"):
        parts: list[str] = []
        for run in paragraph:
            match local(run):
                case "r":
                    text = child(run, "t")
                    parts.append((text.text or "") if text is not None else "")
                case "fld" if not (run.get("type") or "").startswith(("slidenum", "datetime")):
                    text = child(run, "t")
                    parts.append((text.text or "") if text is not None else "")
                case "br":
                    parts.append(" ")
                case "m" | "oMath" | "oMathPara" | "AlternateContent":
                    parts += [part.text or "" for part in descendants(run, "t")]
                case _:
                    pass
        properties = child(paragraph, "pPr")
        level = properties.get("lvl", "0") if properties is not None else "0"
        marked = child(properties, "buChar") is not None or child(properties, "buAutoNum") is not None
        bare = child(properties, "buNone") is not None
        if text := squeeze(clean("".join(parts))):
            yield int(level) if level.isdecimal() else 0, text, marked or (not bare and _placeholder(shape) == "body")


def _text_blocks(shape: Element, page: int) -> Iterator[Block]:
    found = list(_paragraphs(shape))
    for level, text, is_item in found:
        if is_item and len(found) > 1:
            yield Block(kind="item", text=text, level=min(level, 8), mark="-", page=page)
        else:
            yield Block(kind="prose", text=text, page=page)


def _frame_blocks(
    archive: Archive, relations: dict[str, tuple[str, str]], frame: Element, page: int
) -> Iterator[Block]:
    data = child(frame, "graphic", "graphicData")
    for inner in data if data is not None else ():
        match local(inner):
            case "tbl":
                rows = [[_cell(cell) for cell in row if local(cell) == "tc"] for row in inner if local(row) == "tr"]
                yield from table_blocks(rows, 1, page=page)
            case "chart":
                chart = archive.tree(relations.get(_relation(inner, "id") or "", ("", ""))[1])
                yield from table_blocks(_chart_rows(chart), 1, page=page) if chart is not None else ()
            case "relIds":
                diagram = archive.tree(relations.get(_relation(inner, "dm") or "", ("", ""))[1])
                for _, text, _ in _paragraphs(diagram) if diagram is not None else ():
                    yield Block(kind="item", text=text, mark="-", page=page)
            case _:
                pass


def _cell(cell: Element) -> str:
    return " ".join(text for _, text, _ in _paragraphs(cell))


def _chart_rows(chart: Element) -> list[list[str]]:
    """A chart's cached values: categories below one another, a column per series."""
    columns: list[list[str]] = []
    names: list[str] = []
    categories: list[str] = []
    for series in descendants(chart, "ser"):
        names.append(" ".join(_values(child(series, "tx"))))
        categories = categories or _values(child(series, "cat")) or _values(child(series, "xVal"))
        columns.append(_values(child(series, "val")) or _values(child(series, "yVal")))
    height = max((len(column) for column in [categories, *columns]), default=0)
    padded = [column + [""] * (height - len(column)) for column in [categories, *columns]]
    return [["", *names], *[list(row) for row in zip(*padded, strict=True)]] if columns else []


def _values(element: Element | None) -> list[str]:
    return [value.text or "" for value in descendants(element, "v")] if element is not None else []
