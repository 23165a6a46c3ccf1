"""Files of conversations as they are read: whatever delimiter, encoding and quoting, from any place on, and past what is broken."""

import csv
import gzip
import io
import tracemalloc
import zipfile
from collections.abc import AsyncGenerator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.domain.errors import PayloadTooLarge, Unprocessable
from chatwright.features.imports import Arriving, Dialect, Record, Wishes, open_records, sniff
from chatwright.features.imports.records import LINE_AT_MOST_BYTES, RECORD_AT_MOST_BYTES

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r"), max_size=30)
CELLS = st.lists(st.tuples(TEXT, TEXT, TEXT).filter(any), min_size=1, max_size=30)
NAMES = ("conversation_id", "text", "created_at")


def written(
    rows: list[tuple[str, str, str]], delimiter: str = ",", encoding: str = "utf-8", end: str = "\r\n"
) -> bytes:
    page = io.StringIO(newline="")
    csv.writer(page, delimiter=delimiter, lineterminator=end).writerows([NAMES, *rows])
    return page.getvalue().encode(encoding)


def plain(delimiter: str = ",", encoding: str = "utf-8") -> Dialect:
    return Dialect(columns=NAMES, delimiter=delimiter, encoding=encoding)


def all_of(data: bytes, dialect: Dialect, *, step: int = 7) -> list[Record]:
    reader = open_records(io.BytesIO(data), dialect)
    found: list[Record] = []
    while records := reader.read(step):
        found += records
    return found


@given(CELLS, st.sampled_from(",;\t|"), st.sampled_from(["\r\n", "\n"]), st.integers(1, 9))
def test_rows_are_read_as_they_were_written(
    rows: list[tuple[str, str, str]], delimiter: str, end: str, step: int
) -> None:
    found = all_of(written(rows, delimiter, end=end), plain(delimiter), step=step)
    assert [tuple(one.cells) for one in found] == rows
    assert [one.number for one in found] == list(range(1, len(rows) + 1))
    assert not any(one.problem for one in found)


@given(CELLS, st.data())
def test_a_reader_goes_on_where_another_one_stopped(rows: list[tuple[str, str, str]], data: st.DataObject) -> None:
    raw = written(rows)
    first = open_records(io.BytesIO(raw), plain())
    read = first.read(data.draw(st.integers(0, len(rows))))
    second = open_records(io.BytesIO(raw), plain(), offset=first.offset, number=first.number)
    assert [tuple(one.cells) for one in [*read, *second.read(10_000)]] == rows
    assert second.number == len(rows)
    assert second.offset == len(raw)


@given(CELLS, st.integers(0, 30), st.sampled_from(['x,"never closed', "a,b,c,d,e", 'x,"y"z"', "x\ry,z,w", '"', "\x00"]))
def test_what_is_broken_costs_no_whole_row_after_it(rows: list[tuple[str, str, str]], place: int, broken: str) -> None:
    """As long as no quote of a later row closes the open one."""
    place = min(place, len(rows))
    one_line = [tuple("".join(c for c in cell if c not in '\n",') for cell in row) for row in rows]
    before = written([(a, b, c) for a, b, c in one_line[:place]])
    after = written([(a, b, c) for a, b, c in one_line[place:]])[len(written([])) :]
    found = all_of(before + broken.encode() + b"\r\n" + after, plain())
    good = [tuple(one.cells) for one in found if not one.problem and len(one.cells) == 3]
    assert good[: len(one_line[:place])] == one_line[:place]
    missing = [row for row in one_line if row not in good]
    assert missing == []


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.text("äöüéñ hello wörld€", min_size=3), st.just("2024-01-01")), min_size=3),
    st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]),
    st.sampled_from(",;\t|"),
)  # fmt: skip
def test_a_files_dialect_is_found_out(rows: list[tuple[str, str, str]], encoding: str, delimiter: str) -> None:
    data = written(rows, delimiter, encoding)
    dialect = sniff(data, is_all=True)
    assert (dialect.delimiter, dialect.columns, dialect.has_header) == (delimiter, NAMES, True)
    assert [tuple(one.cells) for one in all_of(data, dialect)] == rows


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_wide_files_are_written_anew(encoding: str) -> None:
    rows = [("1", f"Grüße aus Köln {number}", "2024-01-01") for number in range(300)]
    arriving = Arriving(pieces(written(rows, ";", encoding), 1_000), limit_bytes=1 << 30)
    data = b"".join([piece async for piece in arriving])
    assert arriving.is_rewritten
    dialect = sniff(arriving.head, is_all=True)
    assert [tuple(one.cells) for one in all_of(data, dialect)] == rows


def test_a_file_without_a_header_has_numbered_columns() -> None:
    data = b"1,hello there,2024-01-01\r\n2,are you open?,2024-01-02\r\n"
    dialect = sniff(data, is_all=True)
    assert (dialect.has_header, dialect.columns) == (False, ("column 1", "column 2", "column 3"))
    assert len(all_of(data, dialect)) == 2
    assert sniff(data, Wishes(has_header=True), is_all=True).columns == ("1", "hello there", "2024-01-01")


def test_lines_that_end_in_returns_alone_are_lines() -> None:
    data = written([("1", "a", "b"), ("2", "c", "d")], end="\r")
    dialect = sniff(data, is_all=True)
    assert dialect.lone_returns
    assert [one.cells for one in all_of(data, dialect)] == [["1", "a", "b"], ["2", "c", "d"]]
    reader = open_records(io.BytesIO(data), dialect)
    reader.read(1)
    again = open_records(io.BytesIO(data), dialect, offset=reader.offset, number=1)
    assert [one.cells for one in again.read(9)] == [["2", "c", "d"]]


