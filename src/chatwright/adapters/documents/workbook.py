"""Workbooks (XLSX, XLS, ODS) and CSV as blocks: tables, records or questions with answers. Used by `reading`.

A workbook's sheet is a section, its name the heading. Values are shown without currency and percent signs.
"""

import csv
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import chain, islice
from pathlib import Path

import python_calamine

from chatwright.adapters.documents.blocks import clean, pair_columns, squeeze, table_blocks
from chatwright.adapters.documents.encoding import detect
from chatwright.adapters.documents.limits import ExtractLimits, Notes, too_many_pages
from chatwright.domain.documents import Block
from chatwright.domain.errors import Unprocessable

_MAX_FIELD_CHARACTERS = 1_000_000
_SAMPLE_BYTES = 1_000_000

Cell = int | float | str | bool | time | date | datetime | timedelta


def workbook_blocks(path: Path, notes: Notes, limits: ExtractLimits) -> Iterator[Block]:
    """Blocks of a workbook, sheet by sheet. Raises Unprocessable, PayloadTooLarge."""
    try:
        workbook = python_calamine.CalamineWorkbook.from_path(str(path))
    except python_calamine.PasswordError as error:
        raise Unprocessable("the file is protected by a password; save a copy without one") from error
    except python_calamine.CalamineError as error:
        raise Unprocessable("the workbook is damaged; open it and save it again") from error
    sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet]
    notes.pages = len(sheets)
    if len(sheets) > limits.max_pages:
        too_many_pages(len(sheets), limits, "sheets")
    for page, sheet in enumerate(sheets, start=1):
        if sheet.visible != python_calamine.SheetVisibleEnum.Visible:
            notes.warn(f"the sheet {sheet.name} is hidden and was left out")
            continue
        try:
            rows = ([_shown(cell) for cell in row] for row in workbook.get_sheet_by_name(sheet.name).iter_rows())
            blocks = _region_blocks(rows, page)
            first = next(blocks, None)
            if first is not None:
                yield Block(kind="heading", text=squeeze(clean(sheet.name)), level=2, page=page, anchor="")
                yield first
                yield from blocks
        except python_calamine.CalamineError as error:
            raise Unprocessable(f"the sheet {sheet.name} is damaged; open the workbook and save it again") from error


def _shown(cell: Cell) -> str:
    match cell:
        case str():
            return clean(cell).strip()
        case bool():
            return "true" if cell else "false"
        case float():
            return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.10g}"
        case datetime():
            return cell.date().isoformat() if cell.time() == time() else cell.isoformat(" ", "minutes")
        case _:
            return str(cell)


def _region_blocks(rows: Iterator[list[str]], page: int) -> Iterator[Block]:
    """Tables of one sheet: rows that an empty row parts from others."""
    region: list[list[str]] = []
    for row in chain(rows, [[]]):
        if any(row):
            region.append(row)
        elif region:
            yield from _one_region(region, page)
            region = []


def _one_region(region: list[list[str]], page: int) -> Iterator[Block]:
    for part in _side_by_side(region):
        used = [
            column for column in range(max(map(len, part))) if any(column < len(row) and row[column] for row in part)
        ]
        trimmed = [[row[column] if column < len(row) else "" for column in used] for row in part]
        at = 0
        while at < len(trimmed) and (len(used) == 1 or sum(map(bool, trimmed[at])) == 1):
            # A title above the table, or a remark.
            yield Block(kind="prose", text=next(filter(None, trimmed[at])), page=page)
            at += 1
        table = trimmed[at:]
        yield from table_blocks(table, 1 if has_header(table) else 0, page=page)


def _side_by_side(region: list[list[str]]) -> list[list[list[str]]]:
    """The region, or its two tables if an empty column parts two that each name their columns."""
    width = max(map(len, region))
    padded = [row + [""] * (width - len(row)) for row in region]
    for column in range(2, width - 2):
        if any(row[column] for row in padded):
            continue
        left, right = (
            [row for row in side if any(row)]
            for side in zip(*[(row[:column], row[column + 1 :]) for row in padded], strict=True)
        )
        if has_header(_without_empty_columns(left)) and has_header(_without_empty_columns(right)):
            return [left, *_side_by_side(right)]
    return [padded]


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    used = [column for column in range(len(rows[0])) if any(row[column] for row in rows)] if rows else []
    return [[row[column] for column in used] for row in rows]


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: every cell filled, none a number, and rows below it."""
    if len(rows) < 2:
        return False
    first = rows[0]
    if pair_columns(first) is not None:
        return True
    numeric = any(cell.strip("-+ %$€£").replace(".", "").replace(",", "").isdigit() for cell in first)
    return len(first) > 1 and all(first) and not numeric and len(set(first)) == len(first)


# --- CSV ------------------------------------------------------------------------------------------------------------


def csv_blocks(path: Path, *, declared: str | None = None) -> Iterator[Block]:
    """Blocks of comma, semicolon, tab or bar separated values. Raises Unprocessable."""
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    encoding = detect(sample, declared=declared)
    # The limit is the whole process's: others may need more.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD_CHARACTERS))
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        head = [line for line in islice(file, 50) if len(line) <= _MAX_FIELD_CHARACTERS]
    delimiter = _delimiter(head)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        lines = (line.replace("\0", "") for line in file)
        rows = ([clean(cell).strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter))
        try:
            first = list(islice((row for row in rows if any(row)), 30))
            yield from table_blocks(chain(first, rows), 1 if has_header(first) else 0)
        except csv.Error as error:
            raise Unprocessable(
                f"the file cannot be read as separated values ({error}); save it again as CSV"
            ) from error


def _delimiter(lines: list[str]) -> str:
    """The mark that parts most lines into equally many cells."""
    best = (0.0, ",")
    for mark in ",;\t|":
        widths = [len(row) for row in csv.reader(lines, delimiter=mark) if row]
        if widths:
            usual = max(set(widths), key=widths.count)
            value = (usual > 1) * widths.count(usual) / len(widths) + min(usual, 50) / 1_000
            best = max(best, (value, mark), key=lambda found: found[0])
    return best[1]
