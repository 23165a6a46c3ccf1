"""One page of the public web, streamed, through the guarded session: bounded in time, size and redirects.

The session and the guard's check come from outside (`app.http`): every address is vetted, also after a redirect and
after its name was resolved. Called by `pipeline/documents.py` and `pipeline/crawl.py`; knows nothing of documents.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from chatwright.domain.errors import BadRequest, PayloadTooLarge, Unprocessable

MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADER_AT_MOST_CHARS = 500


class PageFailed(Unprocessable):
    """The page was not given. `answered` is the server's status, None if there was no answer; `retry_after_s` what it
    asked for; `passes`: whether trying again later may help."""

    def __init__(self, message: str, *, answered: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, param="url")
        self.answered = answered
        self.retry_after_s = retry_after_s
        self.passes = answered is None or answered == 429 or answered >= 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """How pages are asked for. `check_url` raises BadRequest for an address that may not be visited."""

    session: aiohttp.ClientSession
    check_url: Callable[[str | URL], URL]
    user_agent: str


class Page:
    """An answer whose body is still to be read. `url` is the last address after redirects, without a fragment."""

    def __init__(self, response: aiohttp.ClientResponse, url: URL, max_bytes: int) -> None:
        content_type = Message()
        content_type["content-type"] = response.headers.get("content-type") or "application/octet-stream"
        self.url = str(url.with_fragment(None))
        self.is_unchanged = response.status == 304
        self.media_type = content_type.get_content_type()
        self.charset = content_type.get_content_charset()
        self.etag = _short(response.headers.get("etag"))
        self.last_modified = _short(response.headers.get("last-modified"))
        self.robots_tag = response.headers.get("x-robots-tag", "").lower()
        self._response = response
        self._max_bytes = max_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, in pieces of at most 64 KiB. Raises PayloadTooLarge beyond the limit, PageFailed if it breaks off."""
        size = 0
        try:
            async for chunk in self._response.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                self._check_size(size)
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise PageFailed(
                f"{_host(self.url)} broke off in the middle of the page: {type(error).__name__}"
            ) from error

    async def read(self) -> bytes:
        """The whole body. Raises as `chunks`."""
        return b"".join([chunk async for chunk in self.chunks()])

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise PayloadTooLarge(f"the page is larger than {self._max_bytes:,} bytes", param="url")


@asynccontextmanager
async def open_page(
    web: Web,
    url: str,
    *,
    max_bytes: int,
    timeout_s: float,
    accept: str = "*/*",
    etag: str | None = None,
    last_modified: str | None = None,
) -> AsyncGenerator[Page]:
    """GET a page. `timeout_s` bounds all of it, what is done with the body included. With `etag` or `last_modified` of
    an earlier visit the server may answer that nothing has changed (`is_unchanged`, no body).

    Raises BadRequest for an address that is refused, PayloadTooLarge for a body that says it is too large, PageFailed
    for any answer but 2xx and 304, and for none.
    """
    headers = {"accept": accept, "user-agent": web.user_agent}
    if etag:
        headers["if-none-match"] = etag
    if last_modified:
        headers["if-modified-since"] = last_modified
    timer = asyncio.timeout(timeout_s)
    try:
        async with timer, _followed(web, url, headers) as (response, target):
            if response.status != 304 or not (etag or last_modified):
                _check_status(response, target)
            page = Page(response, target, max_bytes)
            if (response.content_length or 0) > max_bytes:
                raise PayloadTooLarge(f"the page is larger than {max_bytes:,} bytes", param="url")
            yield page
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise PageFailed(f"{_host(url)} did not give the page within {timeout_s:g} s") from error


def _why(error: Exception) -> str:
    """What a person can mend; the kind alone of the rest, because their words hold addresses."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "there is no such name"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its certificate is not accepted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "it takes no connections"
    return type(error).__name__


@asynccontextmanager
async def _followed(
    web: Web, url: str, headers: Mapping[str, str]
) -> AsyncGenerator[tuple[aiohttp.ClientResponse, URL]]:
    """The first answer that is no redirect."""
    target, previous = web.check_url(url), None
    for _ in range(MAX_REDIRECTS + 1):
        try:
            response = await web.session.get(target, allow_redirects=False, headers=headers)
        except BadRequest as error:  # of the guard: the name leads to an address that may not be visited
            if previous is None:
                raise
            raise _refused(previous, error) from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise PageFailed(f"{target.host} could not be reached: {_why(error)}") from error
        async with response:
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or not location:
                yield response, target
                return
        previous, target = target, _redirected(web, target, location)
    raise PageFailed(f"the page is behind more than {MAX_REDIRECTS} redirects", answered=310)


def _redirected(web: Web, base: URL, location: str) -> URL:
    try:
        target = base.join(URL(location))
    except ValueError as error:
        raise BadRequest(f"{base.host} redirects to something that is no address") from error
    try:
        return web.check_url(target)
    except BadRequest as error:
        raise _refused(base, error) from error


def _refused(base: URL, error: BadRequest) -> BadRequest:
    return BadRequest(f"{base.host} redirects to an address that may not be visited: {error.message}", param="url")


def _check_status(response: aiohttp.ClientResponse, target: URL) -> None:
    if 200 <= response.status < 300:
        return
    raise PageFailed(
        f"{target.host} answered {response.status} to the request for the page",
        answered=response.status,
        retry_after_s=_retry_after_s(response.headers.get("retry-after")),
    )


def _retry_after_s(text: str | None) -> float | None:
    """Seconds from now, from either form of the header; None if it says nothing that can be read."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text) if len(text) < 10 else None
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _short(text: str | None) -> str | None:
    """A header to be kept; None if it is absent or absurd."""
    return text if text and len(text) <= _HEADER_AT_MOST_CHARS and text.isprintable() else None


def _host(url: str) -> str:
    return URL(url).host or url
