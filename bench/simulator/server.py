"""The simulator's HTTP server: raw asyncio protocol, one process, plain answers written in one call.

`Simulator` owns the listening socket, the defaults and the call log; `run_simulator` is the door for tests. Paths:
POST /v1/chat/completions, /v1/messages, /v1/embeddings; GET /v1/models, /control, /log, /stats; POST /reset.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec

from bench.simulator import dialects
from bench.simulator.behaviour import Behaviour, UnknownVerb, layered, typed, with_fault
from bench.simulator.log import Call, CallLog
from bench.simulator.player import Answer, answer_chat, write_at_once, write_slowly

_chat_decoder = msgspec.json.Decoder(dialects.ChatRequest)
_embeddings_decoder = msgspec.json.Decoder(dialects.EmbeddingsRequest)
_OPENAI = dialects.OpenAi()
_ANTHROPIC = dialects.Anthropic()
_REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 429: b"Too Many Requests"}
MAX_HEAD_BYTES = 64 * 1024


class Simulator:
    """One pretend provider on one port."""

    def __init__(
        self, defaults: Behaviour | None = None, *, log_file: Path | None = None, log_limit: int = 200_000
    ) -> None:
        self.initial = defaults or Behaviour()
        self.defaults = self.initial
        self.log = CallLog(log_file, limit=log_limit)
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[_Connection] = set()
        self.connections_seen = 0
        self.seen: dict[str, int] = {}
        """How often a last user message came while faults are drawn: the n-th try has its own draw."""
        self.port = 0
        self.host = "127.0.0.1"
        self._server: asyncio.Server | None = None

    @property
    def origin(self) -> str:
        """`http://host:port`, the base URL of the Anthropic dialect."""
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """`http://host:port/v1`, the base URL of the OpenAI dialect."""
        return f"{self.origin}/v1"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes any free one. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=4096)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """Close the socket, all connections and the log; answers that are still running end as `cut`."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.stop()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=5)
        self.log.close()

    def calls(self) -> list[Call]:
        """Every provider call that arrived since the start or the last reset, oldest first."""
        return self.log.calls()

    def set(self, **verbs: Any) -> None:
        """Change the defaults from now on. Raises TypeError on an unknown verb."""
        self.defaults = replace(self.defaults, **verbs)

    def reset(self) -> None:
        """Forget the calls and go back to the defaults of the start."""
        self.log.reset()
        self.seen.clear()
        self.defaults = self.initial

    def stats(self) -> dict[str, Any]:
        """Counters since the start or the last reset."""
        return {
            "requests": self.log.requests,
            "open": self.log.open_now,
            "open_most": self.log.open_most,
            "ended": self.log.ends,
            "connections": len(self.connections),
            "connections_seen": self.connections_seen,
            "cpu_s": time.process_time(),
        }


