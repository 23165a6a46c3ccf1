"""From a behaviour to bytes on a connection: what is sent, in which pieces, with which pauses, and how it ends."""

import asyncio
import time
from dataclasses import dataclass, field

from bench.simulator.behaviour import Behaviour
from bench.simulator.dialects import DEFAULT_REPLY, ChatRequest, Dialect, pieces_of
from bench.simulator.log import Call

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_sim_%d\r\ntransfer-encoding: chunked\r\n\r\n"
)
_HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body></html>\r\n"
_GARBLED = b'data: {"id":"chatcmpl-sim","choices":[{"index":0,"delta":{"content":"half a\n\n'
_CODES = {
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests per min (RPM): Limit 3, Used 3."),
    500: ("server_error", "", "The server had an error while processing your request."),
    503: ("server_error", "", "The engine is currently overloaded, please try again later."),
    529: ("overloaded_error", "", "Overloaded"),
}


@dataclass(slots=True)
class Answer:
    """One answer, planned. Either `body` (with `status`) or a stream of `opening`, `pieces`, `closing`."""

    call: Call
    behaviour: Behaviour
    dialect: Dialect
    status: int = 200
    body: bytes = b""
    headers: bytes = b""
    content_type: bytes = b"application/json"
    text: str = ""
    streamed: bool = False
    opening: list[bytes] = field(default_factory=list[bytes])
    pieces: list[str] = field(default_factory=list[str])
    closing: list[bytes] = field(default_factory=list[bytes])
    plain: bool = True
    """The answer is a good one, not an error."""

    @property
    def at_once(self) -> bool:
        """True if the whole answer may be written in one call."""
        b = self.behaviour
        return not (b.latency or b.ttft or b.interval or b.drip or b.stamp) and (
            not self.plain or (b.stall < 0 and b.cut < 0 and b.garble < 0 and b.error_in_stream < 0 and not b.refuse)
        )


def answer_chat(
    dialect: Dialect, request: ChatRequest, call: Call, behaviour: Behaviour, *, last: str, usage: bool, key: str
) -> Answer:
    """Plan the answer to one chat request. `last` is the visitor's message, `key` the caller's.

    `usage` is True if a stream shall report it.
    """
    answer = Answer(call, behaviour, dialect)
    if behaviour.html_error:
        call.status = behaviour.status if behaviour.status != 200 else 502
        return _failed(answer, call.status, _HTML, content_type=b"text/html")
    status, kind, code, message = behaviour.status, "", behaviour.code, ""
    if behaviour.require_key and key != behaviour.require_key:
        status = 401
    elif behaviour.context and call.input_tokens > behaviour.context:
        status, kind, code = 400, "invalid_request_error", "context_length_exceeded"
        message = f"This model's maximum context length is {behaviour.context} tokens, yours has {call.input_tokens}."
    elif behaviour.want_max_completion_tokens and request.max_tokens is not None:
        status, kind, code = 400, "invalid_request_error", "unsupported_parameter"
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
    if status != 200:
        known = _CODES.get(
            status, ("invalid_request_error" if status < 500 else "server_error", "", f"Status {status}.")
        )
        body = dialect.error(call, status, kind or known[0], code or known[1], message or known[2])
        return _failed(answer, status, body)
    in_200 = behaviour.error_in_200 or (behaviour.error_in_stream >= 0 and not call.stream)
    if in_200:
        return _failed(answer, 200, dialect.error(call, 200, "server_error", behaviour.code, "Something went wrong."))
    _fill(answer, last, usage=usage)
    return answer


def _failed(answer: Answer, status: int, body: bytes, content_type: bytes = b"application/json") -> Answer:
    answer.call.status = answer.status = status
    answer.body = body
    answer.content_type = content_type
    answer.plain = False
    if answer.behaviour.retry_after and status != 200:
        answer.headers = b"retry-after: %b\r\n" % answer.behaviour.retry_after.encode("latin-1", "replace")
    return answer


def _fill(answer: Answer, last: str, *, usage: bool) -> None:
    """The good answer's text, counts and bytes."""
    behaviour, call, dialect = answer.behaviour, answer.call, answer.dialect
    own = last if behaviour.echo else behaviour.reply
    if behaviour.tool:
        answer.pieces = []
    elif behaviour.chunks or own or call.stream:
        answer.pieces = pieces_of(own or DEFAULT_REPLY, behaviour.chunks, own_text=bool(own))
    else:
        answer.pieces = _DEFAULT_PIECES
    answer.text = "".join(answer.pieces)
    call.output_tokens = behaviour.output_tokens if behaviour.output_tokens >= 0 else len(answer.pieces)
    if call.stream:
        answer.streamed = True
        answer.opening = dialect.opening(call, behaviour)
        answer.closing = dialect.closing(call, behaviour, usage=usage)
    else:
        answer.body = dialect.body(call, behaviour, answer.text)