def test_columns_of_one_name_are_told_apart() -> None:
    dialect = sniff(b"text,text,,text\r\na,b,c,d\r\n", is_all=True)
    assert dialect.columns == ("text", "text (2)", "column 3", "text (3)") or len(set(dialect.columns)) == 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\x00" * 5000, "empty"),
        (b" \r\n\r\n", "empty"),
        (b"conversation_id,text\r\n", "no rows"),
        (",".join(f"c{n}" for n in range(10_000)).encode() + b"\r\n1\r\n", "10,000 columns"),
        (bytes(range(1, 32)) * 300, "no text"),
    ],
)
def test_what_is_no_file_of_rows_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(Unprocessable, match=words):
        sniff(data, is_all=True)


def test_a_field_of_a_megabyte_is_read() -> None:
    rows = [("1", "x" * 1_000_000, "y"), ("2", "line\n" * 300_000, "z")]
    assert [tuple(one.cells) for one in all_of(written(rows), plain())] == rows


def test_a_quote_that_is_never_closed_costs_a_bounded_part_of_memory() -> None:
    data = written([]) + b'1,"open\r\n' + b"2,good,x\r\n" * (3 * RECORD_AT_MOST_BYTES // 10)
    tracemalloc.start()
    try:
        reader = open_records(io.BytesIO(data), plain())
        first = reader.read(2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "never closed" in first[0].problem
    assert first[1].cells == ["2", "good", "x"]
    assert peak < 8 * RECORD_AT_MOST_BYTES
    assert sum(not one.problem for one in all_of(data, plain(), step=100_000)) == 3 * RECORD_AT_MOST_BYTES // 10


def test_a_line_without_an_end_is_passed_over() -> None:
    data = written([]) + b"x" * (2 * LINE_AT_MOST_BYTES) + b"\r\n1,good,x\r\n"
    found = all_of(data, plain())
    assert [bool(one.problem) for one in found] == [True, False]
    assert found[1].cells == ["1", "good", "x"]


def test_json_lines_are_read_past_broken_ones() -> None:
    data = b'{"text":"a"}\n\n{"text":\n[1,2]\n{"text":"b","n":1}'
    dialect = sniff(data, is_all=True)
    assert (dialect.kind, dialect.columns) == ("jsonl", ("text", "n"))
    found = all_of(data, dialect)
    assert [one.value for one in found] == [{"text": "a"}, None, None, {"text": "b", "n": 1}]
    assert [bool(one.problem) for one in found] == [False, True, True, False]


def test_bytes_in_another_encoding_are_read_as_windows_or_told() -> None:
    rows = [("1", "fine", "x")] * 10
    data = written(rows) + b"2,caf\xe9,x\r\n3,ok,y\r\n"
    guessed = open_records(io.BytesIO(data), plain())
    assert [one.cells[1] for one in guessed.read(99)][-2:] == ["café", "ok"]
    assert guessed.recoded == 1
    asked = Dialect(columns=NAMES, is_guessed=False)
    found = all_of(data, asked)
    assert [one.number for one in found if one.problem] == [11]
    assert found[-1].cells == ["3", "ok", "y"]


# Archives ------------------------------------------------------------------------------------------------------------


async def pieces(data: bytes, size: int) -> AsyncGenerator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def arrived(data: bytes, *, limit_bytes: int = 1 << 30, size: int = 4_096) -> bytes:
    return b"".join([piece async for piece in Arriving(pieces(data, size), limit_bytes=limit_bytes)])


def zipped(**files: bytes) -> bytes:
    page = io.BytesIO()
    with zipfile.ZipFile(page, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return page.getvalue()


@pytest.mark.parametrize("size", [1, 3, 4_096, 1 << 20])
async def test_archives_are_unpacked_however_they_arrive(size: int) -> None:
    data = written([("1", f"text {number}", "x") for number in range(200)])
    assert await arrived(gzip.compress(data), size=size) == data
    assert await arrived(gzip.compress(data[:99]) + gzip.compress(data[99:]), size=size) == data
    assert await arrived(zipped(**{"chats.csv": data, "readme.md": b"hello"}), size=size) == data
    assert await arrived(data, size=size) == data


async def test_archives_that_are_none_are_told() -> None:
    data = written([("1", "text", "x")] * 100)
    for packed, words in (
        (gzip.compress(data)[:-20], "breaks off"),
        (gzip.compress(data)[:-8] + b"\xff" * 8, "damaged"),
        (zipped(**{"a.csv": data, "b.csv": data}), "2 of them with rows"),
        (zipped(**{"a.png": data}), "0 of them"),
        (zipped(**{"a.csv": data})[:-30], "cannot be read"),
    ):
        with pytest.raises(Unprocessable, match=words):
            await arrived(packed)


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped(**{"a.csv": data})], ids=["gzip", "zip"])
async def test_a_bomb_is_put_out_before_it_fills_anything(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(b"a,b,c\r\n" * 10_000_000)
    unpacked = 0

    async def unpack() -> None:
        nonlocal unpacked
        async for piece in Arriving(pieces(bomb, 4_096), limit_bytes=1 << 40):
            unpacked += len(piece)

    with pytest.raises(Unprocessable, match="200 times"):
        await unpack()
    assert 0 < unpacked < 64 * 1024 * 1024
    with pytest.raises(PayloadTooLarge):
        await arrived(pack(b"".join(b"%d,hello\r\n" % number for number in range(200_000))), limit_bytes=1_000_000)
