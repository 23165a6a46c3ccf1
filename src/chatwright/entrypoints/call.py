"""One HTTP request on its way through an endpoint: what came in, and the bounded ways to answer it.

Plain ASGI underneath: the hot routes pass through here too, and every layer costs them. `web.py` makes a `Call` per
request; endpoints return a `Reply`, or stream with `start`, `write`, `end` and return None.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from chatwright.domain.errors import BadRequest, ChatwrightError, PayloadTooLarge, UnsupportedMediaType
from chatwright.domain.ids import is_id
from chatwright.entrypoints.decoding import check_text, decode
from chatwright.pipeline.services import Services

if TYPE_CHECKING:
    from chatwright.entrypoints.auth import Identity

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
Shape = TypeVar("Shape")

JSON_AT_MOST_BYTES = 1024 * 1024
_DROPPED_AT_MOST_BYTES = 32 * 1024 * 1024
_PAGE_AT_MOST = 200
_JSON_TYPE = b"application/json"

to_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The options of the HTTP side. Times in seconds."""

    demo: bool = False  # serve /demo/<slug> and let same-origin pages of it ask for visitor tokens
    demo_slug: str | None = None  # where /demo leads
    demo_tenant_id: str | None = None  # whose chatbots have a demo page; None: every tenant's
    docs_dir: str | None = None  # folder of Markdown pages behind /guide
    public_origin: str | None = None  # scheme://host of the address under which visitors reach us, if it is known
    widget_dir: str | None = None  # folder of the built widget; None: the files that the package brings
    body_timeout_s: float = 30.0  # for a request's whole body to come in
    send_timeout_s: float = 10.0  # a reader that takes nothing for so long is cut off
    heartbeat_s: float = 15.0  # between comments on a silent event stream
    first_headers_s: float = 10.0  # /v1 streams: after so long without a piece the headers go out alone
    auth_timeout_s: float = 10.0  # for the first frame of a socket
    socket_follow_at_most: int = 32  # conversations that one socket may follow
    socket_errors_at_most: int = 20  # refused frames in a row until the socket is closed
    version: str = "0.1.0"


class RequestTimeout(ChatwrightError):
    """The body did not arrive in time."""

    code = "request_timeout"
    status = 408
    level = "info"


class ClientGone(Exception):
    """The client hung up: nobody is there to answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `body` of a JSON reply is encoded already."""

    status: int = 200
    body: bytes = b""
    content_type: bytes = _JSON_TYPE
    headers: tuple[Header, ...] = field(default=())


def json_reply(value: object, *, status: int = 200, headers: tuple[Header, ...] = ()) -> Reply:
    return Reply(status, to_json(value), _JSON_TYPE, headers)


