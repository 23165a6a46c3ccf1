"""Files that are too large for a database row: streamed in and out of an object store by key. Built on obstore.

Owns how objects are written (whole or not at all), read to disk or from any place on, linked to, listed and deleted; not
which of them are needed. Keys
begin with `tenants/<tenant id>/`, so that a tenant's files lie together. Called by flows; opened by `app/services.py`.
"""

import asyncio
import io
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from chatwright.domain.errors import NotFound, PayloadTooLarge, Unavailable

PART_BYTES = 5 * 1024 * 1024  # the smallest part that S3 takes
PARTS_AT_ONCE = 2  # a stream holds at most three parts in memory
CALL_TIMEOUT_S = 30.0
FETCH_TIMEOUT_S = 120.0
LIST_PAGE = 500
READ_AHEAD_BYTES = 2 * 1024 * 1024  # one request of a reader

_KEY = re.compile(r"tenants/[0-9a-f-]{36}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    key: str
    size_bytes: int
    modified_at: datetime


class Files:
    """One store of objects. Made by `open_files`; safe for any number of tasks of one event loop.

    Every method raises Unavailable when the store does not answer or refuses us, and ValueError for a key that is none.
    """

    def __init__(self, open_store: Callable[[], Any]) -> None:
        self._open_store = open_store
        self._opening = asyncio.Lock()
        self._store: Any = None

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, limit_bytes: int) -> int:
        """Store what `chunks` gives under `key` and return its size. It appears whole or not at all: when the stream
        fails, is cancelled or passes `limit_bytes` (PayloadTooLarge), nothing is left. At most 15 MB are in memory.
        The caller bounds how long a stream may take."""
        _check(key)
        import obstore

        store = await self._opened()
        stream = _Counted(chunks, limit_bytes)
        first = await stream.read(PART_BYTES)
        with _translated():
            if stream.is_over:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await obstore.put_async(store, key, first, use_multipart=False)
            else:
                await obstore.put_async(
                    store, key, stream.after(first), chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
                )
        return stream.size_bytes

    async def fetch(self, key: str, to: Path) -> int:
        """Write the object into the file `to` and return its size. Raises NotFound."""
        _check(key)
        import obstore

        size_bytes = 0
        store = await self._opened()
        with _translated():
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                found = await obstore.get_async(store, key)
                file = await asyncio.to_thread(to.open, "wb")
                try:
                    async for part in found.stream(min_chunk_size=PART_BYTES):
                        size_bytes += await asyncio.to_thread(file.write, part)
                finally:
                    await asyncio.to_thread(file.close)
        return size_bytes

    async def open(self, key: str) -> BinaryIO:
        """The object as a file that can be moved in and is read a few megabytes at a time. Raises NotFound.

        Its methods wait for the store: use it in threads only. They raise Unavailable and NotFound.
        """
        _check(key)
        import obstore

        store = await self._opened()
        with _translated():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                size_bytes: int = (await obstore.head_async(store, key))["size"]
        return cast("BinaryIO", io.BufferedReader(_Ranges(store, key, size_bytes), READ_AHEAD_BYTES))

    async def link(self, key: str, *, expires_s: float) -> str | None:
        """A signed address at which anybody may get the object for `expires_s` seconds; None where the store is a folder,
        which gives none. The object need not be there."""
        _check(key)
        import obstore
        from obstore.store import LocalStore

        store = await self._opened()
        if isinstance(store, LocalStore):
            return None
        with _translated():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return str(await obstore.sign_async(store, "GET", key, timedelta(seconds=expires_s)))

    async def delete(self, *keys: str) -> None:
        """Delete objects; those that are gone already are no error."""
        for key in keys:
            _check(key)
        if not keys:
            return
        import obstore

        store = await self._opened()
        # Stores that can delete many at once do; a folder stops at the first file that is gone already.
        for part in [list(keys)] if len(keys) == 1 else [list(keys), *[[key] for key in keys]]:
            try:
                with _translated():
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        await obstore.delete_async(store, part)
            except NotFound:
                continue
            if len(part) == len(keys):
                return

    async def delete_prefix(self, prefix: str) -> int:
        """Delete every object below `prefix`, which is whole path segments. Returns how many."""
        count = 0
        async for page in self.list(prefix):
            await self.delete(*[file.key for file in page])
            count += len(page)
        return count

    async def list(self, prefix: str | None = None) -> AsyncGenerator[list[StoredFile]]:
        """Pages of what lies below `prefix`, or of everything of every tenant."""
        if prefix is not None:
            _check(prefix)
        import obstore

        store = await self._opened()
        with _translated(absent_is_fine=True):
            pages = obstore.list(store, prefix=(prefix or "tenants").rstrip("/"), chunk_size=LIST_PAGE).__aiter__()
            while True:
                try:
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        page = await pages.__anext__()
                except StopAsyncIteration:
                    return
                yield [
                    StoredFile(key=entry["path"], size_bytes=entry["size"], modified_at=entry["last_modified"])
                    for entry in page
                ]

    async def _opened(self) -> Any:
        # At first use: a folder is not made, and 15 MB of library not loaded, where nobody stores a file.
        if self._store is None:
            async with self._opening:
                if self._store is None:
                    with _translated():
                        self._store = await asyncio.to_thread(self._open_store)
        return self._store


