"""The two HTTP sessions of the process and the bounded ways to read from them.

`open_http` is called once, by the services of the app; the wire formats get its `HttpClients`. The guarded session is
for addresses that a tenant chose: it differs from the plain one in nothing but its resolver and the check before each
request. `fetch_guarded` downloads one document by URL.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from chatwright.adapters.providers.address_guard import AddressGuard, PinningResolver
from chatwright.domain.errors import BadRequest, PayloadTooLarge, Unprocessable

MAX_BODY_BYTES = 32 * 1024 * 1024
"""A provider's answer that is no stream, and all of a stream together: beyond this it is no answer."""
MAX_EVENT_BYTES = 4 * 1024 * 1024
"""One event of a stream."""
MAX_REDIRECTS = 5
# Shorter than the idle time-out of usual servers (uvicorn 5 s aside), so that a request rarely meets a closing socket.
KEEP_ALIVE_S = 15.0
USER_AGENT = "chatwright"


class BodyTooLarge(ValueError):
    """A body passed its limit and was not read to its end."""


@dataclass(frozen=True, slots=True)
class HttpClients:
    """The sessions; `guard` is the one inside `guarded`."""

    plain: aiohttp.ClientSession
    guarded: aiohttp.ClientSession
    guard: AddressGuard

    def session(self, *, guarded: bool) -> aiohttp.ClientSession:
        """The session for an address, by who chose it."""
        return self.guarded if guarded else self.plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A downloaded document. `url` is the last one after redirects."""

    url: str
    status: int
    content_type: str
    body: bytes


@asynccontextmanager
async def open_http(
    *, allowed: Sequence[str] = (), guard: AddressGuard | None = None, limit: int = 0
) -> AsyncGenerator[HttpClients]:
    """Open both sessions; closed on the way out. Nothing is kept between answers but connections: no cookies.

    `allowed` is the operator's list for the guard (see AddressGuard), `guard` replaces it, `limit` bounds the open
    connections of each session (0: unbounded; the limits of the tenants bound the calls). Raises ValueError if the
    list cannot be read.
    """
    guard = guard or AddressGuard(allowed)
    async with (
        _session(aiohttp.TCPConnector(limit=limit, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=30)) as plain,
        _session(
            aiohttp.TCPConnector(
                limit=limit, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=30, resolver=PinningResolver(guard)
            ),
            guard,
        ) as guarded,
    ):
        yield HttpClients(plain, guarded, guard)


def _session(connector: aiohttp.TCPConnector, guard: AddressGuard | None = None) -> aiohttp.ClientSession:
    async def check(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        # The resolver is not asked about addresses written as numbers, so each request is checked here as well.
        if guard is not None:
            guard.check_url(request.url)
        return await handler(request)

    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        # Every wait has its own limit: to connect per request, for bytes in the wire formats. None over all of it.
        timeout=aiohttp.ClientTimeout(total=None, connect=10.0),
        # Identity: a compressed stream may be held back by the compressor, and a small body may hide a large one.
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
        middlewares=(check,) if guard is not None else (),
        max_line_size=16 * 1024,
        max_field_size=32 * 1024,
    )


async def read_body(
    response: aiohttp.ClientResponse, *, idle_timeout_s: float, max_bytes: int = MAX_BODY_BYTES
) -> bytes:
    """The whole body. Raises BodyTooLarge, TimeoutError (no byte for `idle_timeout_s`) and aiohttp.ClientError."""
    if (response.content_length or 0) > max_bytes:
        raise BodyTooLarge(f"a body of {response.content_length} bytes, more than {max_bytes}")
    content = response.content
    parts: list[bytes] = []
    size = 0
    while not content.at_eof():
        if content.is_eof():
            # All of it is here: no wait, no timer.
            part = content.read_nowait()
        else:
            async with asyncio.timeout(idle_timeout_s):
                part = await content.readany()
        size += len(part)
        if size > max_bytes:
            raise BodyTooLarge(f"a body of more than {max_bytes} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def fetch_guarded(
    clients: HttpClients,
    url: str,
    *,
    max_bytes: int = MAX_BODY_BYTES,
    timeout_s: float = 30.0,
    accept: str = "*/*",
) -> Fetched:
    """GET a document from an address that a tenant chose. At most MAX_REDIRECTS redirects, each checked like the first.

    `timeout_s` bounds the whole of it. Raises BadRequest if an address is refused, PayloadTooLarge beyond `max_bytes`
    and Unprocessable if the server does not give the document (unreachable, too slow, not a 2xx status).
    """
    target = clients.guard.check_url(url)
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(MAX_REDIRECTS + 1):
                async with clients.guarded.get(target, allow_redirects=False, headers={"accept": accept}) as response:
                    if response.status in (301, 302, 303, 307, 308) and "location" in response.headers:
                        target = _redirected(clients.guard, target, response.headers["location"])
                        continue
                    if not 200 <= response.status < 300:
                        raise Unprocessable(
                            f"{target.host} answered {response.status} to the request for the document."
                        )
                    body = await read_body(response, idle_timeout_s=timeout_s, max_bytes=max_bytes)
                    content_type = response.headers.get("content-type", "")
                    return Fetched(url=str(target), status=response.status, content_type=content_type, body=body)
    except BodyTooLarge as error:
        raise PayloadTooLarge(f"The document at {target.host} is larger than {max_bytes} bytes.") from error
    except TimeoutError as error:
        raise Unprocessable(f"{target.host} did not give the document within {timeout_s:g} s.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unprocessable(f"{target.host} could not be reached: {type(error).__name__}.") from error
    raise Unprocessable(f"The document is behind more than {MAX_REDIRECTS} redirects.")


def _redirected(guard: AddressGuard, base: URL, location: str) -> URL:
    try:
        target = base.join(URL(location))
    except ValueError as error:
        raise BadRequest("The document's server redirects to something that is not a URL.") from error
    return guard.check_url(target)