class Call:
    """A request being answered. `identity` is set by `web.py` before the endpoint runs, as its access asks for."""

    __slots__ = (
        "_query",
        "_send",
        "app",
        "common_headers",
        "identity",
        "params",
        "receive",
        "request_id",
        "scope",
        "settings",
        "status",
    )

    def __init__(
        self,
        app: Services,
        settings: WebSettings,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
        request_id: str,
    ) -> None:
        self.app = app
        self.settings = settings
        self.scope = scope
        self.receive = receive
        self._send = send
        self.request_id = request_id
        self.params: dict[str, str] = {}
        self.identity: Identity | None = None
        self.common_headers: list[Header] = []
        self.status = 0  # 0 until an answer has begun
        self._query: dict[str, str] | None = None

    @property
    def method(self) -> str:
        return self.scope["method"]

    @property
    def path(self) -> str:
        return self.scope["path"]

    def header(self, name: bytes) -> str | None:
        """A header's value; `name` in lower case."""
        for key, value in self.scope["headers"]:
            if key == name:
                return value.decode("latin-1")
        return None

    # Query -----------------------------------------------------------------------------------------------------------

    def query(self, name: str) -> str | None:
        """A query parameter's value, the last one if repeated. Raises BadRequest for text that cannot be stored."""
        if self._query is None:
            raw = self.scope.get("query_string", b"")
            try:
                pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=100) if raw else []
            except ValueError:
                raise BadRequest("the query string has too many fields") from None
            self._query = {key: check_text(value, param=key[:100]) for key, value in pairs}
        return self._query.get(name)

    def query_int(self, name: str, default: int, *, low: int, high: int) -> int:
        """An integer query parameter within bounds. Raises BadRequest."""
        text = self.query(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 18 or not low <= int(text) <= high:
            raise BadRequest(f"{name} is a whole number from {low} to {high}", param=name)
        return int(text)

    def query_share(self, name: str, default: float) -> float:
        """A query parameter from 0 to 1, such as 0.65. Raises BadRequest."""
        text = self.query(name)
        if text is None:
            return default
        try:
            share = float(text[:32])
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            raise BadRequest(f"{name} is a number from 0 to 1, such as 0.65", param=name)
        return share

    def page(self) -> tuple[str | None, int]:
        """(`cursor`, `limit`) of a page; a cursor is an id. Raises BadRequest."""
        cursor = self.query("cursor")
        if cursor is not None and not is_id(cursor):
            raise BadRequest("this is no cursor of ours", param="cursor")
        return cursor, self.query_int("limit", 50, low=1, high=_PAGE_AT_MOST)

    # Body ------------------------------------------------------------------------------------------------------------

    async def body(self, *, at_most: int = JSON_AT_MOST_BYTES) -> bytes:
        """The whole body. Raises PayloadTooLarge, RequestTimeout, ClientGone."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.settings.body_timeout_s):
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    part: bytes = message.get("body", b"")
                    size += len(part)
                    if size <= at_most:
                        parts.append(part)
                    elif parts:
                        parts.clear()
                    # Most clients write their whole body before they read: a refusal in the middle of it would reach
                    # them as a broken pipe. So what is too much is taken and dropped, within reason.
                    if not message.get("more_body", False) or size > at_most + _DROPPED_AT_MOST_BYTES:
                        break
        except TimeoutError:
            raise RequestTimeout(f"the body did not arrive within {self.settings.body_timeout_s:g} s") from None
        if size > at_most:
            raise PayloadTooLarge(f"the body is larger than {at_most:,} bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def json(self, decoder: "msgspec.json.Decoder[Shape]") -> Shape:
        """The body as a checked shape. Raises UnsupportedMediaType, BadRequest, Unprocessable, PayloadTooLarge."""
        self.require_json()
        return decode(decoder, await self.body())

    def require_json(self) -> None:
        content_type = self.header(b"content-type")
        if content_type is None or not _is_json(content_type):
            raise UnsupportedMediaType("send JSON with content-type: application/json")

    # Answer ----------------------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        return self.status != 0

    async def answer(self, reply: Reply) -> None:
        """Send a whole reply."""
        await self.start(
            reply.status,
            (
                (b"content-type", reply.content_type),
                (b"content-length", str(len(reply.body)).encode()),
                *reply.headers,
            ),
        )
        await self.write(reply.body, last=True)

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        self.status = status
        self.common_headers.extend(headers)
        await self._send({"type": "http.response.start", "status": status, "headers": self.common_headers})

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of the body. Raises ClientGone when the client takes nothing for `send_timeout_s`."""
        try:
            async with asyncio.timeout(self.settings.send_timeout_s):
                await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        except TimeoutError:
            abort_connection(self._send)
            raise ClientGone from None


def abort_connection(send: Send) -> None:
    """Cut a connection whose reader takes nothing. A plain close waits for the reader to take what is buffered, so
    such a connection would live on; ASGI knows no other way, but uvicorn's `send` is a method of what holds the
    transport. Under another server this does nothing."""
    abort = getattr(getattr(getattr(send, "__self__", None), "transport", None), "abort", None)
    if callable(abort):
        abort()


def _is_json(content_type: str) -> bool:
    if content_type == "application/json":
        return True
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "application/json":
        return False
    charset = parameters.replace(" ", "").lower()
    return charset in ("", "charset=utf-8", 'charset="utf-8"')
