"""CSV that any reader of RFC 4180 reads back, and that no spreadsheet takes for a formula."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.entrypoints.csv_rows import to_csv

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
CELL = st.one_of(st.none(), st.integers(0, 2**63), TEXT)


@given(rows=st.lists(st.lists(CELL, min_size=2, max_size=4), max_size=5))
def test_rows_are_read_back(rows: list[list[object]]) -> None:
    raw = to_csv(rows).decode()
    found = list(csv.reader(io.StringIO(raw, newline=""), strict=True))
    assert len(found) == len(rows)
    for read, row in zip(found, rows, strict=True):
        written = ["" if cell is None else str(cell) for cell in row]
        assert [cell.removeprefix("'") for cell in read] == [cell.removeprefix("'") for cell in written]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in read)


def test_lines_end_as_the_standard_says() -> None:
    assert to_csv([["a", 1], ['say "hi", you', "two\r\nlines"]]) == b'a,1\r\n"say ""hi"", you","two\r\nlines"\r\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_formula_becomes_a_text(text: str) -> None:
    assert to_csv([[text, "x"]]) == f"'{text},x\r\n".encode()


def test_a_negative_number_stays_a_number() -> None:
    assert to_csv([[-5]]) == b"-5\r\n"
