"""What kind of file an export is: encoding, delimiter, quotes, header, or JSON Lines. Pure.

Called with the file's beginning, by flows before they store a file and by `import plan`. Nothing of the file is trusted:
what cannot be read is told as Unprocessable, in words that say how to mend it.
"""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from chatwright.adapters.documents.encoding import codec_named, detect
from chatwright.domain.errors import Unprocessable

HEAD_BYTES = 256 * 1024
"""How much of a file is looked at before its rows are read."""
COLUMNS_AT_MOST = 1_000
NAME_AT_MOST_CHARS = 200
_DELIMITERS = (",", ";", "\t", "|")
_WIDE = ("utf-16", "utf-32")
_LOOKED_AT_ROWS = 200
_CONTROLS = (*range(1, 9), *range(14, 27), *range(28, 32), 127)

FileKind = Literal["csv", "jsonl"]


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is read. `columns` are unique names in the file's order; those of JSON Lines are the keys seen in its
    beginning. `is_guessed` is False where somebody said the encoding: then it is kept to."""

    kind: FileKind = "csv"
    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    has_header: bool = True
    columns: tuple[str, ...] = ()
    is_guessed: bool = True
    lone_returns: bool = False
    """Lines end in a carriage return alone, as old Macs wrote them."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody said of the file; None: it is found out."""

    encoding: str | None = None
    delimiter: str | None = None
    has_header: bool | None = None


def encoding_of(head: bytes, asked: str | None = None) -> str:
    """The codec of a file that begins with `head`. Raises Unprocessable for an unknown name, and for what is no text."""
    if asked is not None:
        name = codec_named(asked)
        if name is None:
            raise Unprocessable(f"no encoding {asked[:40]!r} is known; utf-8, utf-16 and cp1252 are the usual ones",
                                param="mapping.encoding")  # fmt: skip
        return name
    if not head.strip(b"\x00 \t\r\n"):
        raise Unprocessable("the file is empty", param="file")
    return detect(head)


def is_wide(encoding: str) -> bool:
    """Whether a file must be written anew in UTF-8 before its lines can be found."""
    return encoding.startswith(_WIDE)


def sniff(head: bytes, wishes: Wishes | None = None, *, is_all: bool = False) -> Dialect:
    """The dialect of a file that begins with `head`, in a narrow encoding. `is_all`: there is no more of it.

    Raises Unprocessable for an empty file, one without rows, one with too many columns, and one that is no text.
    """
    wishes = wishes or Wishes()
    encoding = encoding_of(head, wishes.encoding)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head, is_all).removeprefix("\ufeff")
    if encoding == "utf-8-sig":
        encoding = "utf-8"
    if not text.strip("\x00 \t\r\n"):
        raise Unprocessable("the file is empty", param="file")
    if sum(head.count(code) for code in _CONTROLS) * 50 > len(head):
        raise Unprocessable("the file is no text: send CSV or JSON lines, plain or in one gzip or zip", param="file")
    lone = "\n" not in text and "\r" in text
    if lone:
        text = text.replace("\r", "\n")
    guessed = wishes.encoding is None
    if wishes.delimiter is None and text.lstrip().startswith("{"):
        return Dialect(kind="jsonl", encoding=encoding, columns=_keys(text, is_all=is_all), is_guessed=guessed)
    if wishes.delimiter is not None and (len(wishes.delimiter) != 1 or wishes.delimiter in '"\r\n'):
        raise Unprocessable("a delimiter is one character", param="mapping.delimiter")
    delimiter = wishes.delimiter or _delimiter(text, is_all=is_all)
    rows = _rows(text, delimiter, is_all=is_all)
    if not rows:
        raise Unprocessable("the file has no rows", param="file")
    width = len(rows[0])
    if width > COLUMNS_AT_MOST:
        raise Unprocessable(
            f"the first line has {width:,} columns, more than {COLUMNS_AT_MOST:,}; is {delimiter!r} the delimiter?",
            param="file",
        )
    has_header = _is_header(rows) if wishes.has_header is None else wishes.has_header
    if has_header and len(rows) == 1 and is_all:
        raise Unprocessable("the file has a header and no rows", param="file")
    names = rows[0] if has_header else [f"column {place}" for place in range(1, width + 1)]
    return Dialect(
        encoding=encoding,
        delimiter=delimiter,
        has_header=has_header,
        columns=_unique(names),
        is_guessed=guessed,
        lone_returns=lone,
    )


def _delimiter(text: str, *, is_all: bool) -> str:
    """The character that cuts the beginning into the same number of cells again and again; of two the one that cuts into
    more."""
    best, weight = ",", 0.0
    for candidate in _DELIMITERS:
        widths = [len(row) for row in _rows(text, candidate, is_all=is_all)]
        if not widths or widths[0] < 2:
            continue
        agreeing = sum(width == widths[0] for width in widths) / len(widths)
        score = agreeing * min(8, widths[0])
        if score > weight:
            best, weight = candidate, score
    return best


def _rows(text: str, delimiter: str, *, is_all: bool) -> list[list[str]]:
    """The first rows, without the last one that may be cut."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > _LOOKED_AT_ROWS:
                break
    except csv.Error:
        pass  # a field that is too long, or never closed: what came before it is enough here
    return rows if is_all or len(rows) <= 1 or len(rows) > _LOOKED_AT_ROWS else rows[:-1]


_NUMBER = re.compile(r"[+-]?\d[\d.,:/ TZ+-]*")


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: short words, each different, none a number or a time."""
    first = [cell.strip() for cell in rows[0]]
    filled = [cell for cell in first if cell]
    if not filled or len(set(filled)) < len(filled):
        return False
    if any(
        len(cell) > 64 or _NUMBER.fullmatch(cell) or "@" in cell or cell.endswith((".", "?", "!")) for cell in filled
    ):
        return False
    if len(first) > 1 or len(rows) == 1:
        return True
    return len(filled[0].split()) <= 3


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names as they are told apart: none empty, none twice, none too long."""
    seen: set[str] = set()
    unique: list[str] = []
    for place, name in enumerate(names, 1):
        plain = " ".join(name.replace("\x00", "").split())[:NAME_AT_MOST_CHARS] or f"column {place}"
        told, count = plain, 1
        while told in seen:
            count += 1
            told = f"{plain} ({count})"
        seen.add(told)
        unique.append(told)
    return tuple(unique)


def _keys(text: str, *, is_all: bool) -> tuple[str, ...]:
    """Keys of the first objects, in the order in which they are met."""
    lines = text.split("\n")
    if not is_all and len(lines) > 1:
        lines = lines[:-1]
    known: dict[str, None] = {}
    for line in lines[:_LOOKED_AT_ROWS]:
        try:
            value: object = msgspec.json.decode(line) if line.strip() else None
        except msgspec.DecodeError:
            continue
        if isinstance(value, dict):
            known.update(dict.fromkeys(str(key) for key in value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if len(known) > COLUMNS_AT_MOST:
        raise Unprocessable(f"the objects have more than {COLUMNS_AT_MOST:,} keys", param="file")
    return _unique(list(known))