class _Connection(asyncio.Protocol):
    """One client connection; requests are answered in order."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.buffer = b""
        self.transport: asyncio.Transport
        self.writable = asyncio.Event()
        self.writable.set()
        self.running: asyncio.Task[None] | None = None
        self.call: Call | None = None
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports do not derive from asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.simulator.connections.add(self)
        self.simulator.connections_seen += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop passes it
        self.simulator.connections.discard(self)
        self.writable.set()
        if self.call is not None:
            self.simulator.log.ended(self.call, "cut" if self.stopping else "client_closed")
        if self.running is not None:
            self.running.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def stop(self) -> None:
        self.stopping = True
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        while self.running is None and self.buffer and not self.transport.is_closing():
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self.buffer) > MAX_HEAD_BYTES:
                    self.transport.abort()
                return
            head = self.buffer[: end + 2]
            length = int(_header(head, b"\r\ncontent-length:") or "0")
            total = end + 4 + length
            if len(self.buffer) < total:
                return
            body = self.buffer[end + 4 : total]
            self.buffer = self.buffer[total:]
            self._serve(head, body)

    def _serve(self, head: bytes, body: bytes) -> None:
        method, _, rest = head.partition(b" ")
        target = rest[: rest.find(b" ")].decode("latin-1")
        path, _, query = target.partition("?")
        path = path.removeprefix("/v1")
        if method == b"POST" and path == "/chat/completions":
            self._chat(_OPENAI, target, head, body)
        elif method == b"POST" and path == "/messages":
            self._chat(_ANTHROPIC, target, head, body)
        elif method == b"POST" and path == "/embeddings":
            self._embeddings(target, head, body)
        else:
            self._respond(*self._plain(method, path, query))

    def _plain(self, method: bytes, path: str, query: str) -> tuple[int, bytes]:
        """Status and body of everything that is no provider call."""
        simulator = self.simulator
        encode = msgspec.json.encode
        match method, path:
            case b"GET", "/models":
                model = {"id": "sim", "object": "model", "created": dialects.CREATED, "owned_by": "simulator"}
                return 200, encode({"object": "list", "data": [model]})
            case ((b"GET" | b"POST"), "/control"):
                try:
                    pairs = [typed(name, value) for name, value in parse_qsl(query) if name != "reset"]
                except UnknownVerb as error:
                    return 400, encode({"error": {"message": str(error)}})
                if "reset=" in query:
                    simulator.defaults = simulator.initial
                simulator.set(**dict(pairs))
                return 200, encode(asdict(simulator.defaults))
            case b"GET", "/log":
                return 200, simulator.log.lines()
            case b"GET", "/stats":
                return 200, encode(simulator.stats())
            case b"POST", "/reset":
                simulator.reset()
                return 200, encode(simulator.stats())
            case _:
                return 404, encode({"error": {"message": f"no such path: {path}", "type": "invalid_request_error"}})

    def _respond(self, status: int, body: bytes, headers: bytes = b"") -> None:
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
            % (status, _REASONS.get(status, b"Error"), len(body), headers, body)
        )

    def _arrive(self, target: str, head: bytes, model: str) -> Call:
        call = Call(
            n=0,
            path=target,
            at=time.time(),
            at_mono_ns=time.monotonic_ns(),
            model=model,
            call_id=_header(head, b"\r\nx-chatwright-call-id:") or None,
        )
        self.simulator.log.arrived(call)
        return call

    def _chat(self, dialect: dialects.Dialect, target: str, head: bytes, body: bytes) -> None:
        try:
            request = _chat_decoder.decode(body)
        except msgspec.DecodeError as error:
            self._bad_request(dialect, target, head, f"We could not parse the JSON body of your request: {error}")
            return
        call = self._arrive(target, head, request.model)
        last = ""
        characters = 0
        for message in request.messages:
            text = dialects.text_of(message)
            characters += len(text)
            if message.role == "user":
                last = text
        call.stream = bool(request.stream)
        call.sha256 = sha256(last.encode("utf-8", "surrogatepass")).hexdigest()
        call.head = last[:80]
        try:
            behaviour, last = self._behaviour(head, request.model, last, call)
        except UnknownVerb as error:
            self._end_with_error(dialect, call, 400, f"simulator: {error}")
            return
        call.input_tokens = behaviour.input_tokens if behaviour.input_tokens >= 0 else max(1, characters // 4)
        usage = not behaviour.no_usage and bool(request.stream_options and request.stream_options.include_usage)
        key = _key(head) if behaviour.require_key else ""
        answer = answer_chat(dialect, request, call, behaviour, last=last, usage=usage, key=key)
        self._give(answer)

    def _embeddings(self, target: str, head: bytes, body: bytes) -> None:
        try:
            request = _embeddings_decoder.decode(body)
        except msgspec.DecodeError as error:
            self._bad_request(_OPENAI, target, head, f"We could not parse the JSON body of your request: {error}")
            return
        call = self._arrive(target, head, request.model)
        inputs = [request.input] if isinstance(request.input, str) else request.input
        last = inputs[-1] if inputs else ""
        call.sha256 = sha256(last.encode("utf-8", "surrogatepass")).hexdigest()
        call.head = last[:80]
        call.chunks_sent = len(inputs)
        try:
            behaviour, _ = self._behaviour(head, request.model, last, call)
        except UnknownVerb as error:
            self._end_with_error(_OPENAI, call, 400, f"simulator: {error}")
            return
        call.input_tokens = max(1, sum(map(len, inputs)) // 4)
        answer = answer_chat(_OPENAI, dialects.ChatRequest(), call, behaviour, last=last, usage=False, key=_key(head))
        if call.status == 200 and answer.plain:
            answer.body = dialects.embeddings_body(request, call, behaviour)
        call.text = ""
        self._give(answer)

    def _behaviour(self, head: bytes, model: str, last: str, call: Call) -> tuple[Behaviour, str]:
        """The layered behaviour of one request and its last user message without the directive."""
        header = _header(head, b"\r\nx-sim:")
        of_model = model[4:] if model.startswith("sim:") else ""
        of_message = ""
        start = last.find("[[sim:")
        if start >= 0:
            end = last.find("]]", start)
            if end > 0:
                of_message = last[start + 6 : end]
                last = (last[:start] + last[end + 2 :]).strip()
        behaviour = self.simulator.defaults
        if header or of_model or of_message:
            behaviour = layered(behaviour, header, of_model, of_message)
        if behaviour.fault_rate > 0:
            seen = self.simulator.seen
            seen[call.sha256] = nth = seen.get(call.sha256, 0) + 1
            draw = sha256(f"{behaviour.seed}:{call.sha256}:{nth}".encode()).digest()
            behaviour, call.fault = with_fault(behaviour, int.from_bytes(draw[:8], "big"))
        return behaviour, last

    def _bad_request(self, dialect: dialects.Dialect, target: str, head: bytes, message: str) -> None:
        self._end_with_error(dialect, self._arrive(target, head, ""), 400, message)

    def _end_with_error(self, dialect: dialects.Dialect, call: Call, status: int, message: str) -> None:
        call.status = status
        self._respond(status, dialect.error(call, status, "invalid_request_error", "", message))
        self.simulator.log.ended(call, "error")

    def _give(self, answer: Answer) -> None:
        """Write the answer: at once if nothing about it takes time, else from a task of this connection."""
        call = answer.call
        if answer.at_once:
            how = write_at_once(self.transport, answer)
            self.simulator.log.ended(call, how)
            return
        self.call = call
        self.simulator.log.write(call)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._play(answer), name=f"simulator call {call.n}")
        self.running = task
        self.simulator.tasks.add(task)
        task.add_done_callback(self.simulator.tasks.discard)

    async def _play(self, answer: Answer) -> None:
        how = await write_slowly(self.transport, self.writable, answer)
        self.simulator.log.ended(answer.call, how)
        self.running = self.call = None
        if self.buffer:
            self.data_received(b"")


def _header(head: bytes, name: bytes) -> str:
    """The value of a header, or "". `name` is lower case, with the line break before it and the colon."""
    at = head.lower().find(name)
    if at < 0:
        return ""
    start = at + len(name)
    return head[start : head.index(b"\r\n", start)].strip().decode("utf-8", "replace")


def _key(head: bytes) -> str:
    """The caller's key, of either dialect."""
    bearer = _header(head, b"\r\nauthorization:")
    return bearer.removeprefix("Bearer ") if bearer else _header(head, b"\r\nx-api-key:")


@contextlib.asynccontextmanager
async def run_simulator(*, log_file: Path | None = None, **verbs: Any) -> AsyncGenerator[Simulator]:
    """A simulator in this event loop, on a free loopback port, with `verbs` as defaults."""
    simulator = Simulator(Behaviour(**verbs), log_file=log_file)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()
