"""Rows of a file, one after another, however large it is: from any place on, and back to work after a broken one. Pure
but for the file it is given.

`RecordReader` pulls lines from a binary file and counts their bytes, so that `offset` is always where the next record
begins and another reader can go on there. Memory holds one record. Runs in threads: nothing here waits for the loop.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import msgspec

from chatwright.features.imports.dialect import Dialect

LINE_AT_MOST_BYTES = 4 * 1024 * 1024
RECORD_AT_MOST_BYTES = 8 * 1024 * 1024
"""A record with quoted newlines; an opened quote that is never closed is noticed after so much."""
_RAW_AT_MOST_CHARS = 2_000

csv.field_size_limit(RECORD_AT_MOST_BYTES)  # the library's 128 KiB refuse fields that exports do have


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row. `cells` by column for CSV, `value` for JSON Lines; `problem` says why it could not be read, `raw` is then
    how the row begins. `number` counts rows from 1, the header is none."""

    number: int
    cells: list[str] = msgspec.field(default_factory=list[str])
    value: dict[str, Any] | None = None
    problem: str = ""
    raw: str = ""


class _TooLong(Exception):
    """A record is longer than one may be."""


class _NeverClosed(Exception):
    """The file ends within quotes."""


class _BadBytes(Exception):
    """A line is not written in the encoding that was asked for."""


