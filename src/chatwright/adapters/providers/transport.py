"""One POST to a provider, with every way it can fail turned into a ProviderError. Shared by the wire formats.

Sends once and follows no redirect: how often to try is decided above. Waits are bounded by the caller's deadline (first
byte) and by `Route.connect_timeout_s`.
"""

import asyncio
from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from yarl import URL

from chatwright.adapters.providers.http import BodyTooLarge, HttpClients, read_body
from chatwright.adapters.providers.rate_headers import stated_limits
from chatwright.domain.errors import AuthenticationError, BadRequest, ProviderError
from chatwright.domain.providers import Route

if TYPE_CHECKING:
    from multidict import CIMultiDict

MAX_ERROR_BYTES = 64 * 1024


class Target(NamedTuple):
    """Where and how to post: made once per endpoint and key, then reused."""

    url: URL
    headers: "CIMultiDict[str]"

    def __repr__(self) -> str:
        return f"Target({self.url.host})"  # the headers hold the key


def endpoint(base_url: str, path: str) -> URL:
    """`base_url` with `path` behind its own path; a query (Azure's `?api-version=`) stays at the end.

    Raises ProviderError, not retriable, if it is no URL.
    """
    base, _, query = base_url.partition("?")
    try:
        url = URL(base.rstrip("/") + path + (f"?{query}" if query else ""))
    except ValueError as error:
        raise _refused("The provider's base_url is not a URL.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise _refused("The provider's base_url must start with http:// or https:// and name a host.")
    return url


def usable_key(key: str) -> str:
    """The key, if it can stand in a header. Raises AuthenticationError."""
    if not key.isascii() or not key.isprintable():
        raise AuthenticationError(
            "The provider's key holds characters that no key has; enter it again.", upstream_status=None
        )
    return key


@lru_cache(maxsize=64)
def _time_out(connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s)


async def post(
    clients: HttpClients, route: Route, target: Target, body: bytes, *, deadline: float
) -> aiohttp.ClientResponse:
    """Send and wait for the status line, until `deadline` (clock of the loop).

    The caller closes or releases the response. `route.heard` is told what the headers state about the key's limits,
    whatever the status. Raises ProviderError, also on a redirect: a key and a prompt are not carried on to another
    address.
    """
    headers = target.headers
    if route.call_id is not None:
        headers = headers.copy()
        headers["x-chatwright-call-id"] = route.call_id
    try:
        async with asyncio.timeout_at(deadline):
            response = await clients.session(guarded=route.guarded).post(
                target.url,
                data=body,
                headers=headers,
                timeout=_time_out(route.connect_timeout_s),
                allow_redirects=False,
            )
    except BadRequest as error:
        # From the guard: the address was not allowed.
        raise _refused(f"{route.provider} was not called. {error.message}", error_class="address_refused") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise translated(error, route, waited_s=route.first_byte_timeout_s) from error
    if route.heard is not None:
        limits = stated_limits(response.headers, now_s=time())
        if limits is not None:
            route.heard(limits)
    if 300 <= response.status < 400:
        response.close()
        message = f"{route.provider} redirects ({response.status}); set base_url to the address that it leads to."
        raise _refused(message, upstream_status=response.status)
    return response


async def read_error(response: aiohttp.ClientResponse, route: Route) -> bytes:
    """The body of an error answer, as far as it can be had; the connection is free again or closed afterwards."""
    try:
        return await read_body(response, idle_timeout_s=min(route.idle_timeout_s, 5.0), max_bytes=MAX_ERROR_BYTES)
    except (BodyTooLarge, aiohttp.ClientError, OSError):
        # The status alone tells enough.
        return b""
    finally:
        free(response)


def free(response: aiohttp.ClientResponse) -> None:
    """Give the connection back if the answer was read to its end, else close it at once."""
    if response.content.at_eof():
        response.release()
    else:
        response.close()


def translated(error: BaseException, route: Route, *, waited_s: float) -> ProviderError:
    """The exception of our tree for a fault of the way there or back. The message holds no address but the host's."""
    made = _translated(error, route, waited_s=waited_s)
    # Without a connection nothing was sent; whatever else failed may have happened behind the provider's work.
    made.sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return made


def _translated(error: BaseException, route: Route, *, waited_s: float) -> ProviderError:
    name = route.provider
    match error:
        case aiohttp.ConnectionTimeoutError():
            message = f"{name} could not be reached within {route.connect_timeout_s:g} s."
            return ProviderError(message, retriable=True, error_class="transport")
        case TimeoutError():
            message = f"{name} sent nothing for {waited_s:g} s."
            return ProviderError(message, retriable=True, error_class="timeout")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            message = f"{name}'s certificate was not accepted; check base_url and the system's certificates."
            return ProviderError(message, retriable=False, error_class="transport")
        case aiohttp.InvalidURL():
            return _refused(f"{name}'s base_url is not a usable URL.")
        case aiohttp.ClientConnectorDNSError():
            message = f"{name}'s host name does not resolve; check base_url."
            return ProviderError(message, retriable=True, error_class="transport")
        case BodyTooLarge():
            message = f"{name}'s answer is larger than any answer should be."
            return ProviderError(message, retriable=False, error_class="malformed")
        case _:
            message = f"The connection to {name} failed ({type(error).__name__})."
            return ProviderError(message, retriable=True, error_class="transport")


def _refused(message: str, *, error_class: str = "refused", upstream_status: int | None = None) -> ProviderError:
    return ProviderError(message, retriable=False, error_class=error_class, upstream_status=upstream_status)
