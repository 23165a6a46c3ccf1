"""Rows as CSV (RFC 4180), for replies that people open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence

CSV_TYPE = b"text/csv; charset=utf-8; header=present"
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Encode rows, each line ended by CRLF; None is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe in front: tenants choose the names of chatbots
    and models, and operators open the file.
    """
    page = io.StringIO(newline="")
    csv.writer(page, lineterminator="\r\n").writerows([_plain(cell) for cell in row] for row in rows)
    return page.getvalue().encode()


def _plain(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
