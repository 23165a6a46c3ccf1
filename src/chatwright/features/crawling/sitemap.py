"""Sitemaps: the pages that a site lists, read from a stranger's XML or text, gzipped or not. Pure, bounded, no entities."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

from chatwright.domain.errors import Unprocessable
from chatwright.features.crawling.rules import ADDRESS_AT_MOST_CHARS

SITEMAP_AT_MOST_BYTES = 50 * 1024 * 1024
"""Of one sitemap, unpacked: what the protocol allows."""
_STEP_BYTES = 64 * 1024
_ELEMENTS_AT_MOST = 1_000_000
_DEPTH_AT_MOST = 50


class _Enough(Exception):
    """As many addresses as were asked for are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitemap:
    """Addresses as they were written: of pages, and of further sitemaps (of an index). `is_cut`: there were more."""

    pages: tuple[str, ...]
    sitemaps: tuple[str, ...]
    is_cut: bool


def read_sitemap(content: bytes, *, at_most: int) -> Sitemap:
    """At most `at_most` addresses of each kind. Takes seconds for the largest ones: call it in a thread.

    Raises Unprocessable if it is no sitemap, declares entities, or unpacks to more than SITEMAP_AT_MOST_BYTES.
    """
    pieces = _unpack(content)
    first = next(pieces, b"")
    if not first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _read_lines(first, pieces, at_most)
    return _Reader(at_most).read(first, pieces)


class _Reader:
    """Collects the `loc` of each `url` and `sitemap` as the document goes by."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._pages: dict[str, None] = {}
        self._sitemaps: dict[str, None] = {}
        self._path: list[str] = []
        self._text: list[str] | None = None
        self._chars = 0
        self._elements = 0
        self._is_sitemap = False

    def read(self, first: bytes, pieces: Iterator[bytes]) -> Sitemap:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add_text
        parser.EntityDeclHandler = _refuse
        parser.UnparsedEntityDeclHandler = _refuse
        parser.ExternalEntityRefHandler = _refuse
        is_cut = False
        try:
            parser.Parse(first, False)
            for piece in pieces:
                parser.Parse(piece, False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise Unprocessable(f"the sitemap is not well-formed XML: {error}") from error
        except _Enough:
            is_cut = True
        if not self._is_sitemap:
            raise Unprocessable("this XML is no sitemap: it lists no addresses in <loc>")
        return Sitemap(pages=tuple(self._pages), sitemaps=tuple(self._sitemaps), is_cut=is_cut)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        del attributes
        local = name.rpartition(" ")[2].lower()
        self._path.append(local)
        self._elements += 1
        if self._elements > _ELEMENTS_AT_MOST or len(self._path) > _DEPTH_AT_MOST:
            raise Unprocessable("the sitemap has too many elements, or nests them too deep")
        if local in ("urlset", "sitemapindex"):
            self._is_sitemap = True
        # An image's or a video's own <image:loc> stands deeper.
        self._text = [] if local == "loc" and self._path[-2:-1] in (["url"], ["sitemap"]) else None
        self._chars = 0

    def _add_text(self, text: str) -> None:
        if self._text is not None and self._chars <= ADDRESS_AT_MOST_CHARS:
            self._chars += len(text)
            self._text.append(text)

    def _end(self, name: str) -> None:
        del name
        self._path.pop()
        if self._text is None:
            return
        address, self._text = "".join(self._text).strip(), None
        if not address or len(address) > ADDRESS_AT_MOST_CHARS:
            return
        self._is_sitemap = True
        kind = self._sitemaps if self._path[-1:] == ["sitemap"] else self._pages
        if address not in kind and len(kind) >= self._at_most:
            raise _Enough
        kind[address] = None


def _refuse(*details: Any) -> int:
    del details
    raise Unprocessable("the sitemap declares XML entities; such files are not read")


def _read_lines(first: bytes, pieces: Iterator[bytes], at_most: int) -> Sitemap:
    """The protocol's plain form: an address per line."""
    pages: dict[str, None] = {}
    rest = first
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _STEP_BYTES:
            raise _no_sitemap()
        if _take_lines(lines, pages, at_most):
            return Sitemap(pages=tuple(pages), sitemaps=(), is_cut=True)
    is_cut = _take_lines(rest.split(b"\n"), pages, at_most)
    if not pages:
        raise _no_sitemap()
    return Sitemap(pages=tuple(pages), sitemaps=(), is_cut=is_cut)


def _take_lines(lines: list[bytes], pages: dict[str, None], at_most: int) -> bool:
    for line in lines:
        text = line.decode("utf-8", "replace").lstrip("\ufeff").strip()
        if not text:
            continue
        if not text.startswith(("http://", "https://")) or len(text) > ADDRESS_AT_MOST_CHARS:
            raise _no_sitemap()
        if text not in pages and len(pages) >= at_most:
            return True
        pages[text] = None
    return False


def _unpack(content: bytes) -> Iterator[bytes]:
    """Pieces of at most 64 KiB, whatever was packed into them."""
    if not content.startswith(b"\x1f\x8b"):
        if len(content) > SITEMAP_AT_MOST_BYTES:
            raise _too_large()
        for at in range(0, len(content), _STEP_BYTES):
            yield content[at : at + _STEP_BYTES]
        return
    unpacker = zlib.decompressobj(wbits=31)
    size, rest = 0, content
    while rest and not unpacker.eof:
        try:
            piece = unpacker.decompress(rest, _STEP_BYTES)
        except zlib.error as error:
            raise Unprocessable("the sitemap's gzip data is damaged") from error
        rest = unpacker.unconsumed_tail
        size += len(piece)
        if size > SITEMAP_AT_MOST_BYTES:
            raise _too_large()
        if piece:
            yield piece
        elif not rest:
            break


def _no_sitemap() -> Unprocessable:
    return Unprocessable("this is no sitemap: neither XML nor one address per line")


def _too_large() -> Unprocessable:
    return Unprocessable(f"the sitemap is larger than {SITEMAP_AT_MOST_BYTES // 2**20} MiB unpacked; split it")
