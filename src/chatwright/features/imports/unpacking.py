"""Files on their way in: gzip and zip unpacked, UTF-16 written anew in UTF-8, all as a stream and within bounds.

What is stored can then be read from any place on. An archive is believed nothing: what comes out of it is counted, and
one that swells beyond reason is refused before it has filled anything.
"""

import asyncio
import codecs
import hashlib
import io
import tempfile
import zipfile
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import IO

from chatwright.domain.errors import PayloadTooLarge, Unprocessable
from chatwright.features.imports.dialect import HEAD_BYTES, encoding_of, is_wide

PIECE_BYTES = 1024 * 1024
RATIO_AT_MOST = 200
"""Chats in CSV shrink to a tenth; what shrinks to less than a two-hundredth was made to fill disks."""
_LIST_AT_MOST_BYTES = 2 * PIECE_BYTES
_RATIO_FROM_BYTES = 16 * 1024 * 1024
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_ROWS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt")


class Arriving:
    """One file as it arrives; iterate over it once. `head` is its beginning as it will be stored, `encoding` what that is
    written in (what it was, for UTF-16, is written anew). Raises Unprocessable and PayloadTooLarge while it is iterated."""

    def __init__(self, chunks: AsyncIterator[bytes], *, limit_bytes: int, encoding: str | None = None) -> None:
        self._chunks = chunks
        self._limit_bytes = limit_bytes
        self._asked = encoding
        self.head = b""
        self.size_bytes = 0
        self.is_rewritten = False
        self.error: BaseException | None = None
        self._digest = hashlib.sha256()

    def digest(self) -> bytes:
        """SHA-256 of what came so far, unpacked."""
        return self._digest.digest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._rewritten(self._unpacked()):
                if len(self.head) < HEAD_BYTES:
                    self.head += piece[: HEAD_BYTES - len(self.head)]
                self.size_bytes += len(piece)
                self._digest.update(piece)
                if self.size_bytes > self._limit_bytes:
                    raise PayloadTooLarge(
                        f"the file is larger than {self._limit_bytes / 1e6:,.0f} MB unpacked; "
                        "CHATWRIGHT_IMPORT_MAX_MIB says how much is taken",
                        param="file",
                    )
                yield piece
        except BaseException as error:
            self.error = error  # a store may wrap it into an error of its own
            raise

    async def _unpacked(self) -> AsyncGenerator[bytes]:
        first = b""
        while len(first) < len(_ZIP):
            piece = await anext(self._chunks, None)
            if piece is None:
                break
            first += piece
        if first.startswith(_GZIP):
            async for piece in _gunzipped(_after(first, self._chunks)):
                yield piece
        elif first.startswith(_ZIP):
            async for piece in _unzipped(_after(first, self._chunks), self._limit_bytes):
                yield piece
        else:
            async for piece in _after(first, self._chunks):
                yield piece

    async def _rewritten(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """UTF-16 and UTF-32 as UTF-8; anything else as it is."""
        head = b""
        async for piece in pieces:
            head += piece
            if len(head) >= 4096:
                break
        encoding = encoding_of(head[:HEAD_BYTES], self._asked)
        if not is_wide(encoding):
            yield head
            async for piece in pieces:
                yield piece
            return
        self.is_rewritten = True
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        yield decoder.decode(head).encode("utf-8", "replace")
        async for piece in pieces:
            yield decoder.decode(piece).encode("utf-8", "replace")
        yield decoder.decode(b"", True).encode("utf-8", "replace")


async def _after(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    if first:
        yield first
    async for piece in chunks:
        yield piece


async def _gunzipped(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    swelling = _Swelling()
    unpacker = zlib.decompressobj(31)
    has_ended = False
    async for chunk in chunks:
        swelling.packed += len(chunk)
        rest = chunk
        while rest:
            if has_ended:
                rest = rest.lstrip(b"\x00")  # padding between members
                if not rest:
                    break
                unpacker, has_ended = zlib.decompressobj(31), False
            try:
                piece = await asyncio.to_thread(unpacker.decompress, rest, PIECE_BYTES)
            except zlib.error as error:
                raise Unprocessable(f"the gzip file is damaged ({error})", param="file") from error
            swelling.check(len(piece))
            if piece:
                yield piece
            rest = unpacker.unconsumed_tail
            if unpacker.eof:
                rest, has_ended = unpacker.unused_data, True
    if not has_ended:
        raise Unprocessable("the gzip file breaks off", param="file")


async def _unzipped(chunks: AsyncIterator[bytes], limit_bytes: int) -> AsyncGenerator[bytes]:
    """The one file of an archive. A zip's list of contents stands at its end, so it waits on disk."""
    with tempfile.TemporaryFile(prefix="chatwright-import-") as spool:
        packed = 0
        async for chunk in chunks:
            packed += len(chunk)
            if packed > limit_bytes:
                raise PayloadTooLarge(f"the archive is larger than {limit_bytes / 1e6:,.0f} MB", param="file")
            await asyncio.to_thread(spool.write, chunk)
        pieces = _members_pieces(spool, packed)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece


def _members_pieces(spool: IO[bytes], packed: int) -> Generator[bytes]:
    swelling = _Swelling()
    try:
        with zipfile.ZipFile(_InPieces(spool)) as archive:
            files = [info for info in archive.infolist() if not info.is_dir()]
            rows = [
                info
                for info in files
                if info.filename.lower().endswith(_ROWS) and not info.filename.startswith("__MACOSX")
            ]
            if len(rows) != 1:
                raise Unprocessable(
                    f"the archive has {len(files)} files, {len(rows)} of them with rows; send one with one file "
                    f"({', '.join(_ROWS)})",
                    param="file",
                )
            if rows[0].flag_bits & 1:
                raise Unprocessable("the archive is encrypted; send it without a password", param="file")
            swelling.packed = min(packed, max(1, rows[0].compress_size))
            with archive.open(rows[0]) as member:
                while piece := member.read(PIECE_BYTES):
                    swelling.check(len(piece))
                    yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise Unprocessable(f"the zip file cannot be read ({error})", param="file") from error


class _InPieces(io.RawIOBase):
    """A file of which nobody reads much at once: `zipfile` reads an archive's list of contents in one go, and makes ten
    bytes of memory of each of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1, /) -> bytes:
        if size > _LIST_AT_MOST_BYTES:
            raise zipfile.BadZipFile("its list of contents is too long")
        return self._file.read(size)


class _Swelling:
    """How much comes out of how little."""

    def __init__(self) -> None:
        self.packed = 0
        self._unpacked = 0

    def check(self, more_bytes: int) -> None:
        """Raises Unprocessable."""
        self._unpacked += more_bytes
        if self._unpacked > _RATIO_FROM_BYTES and self._unpacked > RATIO_AT_MOST * self.packed:
            raise Unprocessable(
                f"the archive unpacks to more than {RATIO_AT_MOST} times its size: that is no export", param="file"
            )
