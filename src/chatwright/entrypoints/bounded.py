"""uvicorn's protocols with the bounds that uvicorn leaves open: how large and how slow what a stranger sends may be.

What comes before and between bodies (request line, headers, chunk sizes, trailers) is kept by the parser until it is
whole, so its size and its time are bounded here, and what the parser refuses is told in our envelope. Bodies have their
bounds in `call.py`, frames of sockets in `chat_socket.py`. `app/serve.py` hands both classes to uvicorn.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatwright.domain.ids import new_id
from chatwright.entrypoints.call import to_json
from chatwright.entrypoints.failures import error_type
from chatwright.entrypoints.wire import ErrorDetail, ErrorReply

HEAD_AT_MOST_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 15.0


class BoundedHttp(HttpToolsProtocol):
    """One HTTP connection. A head that is too large or takes too long ends it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dry_bytes = 0  # taken since the parser last had something whole to tell
        self._deadline: asyncio.TimerHandle | None = None
        self._is_socket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._dry_bytes += len(data)
        super().data_received(data)
        if self._is_socket:
            return
        if self._dry_bytes > HEAD_AT_MOST_BYTES:
            if not self.transport.is_closing():
                self._refuse(431, "headers_too_large", f"a request's head has at most {HEAD_AT_MOST_BYTES:,} bytes")
        elif self._dry_bytes or getattr(self.cycle, "response_complete", True):  # None before the first request
            self._expect_head()
        else:
            self._forget_deadline()

    def handle_websocket_upgrade(self) -> None:
        self._is_socket = True
        self._forget_deadline()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        del msg  # says no more than the status does
        self._refuse(400, "bad_request", "this is not a well-formed HTTP/1.1 request")

    # Parser callbacks: each means progress.

    def on_headers_complete(self) -> None:
        self._dry_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._dry_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._dry_bytes = 0
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        # The WebSocket protocol keeps silent, for ever, about a handshake by any other method.
        return self.parser is not None and self.parser.get_method() == b"GET" and super()._should_upgrade()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = to_json(ErrorReply(ErrorDetail(error_type(status), code, message, None, new_id())))
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


class BoundedSocket(WebSocketsSansIOProtocol):
    """One WebSocket connection. Whoever sends pings and reads no pongs gets none, instead of a growing buffer."""

    def handle_ping(self) -> None:
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(pong)
