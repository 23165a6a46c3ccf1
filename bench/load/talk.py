"""Conversation loads over WebSocket: each client has a socket of its own and says one thing at a time."""

import asyncio
import itertools
import os
import re
import time
from dataclasses import dataclass, field

import aiohttp
import msgspec

from bench.load.plan import Plan, Result
from bench.load.watch import Peak, Window

_STAMP = re.compile(r"(\d{11,19}) ")
_SILENCE_AT_MOST_S = 15.0  # between two frames
_TEXT = "When are you open, and may I book a visit online?"


class _Frame(msgspec.Struct):
    """What a client looks at in a server frame."""

    type: str
    conversation_id: str | None = None
    message_id: str | None = None
    chunk: str = ""
    state: str = ""
    code: str = ""
    message: str = ""


_decode = msgspec.json.Decoder(_Frame).decode
_encode = msgspec.json.Encoder().encode


class Refused(RuntimeError):
    """The server said no, or the message ended badly."""


@dataclass(slots=True)
class Said:
    """Times of one message, seconds on `time.perf_counter`."""

    sent_s: float
    accepted_s: float = 0.0
    first_s: float = 0.0
    done_s: float = 0.0
    lags_ns: list[int] = field(default_factory=list[int])


class Talker:
    """One socket with one conversation at a time."""

    def __init__(self, plan: Plan, session: aiohttp.ClientSession, name: str) -> None:
        self._plan = plan
        self._session = session
        self._name = name
        self._numbers = itertools.count()
        self._first_number = int(name.rpartition("-")[2]) * 1_000
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._conversation_id: str | None = None
        self._turns = 0

    async def connect(self) -> None:
        """Open the socket and say who we are. Raises Refused, OSError, aiohttp.ClientError."""
        self._socket = await self._session.ws_connect(self._plan.url, max_msg_size=1 << 20, autoping=True)
        await self._socket.send_bytes(_encode({"type": "auth", "token": self._plan.key}))
        frame = await self._next()
        if frame.type != "ready":
            raise Refused(f"auth: {frame.type} {frame.code} {frame.message}")

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def say(self) -> Said:
        """Send one message and read until its answer is complete. Raises Refused."""
        assert self._socket is not None
        if self._turns >= self._plan.turns:
            self._conversation_id, self._turns = None, 0
        number = next(self._numbers)
        texts = self._plan.texts or [_TEXT]
        body = {
            "type": "message",
            "client_message_id": f"{self._name}-{number}",
            # A short number is enough to make each text another one; a long one would be embedded, too.
            "text": f"{texts[number % len(texts)]} #{self._first_number + number}",
        }
        body |= (
            {"chatbot": self._plan.model}
            if self._conversation_id is None
            else {"conversation_id": self._conversation_id}
        )
        said = Said(time.perf_counter())
        await self._socket.send_str(_encode(body).decode())
        message_id: str | None = None
        while True:
            frame = await self._next()
            if frame.type == "message_accepted" and message_id is None:
                said.accepted_s = time.perf_counter()
                message_id, self._conversation_id = frame.message_id, frame.conversation_id
                self._turns += 1
            elif frame.type == "stream_chunk" and frame.message_id == message_id:
                if not said.first_s:
                    said.first_s = time.perf_counter()
                now = time.monotonic_ns()
                said.lags_ns += [now - int(stamp) for stamp in _STAMP.findall(frame.chunk)]
            elif frame.type == "stream_complete" and frame.message_id == message_id:
                said.done_s = time.perf_counter()
                return said
            elif frame.type in ("error", "stream_error"):
                raise Refused(f"{frame.type} {frame.code} {frame.message}")

    async def _next(self) -> _Frame:
        assert self._socket is not None
        async with asyncio.timeout(_SILENCE_AT_MOST_S):
            message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
            return _decode(message.data)
        raise Refused(f"the socket ended: {message.type.name} {self._socket.close_code}")


_FAULTS = (Refused, OSError, TimeoutError, aiohttp.ClientError, msgspec.DecodeError)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def closed(plan: Plan) -> Result:
    """`clients` conversations, each sends the next message when the last is answered."""
    result = Result()
    run = os.urandom(3).hex()
    async with _session() as session:
        talkers = [Talker(plan, session, f"{run}-{number}") for number in range(plan.clients)]
        for talker in talkers:
            await talker.connect()
        window = Window(plan)

        async def client(talker: Talker) -> None:
            while (began := time.perf_counter()) < window.end_s:
                try:
                    said = await talker.say()
                except _FAULTS as error:
                    if began >= window.start_s:
                        result.fault(repr(error))
                    await asyncio.sleep(0.2)
                    if not isinstance(error, Refused):
                        return
                    continue
                if said.done_s >= window.start_s and said.done_s <= window.end_s:
                    _count(result, said)

        async with asyncio.TaskGroup() as group:
            group.create_task(window.read(result), name="load.window")
            for talker in talkers:
                group.create_task(client(talker), name="load.talker")
        for talker in talkers:
            await talker.close()
    return result


async def open_loop(plan: Plan) -> Result:
    """Messages at `rate_per_s`, each by a talker that is idle; `clients` of them are connected beforehand."""
    result = Result()
    run = os.urandom(3).hex()
    async with _session() as session:
        idle = [Talker(plan, session, f"{run}-{number}") for number in range(plan.clients)]
        for talker in idle:
            await talker.connect()
        window = Window(plan)
        start_s = window.start_s - plan.warm_s

        async def one(due_s: float) -> None:
            counted = due_s >= window.start_s
            if not idle:
                if counted:
                    result.fault("every talker is busy: the server is behind")
                return
            talker = idle.pop(0)
            try:
                said = await talker.say()
            except _FAULTS as error:
                if counted:
                    result.fault(repr(error))
                return
            idle.append(talker)
            if counted:
                result.late_ms.append((said.sent_s - due_s) * 1e3)
                _count(result, said)

        async with asyncio.TaskGroup() as group:
            group.create_task(window.read(result), name="load.window")
            for number in range(int(plan.rate_per_s * (plan.warm_s + plan.duration_s))):
                due_s = start_s + number / plan.rate_per_s
                wait_s = due_s - time.perf_counter()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                group.create_task(one(due_s), name="load.message")
        for talker in idle:
            await talker.close()
    return result


async def streams(plan: Plan) -> Result:
    """`clients` visitors, each with a socket and one long answer, all at once."""
    result = Result()
    run = os.urandom(3).hex()
    async with _session() as session:

        async def one(number: int) -> None:
            await asyncio.sleep(plan.ramp_s * number / plan.clients)
            talker = Talker(plan, session, f"{run}-{number}")
            try:
                await talker.connect()
                _count(result, await talker.say())
                await talker.close()
            except _FAULTS as error:
                result.fault(repr(error))

        async with Peak(plan, result), asyncio.TaskGroup() as group:
            for number in range(plan.clients):
                group.create_task(one(number), name=f"load.stream-{number}")
    return result


def _count(result: Result, said: Said) -> None:
    result.done += 1
    result.latency_ms.append((said.done_s - said.sent_s) * 1e3)
    result.accepted_ms.append((said.accepted_s - said.sent_s) * 1e3)
    if said.first_s:
        result.first_ms.append((said.first_s - said.sent_s) * 1e3)
    result.lag_ms += [lag / 1e6 for lag in said.lags_ns]
