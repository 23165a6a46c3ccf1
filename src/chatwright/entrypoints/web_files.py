"""Files that are read once at start and served from memory, each with a validator. Used by the pages and by the widget's files.

What was not read at start does not exist, so no address can lead out of a folder.
"""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable

import structlog

from chatwright.entrypoints.call import Call

log = structlog.get_logger(__name__)

TYPES: Mapping[str, bytes] = {
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".json": b"application/json",
    ".png": b"image/png",
    ".jpg": b"image/jpeg",
    ".webp": b"image/webp",
    ".woff2": b"font/woff2",
}


def etag_of(body: bytes) -> bytes:
    """The validator of a body, in its quotes."""
    return b'"%b"' % hashlib.sha256(body).hexdigest()[:24].encode()


def is_known(call: Call, etag: bytes) -> bool:
    """Whether the caller has what `etag` stands for, so that 304 is the reply."""
    known = call.header(b"if-none-match")
    return known is not None and etag.decode() in known


def read_files(folder: Traversable, *, file_at_most_bytes: int, all_at_most_bytes: int) -> dict[str, bytes]:
    """Every plain file below a folder by its path with slashes; empty if there is no folder. One that is larger than it may
    be is left out and told. Raises OSError for what cannot be read, and for a folder that holds more than it may."""
    found: dict[str, bytes] = {}
    total = 0
    for name, file in _files(folder, ""):
        with file.open("rb") as opened:
            body: bytes = opened.read(file_at_most_bytes + 1)
        if len(body) > file_at_most_bytes:
            log.warning("web.file_too_large", file=name, at_most_bytes=file_at_most_bytes)
            continue
        total += len(body)
        if total > all_at_most_bytes:  # said as soon as it is known: somebody may have named the root of a disk
            raise OSError(f"the folder {folder} holds more than {all_at_most_bytes:,} bytes: is it the right one?")
        found[name] = body
    return found


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith((".", "__")):
            continue
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.is_file():  # no pipes, no devices
            yield prefix + entry.name, entry
