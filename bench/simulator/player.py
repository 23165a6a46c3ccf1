"""From a behaviour to bytes on a connection: what is sent, in which pieces, with which pauses, and how it ends."""

import asyncio
import socket
import struct
import time
from dataclasses import dataclass, field

from bench.simulator.behaviour import Behaviour
from bench.simulator.counting import count_text
from bench.simulator.dialects import DEFAULT_REPLY, Dialect, Failed, Fault, encode, fault_of, pieces_of, tagged
from bench.simulator.limits import Standing
from bench.simulator.log import Call
from bench.simulator.paths import Kind
from bench.simulator.requests import Asked

_HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body></html>\r\n"


@dataclass(slots=True)
class Answer:
    """One answer, planned. Either `body` (with `status`) or a stream of `opening`, `pieces` and the dialect's closing."""

    call: Call
    behaviour: Behaviour
    dialect: Dialect
    status: int = 200
    body: bytes = b""
    headers: bytes = b""
    content_type: bytes = b"application/json"
    text: str = ""
    streamed: bool = False
    usage: bool = True
    """Whether the stream reports usage."""
    opening: list[bytes] = field(default_factory=list[bytes])
    pieces: list[str] = field(default_factory=list[str])
    closed: bool = False
    """The opening is the whole stream: a refusal that says its own end."""
    plain: bool = True
    """The answer is a good one, not an error."""

    @property
    def at_once(self) -> bool:
        """True if the whole answer may be written in one call."""
        b = self.behaviour
        return not (b.latency or b.ttft or b.interval or b.drip or b.stamp) and (
            not self.plain
            or (b.stall < 0 and b.cut < 0 and b.garble < 0 and b.error_in_stream < 0 and b.reset < 0 and not b.refuse)
        )


def plan(
    dialect: Dialect,
    asked: Asked,
    call: Call,
    behaviour: Behaviour,
    *,
    kind: Kind,
    refusal: Fault | None,
    requests: Standing | None,
    tokens: Standing | None,
) -> Answer:
    """Plan the answer to one request. `refusal` is what key or limits say, the standings are what headers state."""
    answer = Answer(call, behaviour, dialect, headers=dialect.headers(requests, tokens))
    if behaviour.html_error:
        call.status = answer.status = behaviour.status if behaviour.status != 200 else 502
        answer.body, answer.content_type, answer.plain = _HTML, b"text/html", False
        return answer
    fault = refusal or _fault(asked, call, behaviour, chat=kind == "chat")
    if fault is not None:
        return _failed(answer, dialect.failed(fault))
    if behaviour.error_in_200 or (behaviour.error_in_stream >= 0 and not call.stream):
        failed = dialect.failed(Fault(200, "server", "Something went wrong.", behaviour.code))
        return _failed(answer, failed._replace(status=200))
    answer.usage = asked.usage and not behaviour.no_usage
    if kind == "embed":
        answer.body = dialect.embeddings(asked)
    elif kind == "count":
        name = "totalTokens" if asked.verb == "countTokens" else "input_tokens"
        answer.body = encode({name: call.input_tokens})
    elif behaviour.block:
        return _block(answer)
    else:
        _fill(answer, asked)
    return answer


def _fault(asked: Asked, call: Call, behaviour: Behaviour, *, chat: bool) -> Fault | None:
    if behaviour.context and call.input_tokens > behaviour.context:
        message = f"This model's maximum context length is {behaviour.context} tokens, yours has {call.input_tokens}."
        return Fault(400, "context", message if behaviour.status == 200 else "")
    if behaviour.want_max_completion_tokens and asked.max_tokens:
        return Fault(400, "parameter")
    if behaviour.no_schema and asked.schema:
        return Fault(400, "invalid", "response_format is not supported by this server.")
    if behaviour.responses_only and chat and call.path.partition("?")[0].endswith("/chat/completions"):
        return Fault(404, "responses_only")
    if behaviour.status != 200:
        return fault_of(behaviour.status, behaviour.code)._replace(wait=behaviour.retry_after)
    return None


