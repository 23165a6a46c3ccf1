"""The simulator's HTTP server: raw asyncio protocol, one process, plain answers written in one call.

`Simulator` owns the listening socket, the defaults and the call log; `run_simulator` is the door for tests. Provider
paths stand in `paths.py`. Besides: GET /v1/models, /v1beta/models, /control, /log, /stats; POST /reset, and POST /token,
an OAuth token endpoint as service accounts use it.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl

import msgspec

from bench.simulator.behaviour import Behaviour, UnknownVerb, layered, typed, with_fault, without_directives
from bench.simulator.counting import count_prompt
from bench.simulator.dialects import CREATED, Dialect, Fault, encode
from bench.simulator.google import Gemini, claims, token_body
from bench.simulator.head import Head
from bench.simulator.limits import Limits, Standing
from bench.simulator.log import Call, CallLog
from bench.simulator.marking import mark_of
from bench.simulator.obedience import obedient
from bench.simulator.paths import Where, find, read
from bench.simulator.player import Answer, plan, write_at_once, write_slowly
from bench.simulator.reading import asks_for_reading, reading_reply
from bench.simulator.requests import Asked, Unfit
from bench.simulator.summarising import summarised

_REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 429: b"Too Many Requests"}
_PLAIN_BEHAVIOUR = Behaviour()
MAX_HEAD_BYTES = 64 * 1024


class Simulator:
    """One pretend provider on one port."""

    def __init__(
        self,
        defaults: Behaviour | None = None,
        *,
        log_file: Path | None = None,
        log_limit: int = 200_000,
        name: str = "",
    ) -> None:
        self.name = name
        """Directives `[[sim@name:…]]` are for this one."""
        self.book: Mapping[str, str] = {}
        """Answers by last user message; what it does not name is answered as usual."""
        self.initial = defaults or Behaviour()
        self.defaults = self.initial
        self.log = CallLog(log_file, limit=log_limit)
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[_Connection] = set()
        self.connections_seen = 0
        self.seen: dict[str, int] = {}
        """How often a last user message came while faults are drawn: the n-th try has its own draw."""
        self.limits = Limits()
        self.tokens: dict[str, float] = {}
        """Access tokens that `/token` gave out, with their ends on `time.monotonic`."""
        self.token_requests: list[dict[str, Any]] = []
        """What each asked for: the claims of its assertion, or its form fields."""
        self.obeyed: deque[bytes] = deque(maxlen=1_000)
        """The bodies of calls that were answered with `obey`, oldest first."""
        self.topics: dict[str, str] = {}
        """Of questions, by their mark: what `mark=2` says instead of it."""
        self.recorded: deque[tuple[int, str, bytes]] = deque(maxlen=10_000)
        """(number of the call, model, body) of calls with `record`, oldest first."""
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

    @property
    def gemini_url(self) -> str:
        """`http://host:port/v1beta`, the base URL of the Gemini API."""
        return f"{self.origin}/v1beta"

    @property
    def token_url(self) -> str:
        """The OAuth token endpoint, a service account's `token_uri`."""
        return f"{self.origin}/token"

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
        self.obeyed.clear()
        self.recorded.clear()
        self.limits.clear()
        self.token_requests.clear()
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
            "token_requests": len(self.token_requests),
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
            head = Head(self.buffer[: end + 2])
            length = int(head.get(b"\r\ncontent-length:") or "0")
            total = end + 4 + length
            if len(self.buffer) < total:
                return
            body = self.buffer[end + 4 : total]
            self.buffer = self.buffer[total:]
            self._serve(head, body)

    def _serve(self, head: Head, body: bytes) -> None:
        method, target = head.method, head.target
        path, _, query = target.partition("?")
        where = find(path, query) if method == b"POST" else None
        if where is not None:
            self._provider(where, head, body)
        elif method == b"POST" and path == "/token":
            self._later(self._token(body))
        else:
            self._respond(*self._plain(method, path, query))

    def _plain(self, method: bytes, path: str, query: str) -> tuple[int, bytes]:
        """Status and body of everything that is no provider call."""
        simulator = self.simulator
        match method, path:
            case b"GET", ("/models" | "/v1/models" | "/openai/v1/models"):
                model = {"id": "sim", "object": "model", "created": CREATED, "owned_by": "simulator"}
                anthropic = {"type": "model", "display_name": "Simulator", "created_at": "2026-01-01T00:00:00Z"}
                return 200, encode({"object": "list", "data": [{**model, **anthropic}], "has_more": False})
            case b"GET", "/v1beta/models":
                return 200, encode({"models": [{"name": "models/sim", "displayName": "Simulator"}]})
            case ((b"GET" | b"POST"), "/control"):
                try:
                    pairs = [typed(name, value) for name, value in parse_qsl(query) if name != "restore"]
                except UnknownVerb as error:
                    return 400, encode({"error": {"message": str(error)}})
                if "restore=" in query:
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

    async def _token(self, body: bytes) -> None:
        """An OAuth token endpoint: takes any assertion and gives a token out, as the verbs say."""
        simulator = self.simulator
        behaviour = simulator.defaults
        fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        simulator.token_requests.append(claims(fields.get("assertion", "")) or fields)
        n = len(simulator.token_requests)
        if behaviour.token_latency:
            await asyncio.sleep(behaviour.token_latency / 1000)
        if behaviour.token_status != 200:
            refusal = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            self._respond(behaviour.token_status, encode(refusal))
            return
        token, answer = token_body(n, behaviour.token_life)
        simulator.tokens[token] = time.monotonic() + behaviour.token_life
        self._respond(200, answer)

    def _arrive(self, head: Head, model: str) -> Call:
        call = Call(
            n=0,
            path=head.target,
            at=time.time(),
            at_mono_ns=time.monotonic_ns(),
            model=model,
            call_id=head.get(b"\r\nx-chatwright-call-id:") or None,
            key=head.key()[-4:],
        )
        self.simulator.log.arrived(call)
        return call

    def _provider(self, where: Where, head: Head, body: bytes) -> None:
        """One provider call, from the bytes of its body to the answer on its way."""
        try:
            asked = read(where, head, body)
        except (msgspec.DecodeError, Unfit) as error:
            call = self._arrive(head, where.model)
            message = (
                str(error) if isinstance(error, Unfit) else f"We could not parse the JSON body of your request: {error}"
            )
            self._end_with_error(where.dialect, call, message)
            return
        call = self._arrive(head, asked.model)
        call.stream = asked.stream
        call.sha256 = sha256(asked.last.encode("utf-8", "surrogatepass")).hexdigest()
        call.head = asked.last[:80]
        call.chunks_sent = len(asked.texts)
        try:
            behaviour = self._behaviour(head, asked, call)
        except (UnknownVerb, ValueError) as error:
            self._end_with_error(where.dialect, call, f"simulator: {error}")
            return
        if behaviour.input_tokens >= 0:
            call.input_tokens = behaviour.input_tokens
        else:
            call.input_tokens = count_prompt(body) if behaviour.tokenized else max(1, asked.characters // 4)
        if (known := self.simulator.book.get(asked.last)) is not None:
            behaviour = replace(behaviour, reply=known)
        elif behaviour.obey and where.kind == "chat":
            self.simulator.obeyed.append(body)
            behaviour = replace(behaviour, reply=obedient(body, asked.last))
        elif behaviour.summarise and where.kind == "chat":
            behaviour = replace(behaviour, reply=summarised(asked.last, behaviour.summarise))
        elif behaviour.read and where.kind == "chat" and asks_for_reading(asked.last):
            behaviour = replace(behaviour, reply=reading_reply(behaviour.read))
        elif behaviour.mark and where.kind == "chat":
            topics = self.simulator.topics if behaviour.mark > 1 else {}
            behaviour = replace(behaviour, reply=str(mark_of(body, topics)))
        refusal, requests_left, tokens_left = self._admit(where.dialect, call, behaviour, head)
        answer = plan(
            where.dialect(call, behaviour),
            asked,
            call,
            behaviour,
            kind=where.kind,
            refusal=refusal,
            requests=requests_left,
            tokens=tokens_left,
        )
        if behaviour.record:
            self.simulator.recorded.append((call.n, asked.model, body))
        call.answers = answer.plain and where.kind != "count"
        call.pieces = len(answer.pieces)
        call.cached_tokens, call.cache_write_tokens = behaviour.cached_tokens, behaviour.cache_write_tokens
        call.reasoning_tokens = behaviour.reasoning_tokens
        if behaviour.tpm and answer.plain:
            self.simulator.limits.spend(head.key(), call.output_tokens)
        self._give(answer)

    def _admit(
        self, dialect: type[Dialect], call: Call, behaviour: Behaviour, head: Head
    ) -> tuple[Fault | None, Standing | None, Standing | None]:
        """What key and limits say: (a fault or None, what is left of requests, of tokens)."""
        if behaviour.require_key and head.key() != behaviour.require_key:
            return Fault(401, "auth"), None, None
        if behaviour.key_ok and not any(end and head.key().endswith(end) for end in behaviour.key_ok.split("+")):
            return Fault(401, "auth"), None, None
        token_ends = self.simulator.tokens.get(head.key(), 0.0) if behaviour.need_token else math.inf
        if issubclass(dialect, Gemini) and token_ends < time.monotonic():
            return Fault(401, "auth"), None, None
        if not (behaviour.rpm or behaviour.tpm or behaviour.limit_headers):
            return None, None, None
        wait_s, requests_left, tokens_left = self.simulator.limits.take(
            head.key(), behaviour, call.input_tokens, time.monotonic()
        )
        fault = Fault(429, "rate", wait=str(max(1, math.ceil(wait_s)))) if wait_s else None
        return fault, requests_left, tokens_left

    def _behaviour(self, head: Head, asked: Asked, call: Call) -> Behaviour:
        """The layered behaviour of one request; takes the directives out of its last message."""
        header = head.get(b"\r\nx-sim:")
        of_model = asked.model[4:] if asked.model.startswith("sim:") else ""
        of_message = ""
        if "[[sim" in asked.last:
            of_message, asked.last = without_directives(asked.last, self.simulator.name)
        behaviour = self.simulator.defaults
        if header or of_model or of_message:
            behaviour = layered(behaviour, header, of_model, of_message)
        if behaviour.fault_rate > 0:
            seen = self.simulator.seen
            seen[call.sha256] = nth = seen.get(call.sha256, 0) + 1
            draw = sha256(f"{behaviour.seed}:{call.sha256}:{nth}".encode()).digest()
            behaviour, call.fault = with_fault(behaviour, int.from_bytes(draw[:8], "big"))
        return behaviour

    def _end_with_error(self, dialect: type[Dialect], call: Call, message: str) -> None:
        failed = dialect(call, _PLAIN_BEHAVIOUR).failed(Fault(400, "invalid", message))
        call.status = failed.status
        self._respond(failed.status, failed.body, failed.headers)
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
        self._later(self._play(answer))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer from a task of this connection; further requests on it wait until it is done."""
        task = asyncio.get_running_loop().create_task(self._then_go_on(work), name="simulator answer")
        self.running = task
        self.simulator.tasks.add(task)
        task.add_done_callback(self.simulator.tasks.discard)

    async def _then_go_on(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self.running = self.call = None
        if self.buffer:
            self.data_received(b"")

    async def _play(self, answer: Answer) -> None:
        how = await write_slowly(self.transport, self.writable, answer)
        self.simulator.log.ended(answer.call, how)


@contextlib.asynccontextmanager
async def run_simulator(*, log_file: Path | None = None, name: str = "", **verbs: Any) -> AsyncGenerator[Simulator]:
    """A simulator in this event loop, on a free loopback port, with `verbs` as defaults."""
    simulator = Simulator(Behaviour(**verbs), log_file=log_file, name=name)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()
