"""A form as it comes in: its parts one after another, each read as it arrives, so that no file stands in memory.

Called by endpoints that take files. Whoever reads asks for the next part or the next piece; nothing is read ahead, so
that a slow store slows the sender down.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, cast

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from chatwright.domain.errors import BadRequest, PayloadTooLarge
from chatwright.entrypoints.call import Call, ClientGone, RequestTimeout
from chatwright.entrypoints.decoding import check_text

PARTS_AT_MOST = 1_000
FORM_TIMEOUT_S = 900.0
"""For all of a form, however steadily it drips in: 50 MiB take as long at 0.5 Mbit/s."""
_FIELD_AT_MOST_BYTES = 64 * 1024
_OVERHEAD_BYTES = 1024 * 1024
"""Room for fields, headers and boundaries beside the files themselves."""


class Part:
    """One field or file. `file_name` is None for a field; `content_type` is what the sender says, "" if nothing."""

    def __init__(self, form: "Form", headers: dict[str, str]) -> None:
        _, options = parse_options_header(headers.get("content-disposition"))
        self.name = _decoded(options.get(b"name", b""))
        self.file_name = _decoded(options[b"filename"]) if b"filename" in options else None
        self.content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._form = form

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content, in the pieces in which it arrives. Raises PayloadTooLarge, BadRequest, RequestTimeout,
        ClientGone."""
        while (piece := await self._form.piece(self)) is not None:
            yield piece

    async def text(self) -> str:
        """The content of a field. Raises PayloadTooLarge beyond 64 KiB, BadRequest for what is no storable UTF-8."""
        content = bytearray()
        async for piece in self.chunks():
            content += piece
            if len(content) > _FIELD_AT_MOST_BYTES:
                raise PayloadTooLarge(f"a field has at most {_FIELD_AT_MOST_BYTES:,} bytes", param=self.name)
        try:
            return check_text(content.decode(), param=self.name)
        except UnicodeDecodeError:
            raise BadRequest("a field is UTF-8 text", param=self.name) from None


class Form:
    """Iterate over it once: `async for part in form`. What a part's reader left unread is skipped."""

    def __init__(self, call: Call, *, files_at_most_bytes: int) -> None:
        """Raises PayloadTooLarge at once when the request says that it is too large, BadRequest if it is no form."""
        _, options = parse_options_header(call.header(b"content-type") or "")
        boundary = options.get(b"boundary")
        if not boundary:
            raise BadRequest("the form names no boundary in its content-type")
        self._call = call
        self._at_most = files_at_most_bytes + _OVERHEAD_BYTES
        self._limit = files_at_most_bytes
        length = call.header(b"content-length")
        if length is not None and length.isdecimal() and int(length) > self._at_most:
            raise self._too_large()
        self._give_up_at = asyncio.get_running_loop().time() + FORM_TIMEOUT_S
        self._size = 0
        self._parts = 0
        self._events: deque[Part | bytes | None] = deque()  # a part begins, a piece of it, it ends
        self._has_ended = False
        self._header: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._value: list[bytes] = []
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": lambda: self._events.append(None),
            "on_end": self._end,
        }
        try:
            self._parser: Any = MultipartParser(boundary, cast("Any", callbacks))
        except FormParserError as error:
            raise BadRequest(f"the form is malformed: {error}") from error

    async def __aiter__(self) -> AsyncIterator[Part]:
        while True:
            event = await self._next()
            if event is None and self._has_ended and not self._events:
                return
            if isinstance(event, Part):
                yield event

    async def piece(self, part: Part) -> bytes | None:
        """The next piece of the part that was given last; None at its end."""
        del part
        event = await self._next()
        return event if isinstance(event, bytes) else None

    async def _next(self) -> Part | bytes | None:
        while not self._events:
            if self._has_ended:
                return None
            await self._receive()
        return self._events.popleft()

    async def _receive(self) -> None:
        call = self._call
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(self._give_up_at, loop.time() + call.settings.body_timeout_s)):
                message = await call.receive()
        except TimeoutError:
            if loop.time() >= self._give_up_at:
                raise RequestTimeout(f"the form did not arrive within {FORM_TIMEOUT_S:g} s") from None
            raise RequestTimeout(f"nothing of the body arrived within {call.settings.body_timeout_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        data: bytes = message.get("body", b"")
        self._size += len(data)
        if self._size > self._at_most:
            raise self._too_large()
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadRequest(f"the form is malformed: {error}") from error
        if not message.get("more_body", False) and not self._has_ended:
            raise BadRequest("the form breaks off: its last boundary is missing")

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"files of a request have at most {self._limit:,} bytes together", param="file")

    # Parser callbacks ------------------------------------------------------------------------------------------------

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > PARTS_AT_MOST:
            raise PayloadTooLarge(f"a form has at most {PARTS_AT_MOST:,} parts", param="file")
        self._headers = {}

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header.append(data[start:end])

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value.append(data[start:end])

    def _end_header(self) -> None:
        name, value = b"".join(self._header).decode("latin-1").lower(), b"".join(self._value).decode("latin-1")
        self._headers[name] = value
        self._header, self._value = [], []

    def _end_headers(self) -> None:
        self._events.append(Part(self, self._headers))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _end(self) -> None:
        self._has_ended = True


def _decoded(raw: bytes) -> str:
    """A name out of a header: UTF-8 as browsers write it. Raises BadRequest for what cannot be stored."""
    return check_text(raw.decode("utf-8", "replace"), param="file")