@asynccontextmanager
async def open_files(url: str, *, folder: Path) -> AsyncGenerator[Files]:
    """Yield the store at `url`: s3://bucket/prefix, gs://…, az://account/container/prefix or file:///folder, with what
    the usual AWS_*, GOOGLE_* and AZURE_* variables say (keys, region, AWS_ENDPOINT_URL). Empty: `folder`.

    Nothing is opened before it is used. Raises ValueError for an address of another kind.
    """
    parts = urlsplit(url)
    if url and parts.scheme not in ("s3", "s3a", "gs", "az", "azure", "file"):
        raise ValueError(f"{parts.scheme or url}: files are stored at s3://, gs://, az:// or file:///")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError("a folder is written as file:///folder")
    is_folder = parts.scheme in ("", "file")
    where = Path(unquote(parts.path)) if parts.scheme == "file" else folder
    yield Files((lambda: _open_folder(where)) if is_folder else (lambda: _open_remote(url)))


def _open_folder(folder: Path) -> Any:
    from obstore.store import LocalStore

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalStore(folder.resolve(), automatic_cleanup=True)


def _open_remote(url: str) -> Any:
    from obstore.store import from_url

    endpoint = (
        os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or os.environ.get("AWS_ENDPOINT", "")
    )
    return cast("Any", from_url)(
        url,
        # A server of one's own, in the same network, often has no certificate.
        client_options={"timeout": timedelta(seconds=CALL_TIMEOUT_S), "allow_http": endpoint.startswith("http://")},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=CALL_TIMEOUT_S)},
    )


class _Ranges(io.RawIOBase):
    """An object as a file; each read is one request for a range, which an idle reader does not hold open."""

    def __init__(self, store: Any, key: str, size_bytes: int) -> None:
        self._store = store
        self._key = key
        self._size_bytes = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        import obstore

        length = min(len(buffer), self._size_bytes - self._at)
        if length <= 0:
            return 0
        with _translated():
            data = obstore.get_range(self._store, self._key, start=self._at, length=length)
        got = len(data)
        buffer[:got] = memoryview(data)
        self._at += got
        return got


class _Counted:
    """A stream of bytes, counted and bounded."""

    def __init__(self, chunks: AsyncIterator[bytes], limit_bytes: int) -> None:
        self._chunks = chunks
        self._limit_bytes = limit_bytes
        self.size_bytes = 0
        self.is_over = False

    async def read(self, wanted_bytes: int) -> bytes:
        """The beginning: `wanted_bytes` or a little more; less if that is all."""
        read = bytearray()
        while len(read) < wanted_bytes:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                self.is_over = True
                break
            read += self._count(chunk)
        return bytes(read)

    async def after(self, first: bytes) -> AsyncGenerator[bytes]:
        yield first
        async for chunk in self._chunks:
            if chunk:
                yield self._count(chunk)

    def _count(self, chunk: bytes) -> bytes:
        self.size_bytes += len(chunk)
        if self.size_bytes > self._limit_bytes:
            raise PayloadTooLarge(
                f"the file is larger than {self._limit_bytes / 1e6:g} MB, which is the most that is taken"
            )
        return chunk


def _check(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of a tenant's file")


@contextmanager
def _translated(*, absent_is_fine: bool = False) -> Generator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if not absent_is_fine:
            raise NotFound("the original file is gone from the object store; add the document again") from error
    except (BaseError, OSError) as error:  # TimeoutError is an OSError
        said = str(error).partition("\n")[0] or type(error).__name__
        raise Unavailable(f"the object store does not answer ({said[:300]}); check S3_URL and its keys") from error
