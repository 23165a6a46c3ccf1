"""PDF as blocks, page by page: text lines of PDFium put together to paragraphs and headings. Used by `reading`.

Only a few pages are held at a time, whatever the document's length. Running headers, footers and page numbers are left
out: lines that stand at the same height of several pages around. There are no tables in a PDF, only words at places;
rows of one come out as lines.
"""

import ctypes
import math
import re
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import pypdfium2
from pypdfium2 import raw

from chatwright.adapters.documents.limits import ExtractLimits, Notes, too_many_pages
from chatwright.adapters.documents.paragraphs import MAX_HEADING_CHARACTERS, Composer, Line, readable
from chatwright.domain.documents import Block
from chatwright.domain.errors import Unprocessable

_WINDOW = 6  # pages to each side in which a header or footer repeats
_EDGE_LINES = 3
_EDGE_SHARE = 0.13  # of the page's height, above and below
_SAME_HEIGHT_POINTS = 3.0
_BOLD = re.compile(rb"bold|black|heavy", re.IGNORECASE)
_PAGE_NUMBER = re.compile(
    r"\d+\s{0,2}(?:/|\||of|von|de|di|sur|van|av|из|z)\s{0,2}\d+|"  # 3 of 20, wherever it stands
    r"\A\W{0,4}(?:\d+|[ivxlc]{1,6}\b)|(?:\d+|\b[ivxlc]{1,6})\W{0,4}\Z"  # at the line's start or end
)
_JUNK_TITLE = re.compile(r"^(?:microsoft (?:word|powerpoint|excel)|untitled|slide \d|title$)|\.(?:docx?|indd|qxd|pdf|tex|dvi|pptx?|xlsx?)$", re.IGNORECASE)  # fmt: skip


def pdf_blocks(path: Path, notes: Notes, limits: ExtractLimits) -> Iterator[Block]:
    """Blocks of a PDF. Raises Unprocessable (protected, damaged, pictures only) and PayloadTooLarge (too many pages)."""
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise Unprocessable("the PDF is protected by a password; save a copy without one") from error
        if "ecurity" in str(error):
            raise Unprocessable("the PDF is protected in a way that cannot be read; save a copy without it") from error
        raise Unprocessable("the PDF is damaged; open it and save or print it anew as PDF") from error
    try:
        pages = len(document)
        notes.pages = pages
        if pages > limits.max_pages:
            too_many_pages(pages, limits)
        title = _title(document)
        notes.title = "" if _JUNK_TITLE.search(title) else title
        notes.set_language(_catalog_language(document))
        composer = Composer(_outline(document))
        empty: list[int] = []
        unreadable = 0
        for number, lines in _without_running_lines(_pages(document, empty)):
            kept = [line for line in lines if readable(line.text)]
            # Single signs are mathematics, in fonts that never tell.
            unreadable += sum(len(line.text) > 3 for line in lines) - sum(len(line.text) > 3 for line in kept)
            yield from composer.add(number, kept)
        yield from composer.end()
        if pages and len(empty) == pages:
            raise Unprocessable("the PDF holds pictures of text only; run text recognition (OCR) on it first")
        if empty:
            notes.warn(f"no text on {_ranges(empty)}; pictures of text need text recognition (OCR) first")
        if unreadable:
            notes.warn(f"{unreadable:,} lines are set in a font that does not tell its letters and were left out")
    finally:
        document.close()


def _catalog_language(document: pypdfium2.PdfDocument) -> str | None:
    get_language = getattr(raw, "FPDFCatalog_GetLanguage", None)
    if get_language is None:
        return None
    buffer = ctypes.create_string_buffer(64)
    size = get_language(document, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), 64)
    return buffer.raw[: max(0, min(size, 64) - 2)].decode("utf-16-le", "replace") if size else None


def _title(document: pypdfium2.PdfDocument) -> str:
    try:
        return " ".join(document.get_metadata_value("Title").split())
    except UnicodeError:  # half a character: no reason to refuse the text
        return ""


def _outline(document: pypdfium2.PdfDocument) -> dict[tuple[int, str], int]:
    """(page from 1, title without white space) → level from 1, of the document's bookmarks."""
    found: dict[tuple[int, str], int] = {}
    try:
        for bookmark in document.get_toc(max_depth=6):
            target = bookmark.get_dest()
            index = target.get_index() if target is not None else None
            if index is not None and len(found) < 20_000:
                found[index + 1, "".join(bookmark.get_title().split()).casefold()] = bookmark.level + 1
    except (pypdfium2.PdfiumError, UnicodeError):
        return {}
    return found