def _failed(answer: Answer, failed: Failed) -> Answer:
    answer.call.status = answer.status = failed.status
    answer.body = failed.body
    answer.headers += failed.headers
    answer.plain = False
    return answer


def _block(answer: Answer) -> Answer:
    """The prompt is refused, in the way of the dialect."""
    call, dialect = answer.call, answer.dialect
    call.output_tokens = 0
    refusal = dialect.blocked(usage=answer.usage)
    if isinstance(refusal, Failed):
        return _failed(answer, refusal)
    if call.stream:
        answer.streamed = answer.closed = True
        answer.opening = refusal
    else:
        answer.body = dialect.body("")
    return answer


def _fill(answer: Answer, asked: Asked) -> None:
    """The good answer's text, counts and bytes."""
    behaviour, call, dialect = answer.behaviour, answer.call, answer.dialect
    own = asked.last if behaviour.echo else behaviour.reply
    if behaviour.tool:
        answer.pieces = []
    elif behaviour.tag:
        answer.pieces = pieces_of(tagged(own or DEFAULT_REPLY, behaviour.tag), behaviour.chunks, own_text=True)
    elif behaviour.chunks or own or call.stream:
        answer.pieces = pieces_of(own or DEFAULT_REPLY, behaviour.chunks, own_text=bool(own))
    else:
        answer.pieces = _DEFAULT_PIECES
    answer.text = "".join(answer.pieces)
    said = count_text(answer.text) if behaviour.tokenized else len(answer.pieces)
    call.output_tokens = behaviour.output_tokens if behaviour.output_tokens >= 0 else said + behaviour.reasoning_tokens
    if call.stream:
        answer.streamed = True
        answer.opening = dialect.opening()
    else:
        answer.body = dialect.body(answer.text)


_DEFAULT_PIECES = pieces_of(DEFAULT_REPLY, 0, own_text=False)
# What was written before must have left: a reset throws away what the peer's kernel has not taken yet.
_BEFORE_RESET_S = 0.005


def _head(answer: Answer) -> bytes:
    if answer.streamed:
        return (
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-cache\r\n%btransfer-encoding: chunked\r\n\r\n"
            % (answer.dialect.stream_type, answer.headers)
        )
    reason = b"OK" if answer.status == 200 else b"Error"
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (
        answer.status,
        reason,
        answer.content_type,
        len(answer.body),
        answer.headers,
    )