_DEFAULT_PIECES = pieces_of(DEFAULT_REPLY, 0, own_text=False)


def _head(answer: Answer) -> bytes:
    if answer.streamed:
        return _STREAM_HEAD % answer.call.n
    reason = b"OK" if answer.status == 200 else b"Error"
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-request-id: req_sim_%d\r\n%b\r\n" % (
        answer.status,
        reason,
        answer.content_type,
        len(answer.body),
        answer.call.n,
        answer.headers,
    )


def _framed(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def write_at_once(transport: asyncio.Transport, answer: Answer) -> str:
    """Write everything in one call. Returns how the call ended."""
    call = answer.call
    if answer.streamed:
        piece = answer.dialect.piece
        events = [*answer.opening, *(piece(call, text) for text in answer.pieces), *answer.closing]
        transport.write(_head(answer) + b"".join([_framed(event) for event in events]) + b"0\r\n\r\n")
    else:
        transport.write(_head(answer) + answer.body)
    if answer.plain:
        call.chunks_sent = call.chunks_sent or len(answer.pieces)
        call.text = answer.text
    return "complete" if answer.plain else "error"


async def write_slowly(transport: asyncio.Transport, writable: asyncio.Event, answer: Answer) -> str:
    """Play the answer with its pauses and faults. Returns how the call ended; cancelled when the client closes."""
    behaviour = answer.behaviour
    if behaviour.latency:
        await asyncio.sleep(behaviour.latency / 1000)
    if behaviour.refuse:
        transport.close()
        return "refused"
    if answer.streamed:
        return await _stream(transport, writable, answer)
    return await _whole(transport, writable, answer)


async def _whole(transport: asyncio.Transport, writable: asyncio.Event, answer: Answer) -> str:
    behaviour, call = answer.behaviour, answer.call
    if not answer.plain:
        transport.write(_head(answer) + answer.body)
        return "error"
    if behaviour.stall >= 0:
        await asyncio.Event().wait()
    if behaviour.garble >= 0:
        answer.body = answer.body[:-1] + b',"x":'
    head, body = _head(answer), answer.body
    if behaviour.cut >= 0:
        transport.write(head + body[: len(body) // 2])
        transport.close()
        return "cut"
    if behaviour.drip:
        transport.write(head)
        await _drip(transport, writable, body)
    else:
        transport.write(head + body)
    call.chunks_sent = call.chunks_sent or len(answer.pieces)
    call.text = answer.text
    return "complete"


async def _drip(transport: asyncio.Transport, writable: asyncio.Event, data: bytes) -> None:
    for at in range(len(data)):
        transport.write(data[at : at + 1])
        await asyncio.sleep(0)
        await writable.wait()


async def _stream(transport: asyncio.Transport, writable: asyncio.Event, answer: Answer) -> str:
    behaviour, call, dialect = answer.behaviour, answer.call, answer.dialect
    interval_s = behaviour.interval / 1000

    async def send(event: bytes) -> None:
        if behaviour.drip:
            # Each byte is its own HTTP chunk, so the client's parser sees every border.
            await _drip_framed(transport, writable, event)
        else:
            transport.write(_framed(event))
            if not writable.is_set():
                await writable.wait()

    transport.write(_head(answer))
    if behaviour.ttft:
        await asyncio.sleep(behaviour.ttft / 1000)
    for event in answer.opening:
        await send(event)
    due = time.monotonic()
    for sent in range(len(answer.pieces) + 1):
        if sent == behaviour.garble:
            await send(_GARBLED)
        if sent == behaviour.error_in_stream:
            await send(dialect.error_event(call))
            transport.close()
            return "error"
        if sent == behaviour.cut:
            transport.close()
            return "cut"
        if sent == behaviour.stall:
            await asyncio.Event().wait()
        if sent == len(answer.pieces):
            break
        if sent and interval_s:
            # Against the schedule, not after the last write: a late loop does not slow the stream down.
            due += interval_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        text = f"{time.monotonic_ns()} " if behaviour.stamp else answer.pieces[sent]
        await send(dialect.piece(call, text))
        call.chunks_sent = sent + 1
        call.text += text
    # A fault set behind the end of a short answer still happens, so that no drawn fault is silently a good answer.
    if behaviour.cut > len(answer.pieces):
        transport.close()
        return "cut"
    if behaviour.error_in_stream > len(answer.pieces):
        await send(dialect.error_event(call))
        transport.close()
        return "error"
    if behaviour.garble > len(answer.pieces):
        await send(_GARBLED)
    if behaviour.stall > len(answer.pieces):
        await asyncio.Event().wait()
    for event in answer.closing:
        await send(event)
    transport.write(b"0\r\n\r\n")
    return "complete"


async def _drip_framed(transport: asyncio.Transport, writable: asyncio.Event, event: bytes) -> None:
    for at in range(len(event)):
        transport.write(_framed(event[at : at + 1]))
        await asyncio.sleep(0)
        await writable.wait()