class RecordReader:
    """Reads `file` from its present position, which is `offset`, where row `number` + 1 begins.

    At offset 0 a byte order mark and the header are passed over.
    """

    def __init__(self, file: BinaryIO, dialect: Dialect, *, offset: int = 0, number: int = 0) -> None:
        self._file = file
        self._dialect = dialect
        self._codec = dialect.encoding
        self._width = len(dialect.columns)
        self._decode = msgspec.json.Decoder().decode
        self.offset = offset
        self.number = number
        self.recoded = 0
        """Lines that were not in the file's encoding and were read as Windows-1252."""
        self.is_over = False
        self._is_cut = False
        self._taken = 0
        self._budget = 0
        self._first = b""
        self._rows = self._csv_rows()
        if offset == 0:
            self._pass_over_head()

    def read(self, at_most: int, *, at_most_bytes: int = 1 << 62) -> list[Record]:
        """The next records, up to `at_most`, and no further once they have `at_most_bytes`; none at the file's end."""
        found: list[Record] = []
        begin = self.offset
        take = self._next_json if self._dialect.kind == "jsonl" else self._next_csv
        while len(found) < at_most and self.offset - begin < at_most_bytes:
            record = take()
            if record is None:
                self.is_over = True
                break
            found.append(record)
        return found

    # CSV ---------------------------------------------------------------------------------------------------------------

    def _next_csv(self) -> Record | None:
        while True:
            self._taken, self._budget, self._first = 0, RECORD_AT_MOST_BYTES, b""
            try:
                cells = next(self._rows, None)
            except (_TooLong, _BadBytes, csv.Error) as error:
                return self._broken(error)
            if cells is not None and self._is_cut:
                return self._broken(_NeverClosed())
            self.offset += self._taken
            if cells is None:
                return None
            if not cells:
                continue  # an empty line
            self.number += 1
            if len(cells) != self._width and (problem := self._ragged(cells)):
                return Record(number=self.number, cells=cells, problem=problem, raw=self._shown(self._first))
            return Record(number=self.number, cells=cells)

    def _ragged(self, cells: list[str]) -> str:
        if len(cells) < self._width:
            return ""  # whether what is there is enough, the mapping knows
        if not any(cells[self._width :]):
            del cells[self._width :]
            return ""
        return f"{len(cells)} cells under {self._width} columns: is there a delimiter in a text without quotes?"

    def _broken(self, error: Exception) -> Record:
        """Tell of the record, and go on with the line after its first."""
        first = self._first
        if isinstance(error, _BadBytes):
            problem = f"the row is not written in {self._codec}; give the right encoding"
        elif isinstance(error, _NeverClosed):
            problem = "a quote is opened and never closed"
        elif isinstance(error, _TooLong):
            problem = f"the row is longer than {RECORD_AT_MOST_BYTES // 2**20} MiB: is a quote opened and never closed?"
        else:
            problem = f"the row cannot be read ({error})"
        self._file.seek(self.offset + len(first))
        self.offset += len(first)
        if first and not first.endswith((b"\n", b"\r")):
            self.offset += self._skip_line()
        self.number += 1
        self._rows, self._is_cut = self._csv_rows(), False
        return Record(number=self.number, problem=problem, raw=self._shown(first))

    def _csv_rows(self) -> Iterator[list[str]]:
        dialect = self._dialect
        return csv.reader(self._lines(), delimiter=dialect.delimiter, quotechar=dialect.quote, strict=False)

    def _lines(self) -> Iterator[str]:
        while True:
            line = self._file.readline(LINE_AT_MOST_BYTES)
            if not line:
                self._is_cut = True  # the parser asks for more only within quotes
                return
            self._first = self._first or line
            self._taken += len(line)
            self._budget -= len(line)
            if self._budget < 0 or (len(line) == LINE_AT_MOST_BYTES and not line.endswith(b"\n")):
                raise _TooLong
            yield self._text(line)

    # JSON Lines --------------------------------------------------------------------------------------------------------

    def _next_json(self) -> Record | None:
        while True:
            line = self._file.readline(LINE_AT_MOST_BYTES)
            self.offset += len(line)
            if not line:
                return None
            if not line.strip():
                continue
            self.number += 1
            if len(line) == LINE_AT_MOST_BYTES and not line.endswith(b"\n"):
                self.offset += self._skip_line()
                problem = f"the line is longer than {LINE_AT_MOST_BYTES // 2**20} MiB"
                return Record(number=self.number, problem=problem, raw=self._shown(line))
            try:
                value: object = self._decode(self._text(line))
            except _BadBytes:
                problem = f"the line is not written in {self._codec}"
                return Record(number=self.number, problem=problem, raw=self._shown(line))
            except (msgspec.DecodeError, RecursionError) as error:
                return Record(number=self.number, problem=f"the line is no JSON ({error})", raw=self._shown(line))
            if not isinstance(value, dict):
                return Record(number=self.number, problem="the line is no JSON object", raw=self._shown(line))
            return Record(number=self.number, value=cast("dict[str, Any]", value))

    # Both --------------------------------------------------------------------------------------------------------------

    def _text(self, line: bytes) -> str:
        try:
            return line.decode(self._codec)
        except UnicodeDecodeError:
            if not self._dialect.is_guessed:
                raise _BadBytes from None
        # Files are joined from exports of several programs; a letter of Windows' page is told from none.
        self.recoded += 1
        return line.decode("cp1252", "replace")

    def _shown(self, line: bytes) -> str:
        shown = line[: 4 * _RAW_AT_MOST_CHARS].decode(self._codec, "replace").replace("\x00", "")
        return shown.rstrip("\r\n")[:_RAW_AT_MOST_CHARS]

    def _skip_line(self) -> int:
        """Pass over the rest of a line; its bytes."""
        skipped = 0
        while line := self._file.readline(LINE_AT_MOST_BYTES):
            skipped += len(line)
            if line.endswith(b"\n"):
                break
        return skipped

    def _pass_over_head(self) -> None:
        start = self._file.read(len(codecs.BOM_UTF8))
        if start == codecs.BOM_UTF8:
            self.offset = len(start)
        else:
            self._file.seek(0)
        if self._dialect.kind == "csv" and self._dialect.has_header:
            header = self._next_csv()
            if header is not None:
                self.number = 0


class LoneReturns(io.RawIOBase):
    """A file whose lines end in carriage returns alone, as one with newlines: the same length, so places in it stay."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        data = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)


def open_records(file: BinaryIO, dialect: Dialect, *, offset: int = 0, number: int = 0) -> RecordReader:
    """A reader of `file`, which is moved to `offset` first."""
    file.seek(offset)
    if dialect.lone_returns:
        file = cast("BinaryIO", io.BufferedReader(LoneReturns(file), 1 << 20))
    return RecordReader(file, dialect, offset=offset, number=number)