def _framed(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def write_at_once(transport: asyncio.Transport, answer: Answer) -> str:
    """Write everything in one call. Returns how the call ended."""
    call = answer.call
    if answer.plain:
        call.chunks_sent = call.chunks_sent or len(answer.pieces)
        call.text = answer.text
    if answer.streamed:
        piece = answer.dialect.piece
        events = [*answer.opening, *(piece(text) for text in answer.pieces), *_closing(answer)]
        transport.write(_head(answer) + b"".join([_framed(event) for event in events]) + b"0\r\n\r\n")
    else:
        transport.write(_head(answer) + answer.body)
    return "complete" if answer.plain else "error"


def _closing(answer: Answer) -> list[bytes]:
    return [] if answer.closed else answer.dialect.closing(usage=answer.usage)


def reset(transport: asyncio.Transport) -> None:
    """Break the connection with a TCP reset instead of an orderly end."""
    peer: socket.socket = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def write_slowly(transport: asyncio.Transport, writable: asyncio.Event, answer: Answer) -> str:
    """Play the answer with its pauses and faults. Returns how the call ended; cancelled when the client closes."""
    behaviour = answer.behaviour
    if behaviour.latency:
        await asyncio.sleep(behaviour.latency / 1000)
    if behaviour.refuse:
        transport.close()
        return "refused"
    if behaviour.reset == 0:
        reset(transport)
        return "reset"
    if answer.streamed:
        return await _stream(transport, writable, answer)
    return await _whole(transport, writable, answer)


async def _whole(transport: asyncio.Transport, writable: asyncio.Event, answer: Answer) -> str:
    behaviour, call = answer.behaviour, answer.call
    if not answer.plain:
        transport.write(_head(answer) + answer.body)
        return "error"
    call.begun = True
    if behaviour.stall >= 0:
        await asyncio.Event().wait()
    if behaviour.garble >= 0:
        answer.body = answer.body[:-1] + b',"x":'
    head, body = _head(answer), answer.body
    if behaviour.cut >= 0:
        transport.write(head + body[: len(body) // 2])
        transport.close()
        return "cut"
    if behaviour.reset > 0:
        transport.write(head + body[: len(body) // 2])
        await asyncio.sleep(_BEFORE_RESET_S)
        reset(transport)
        return "reset"
    if behaviour.drip:
        transport.write(head)
        await _drip(transport, writable, body, behaviour.drip_pause / 1000)
    else:
        transport.write(head + body)
    call.chunks_sent = call.chunks_sent or len(answer.pieces)
    call.text = answer.text
    return "complete"


async def _drip(transport: asyncio.Transport, writable: asyncio.Event, data: bytes, pause_s: float) -> None:
    for at in range(len(data)):
        transport.write(data[at : at + 1])
        await asyncio.sleep(pause_s)
        await writable.wait()


async def _stream(transport: asyncio.Transport, writable: asyncio.Event, answer: Answer) -> str:
    behaviour, call, dialect = answer.behaviour, answer.call, answer.dialect
    interval_s = behaviour.interval / 1000

    async def send(event: bytes) -> None:
        if behaviour.drip:
            # Each byte is its own HTTP chunk, so the client's parser sees every border.
            await _drip_framed(transport, writable, event, behaviour.drip_pause / 1000)
        else:
            transport.write(_framed(event))
            if not writable.is_set():
                await writable.wait()

    transport.write(_head(answer))
    if behaviour.ttft:
        await asyncio.sleep(behaviour.ttft / 1000)
    call.begun = True
    for event in answer.opening:
        await send(event)
    due = time.monotonic()
    for sent in range(len(answer.pieces) + 1):
        if sent == behaviour.garble:
            await send(dialect.garbled)
        if sent == behaviour.error_in_stream:
            await send(dialect.error_event())
            transport.close()
            return "error"
        if sent == behaviour.cut:
            transport.close()
            return "cut"
        if sent == behaviour.reset:
            await asyncio.sleep(_BEFORE_RESET_S)
            reset(transport)
            return "reset"
        if sent == behaviour.stall:
            await asyncio.Event().wait()
        if sent == len(answer.pieces):
            break
        if sent and interval_s:
            # Against the schedule, not after the last write: a late loop does not slow the stream down.
            due += interval_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        text = f"{time.monotonic_ns()} " if behaviour.stamp else answer.pieces[sent]
        await send(dialect.piece(text))
        call.chunks_sent = sent + 1
        call.text += text
    # A fault set behind the end of a short answer still happens, so that no drawn fault is silently a good answer.
    if behaviour.cut > len(answer.pieces):
        transport.close()
        return "cut"
    if behaviour.reset > len(answer.pieces):
        reset(transport)
        return "reset"
    if behaviour.error_in_stream > len(answer.pieces):
        await send(dialect.error_event())
        transport.close()
        return "error"
    if behaviour.garble > len(answer.pieces):
        await send(dialect.garbled)
    if behaviour.stall > len(answer.pieces):
        await asyncio.Event().wait()
    for event in _closing(answer):
        await send(event)
    transport.write(b"0\r\n\r\n")
    return "complete"


async def _drip_framed(transport: asyncio.Transport, writable: asyncio.Event, event: bytes, pause_s: float) -> None:
    for at in range(len(event)):
        transport.write(_framed(event[at : at + 1]))
        await asyncio.sleep(pause_s)
        await writable.wait()
