"""The two HTTP sessions of the process and the bounded ways to read from them.

`open_http` is called once, by the services of the app; the wire formats get its `HttpClients`. The guarded session is
for addresses that a tenant chose: it differs from the plain one in nothing but its resolver and the check before each
request. Pages of the web are read through it by `adapters/web`.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from chatwright.adapters.providers.address_guard import AddressGuard, PinningResolver

MAX_BODY_BYTES = 32 * 1024 * 1024
"""A provider's answer that is no stream, and all of a stream together: beyond this it is no answer."""
MAX_EVENT_BYTES = 4 * 1024 * 1024
"""One event of a stream."""
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
