"""One keep-alive HTTP/1.1 connection on the bare protocol, and requests as bytes: cheap enough not to be the limit."""

import asyncio
import itertools
import json
import os
import re
import time
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

_STAMP = re.compile(rb"(\d{11,19}) ")
_SYSTEM = "You are the support assistant of Example Ltd. Answer briefly, politely and concretely. " * 4


class Requests:
    """Makes requests to one address; every one has a different user message, so that no cache can answer it."""

    def __init__(self, url: str, key: str, model: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._numbers = itertools.count(1)
        self._run = os.urandom(4).hex()
        self._plain = self._template(parts.path, key, model, stream=False)
        self._streamed = self._template(parts.path, key, model, stream=True)

    def _template(self, path: str, key: str, model: str, *, stream: bool) -> bytes:
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": "Question NUMBER: when are you open, and may I book a visit online?"},
            ],
            "max_tokens": 256,
        }
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        payload = json.dumps(body).replace("NUMBER", f"{self._run}-%012d")
        length = len(payload % 0)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\naccept: */*\r\ncontent-length: {length}\r\n\r\n"
        )
        return (head + payload).encode()

    def plain(self) -> bytes:
        return self._plain % next(self._numbers)

    def streamed(self) -> bytes:
        return self._streamed % next(self._numbers)

    async def connect(self) -> "Connection":
        _, protocol = await asyncio.get_running_loop().create_connection(Connection, self.host, self.port)
        return protocol


class Connection(asyncio.Protocol):
    """One request at a time. After the future of `send` is done, the public fields tell of the answer."""

    def __init__(self) -> None:
        self.alive = False
        self.status = 0
        self.head = b""
        """The first bytes of the body, for error messages."""
        self.complete = False
        """The body ended as an answer ends: a stream with [DONE], JSON with a brace."""
        self.first_s: float | None = None
        """Clock of `time.perf_counter` at the first visible piece of a stream."""
        self.lags_ns: list[int] = []
        self._transport: asyncio.Transport
        self._parser: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._streamed = False
        self._tail = b""

    def send(self, request: bytes, *, streamed: bool = False) -> "asyncio.Future[None]":
        """Write the request; the future is done when the answer's last byte is here. Raises ConnectionError in it."""
        self._parser = httptools.HttpResponseParser(self)
        self._streamed = streamed
        self.status, self.head, self.complete, self.first_s, self._tail = 0, b"", False, None, b""
        self.lags_ns = []
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiter

    def close(self) -> None:
        if self.alive:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.alive = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionError(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(ConnectionError(f"not HTTP: {error}"))
            self._transport.close()

    def on_body(self, body: bytes) -> None:
        if not self.head:
            self.head = body[:400]
        if not self._streamed:
            self._tail = body[-64:]
            return
        text = self._tail + body
        cut = text.rfind(b"\n") + 1
        text, self._tail = text[:cut], text[cut:]
        if b'"content":"' not in text and b"[DONE]" not in text:
            return
        stamps = _STAMP.findall(text)
        if stamps:
            now = time.monotonic_ns()
            self.lags_ns += [now - int(stamp) for stamp in stamps]
        if self.first_s is None and (stamps or b'"content":"token' in text):
            self.first_s = time.perf_counter()
        if b"[DONE]" in text:
            self.complete = True

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if not self._streamed:
            self.complete = self._tail.rstrip().endswith(b"}")
        if not self._parser.should_keep_alive():
            self.alive = False
            self._transport.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