def _ranges(numbers: list[int]) -> str:
    """In words: page 3; pages 1 to 4, 7 and others."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    shown = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in spans[:8])
    return f"page{'s' if len(numbers) > 1 else ''} {shown}{' and others' if len(spans) > 8 else ''}"


# --- lines ----------------------------------------------------------------------------------------------------------


def _pages(document: pypdfium2.PdfDocument, empty: list[int]) -> Iterator[tuple[int, list[Line], float]]:
    """(page number, its lines in the order of the file, its height in points)."""
    for index in range(len(document)):
        try:
            page = document[index]
        except pypdfium2.PdfiumError:
            empty.append(index + 1)
            continue
        try:
            text_page = page.get_textpage()
            try:
                lines = _lines(text_page)
            finally:
                text_page.close()
            if not lines and _has_content(page):
                empty.append(index + 1)
            yield index + 1, lines, page.get_height()
        finally:
            page.close()


def _has_content(page: pypdfium2.PdfPage) -> bool:
    return raw.FPDFPage_CountObjects(page) > 0


def _lines(text_page: pypdfium2.PdfTextPage) -> list[Line]:
    upright: list[Line] = []
    sideways: list[Line] = []
    count = text_page.count_chars()
    if count <= 0:
        return upright
    text = text_page.get_text_range(0, count)
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    box, matrix = raw.FS_RECTF(), raw.FS_MATRIX()
    name, flags = ctypes.create_string_buffer(96), ctypes.c_int()
    at = 0
    for part in text.split("\n"):
        start, at = at, at + len(part) + 1
        stripped = part.strip()
        if not stripped:
            continue
        first = start + len(part) - len(part.lstrip())
        begin = raw.FPDFText_GetCharIndexFromTextIndex(text_page, first)
        end = raw.FPDFText_GetCharIndexFromTextIndex(text_page, first + len(stripped) - 1)
        if begin < 0 or end < begin:
            begin, end = min(first, count - 1), min(first + len(stripped) - 1, count - 1)
        middle = (begin + end) // 2
        raw.FPDFText_GetCharBox(text_page, end, left, right, bottom, top)
        raw.FPDFText_GetLooseCharBox(text_page, begin, box)
        x0, x1, y, height = box.left, right.value, box.bottom, abs(box.top - box.bottom)
        size, turned = height, False
        if raw.FPDFText_GetMatrix(text_page, middle, matrix):
            size = raw.FPDFText_GetFontSize(text_page, middle) * math.hypot(matrix.c, matrix.d) or height
            if abs(matrix.b) > abs(matrix.a):  # a page turned on its side: its left edge is its lower one
                up = 1 if matrix.b > 0 else -1
                x0, x1, y, height = up * box.bottom, up * top.value, -up * box.left, abs(box.right - box.left)
                turned = True
        if x1 < x0 and not turned:  # Arabic, Hebrew: measured from the right
            x0, x1 = -box.right, -left.value
        bold = raw.FPDFText_GetFontWeight(text_page, middle) >= 600
        if not bold and len(stripped) <= MAX_HEADING_CHARACTERS:
            raw.FPDFText_GetFontInfo(text_page, middle, name, 96, flags)
            bold = bool(_BOLD.search(name.value))
        line = Line(text=stripped, size=round(size, 1), bold=bold, x0=x0, x1=x1, y=y, height=height)
        (sideways if turned else upright).append(line)
    # A few words along the edge are a stamp; a page that has more of them is printed sideways.
    return sideways if len(sideways) > len(upright) else upright


# --- headers and footers --------------------------------------------------------------------------------------------


def _without_running_lines(pages: Iterator[tuple[int, list[Line], float]]) -> Iterator[tuple[int, list[Line]]]:
    """Pages without the lines at their edges that two other pages of the window have at the same place."""
    window: deque[tuple[int, list[Line], dict[str, list[float]]]] = deque()
    counts: Counter[str] = Counter()
    waiting: deque[tuple[int, list[Line], dict[str, list[float]]]] = deque()
    for number, lines, height in pages:
        entry = (number, lines, _edges(lines, height))
        window.append(entry)
        waiting.append(entry)
        counts.update(entry[2].keys())
        if len(waiting) > _WINDOW:
            yield _strip(waiting.popleft(), window, counts)
        while len(window) > 2 * _WINDOW + 1:
            counts.subtract(window.popleft()[2].keys())
            counts += Counter()
    while waiting:
        yield _strip(waiting.popleft(), window, counts)


def _edges(lines: list[Line], height: float) -> dict[str, list[float]]:
    """The outermost lines of a page, page numbers as #, with their heights."""
    middle = _EDGE_SHARE * height, (1 - _EDGE_SHARE) * height
    by_height = sorted((line for line in lines if not middle[0] < line.y < middle[1]), key=lambda line: line.y)
    found: dict[str, list[float]] = {}
    for line in by_height[:_EDGE_LINES] + by_height[-_EDGE_LINES:]:
        found.setdefault(_PAGE_NUMBER.sub("#", line.text.casefold()), []).append(line.y)
    return found


def _strip(
    entry: tuple[int, list[Line], dict[str, list[float]]],
    window: deque[tuple[int, list[Line], dict[str, list[float]]]],
    counts: Counter[str],
) -> tuple[int, list[Line]]:
    number, lines, edges = entry
    running: set[tuple[str, float]] = set()
    for text, heights in edges.items():
        if counts[text] < 3:
            continue
        for y in heights:
            same = sum(
                any(abs(other - y) <= _SAME_HEIGHT_POINTS for other in found.get(text, ())) for _, _, found in window
            )
            if same >= 3:
                running.add((text, y))
    if not running:
        return number, lines
    return number, [line for line in lines if (_PAGE_NUMBER.sub("#", line.text.casefold()), line.y) not in running]
