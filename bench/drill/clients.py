"""Patient clients: they send again under the same client_message_id until they have a receipt, and resume their stream.

Two kinds, REST with server-sent events and WebSocket. What they were told goes into their `Sent`s; nothing is looked up.
"""

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

import aiohttp

from bench.drill.evidence import Sent
from bench.drill.script import Line
from bench.drill.view import View

_TRY_WITHIN_S = 6.0
_ANSWER_PATIENCE_S = 20.0
_GIVE_UP_AFTER_S = 150.0
_PAUSE_S = 0.25
_FAULTS = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


Start = Callable[[Coroutine[Any, Any, None], str], None]
"""Starts a named task that is cancelled when the drill is over."""


class Followers:
    """The readers' tasks; leaving the block cancels them."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Client(ABC):
    """One conversation. `run` sends all lines; a task of its own reads the stream until it is cancelled."""

    def __init__(
        self, session: aiohttp.ClientSession, *, base_url: str, key: str, chatbot: str, name: str, lines: Sequence[Line]
    ) -> None:
        self.view = View()
        self.session = session
        self.base_url = base_url
        self.headers = {"authorization": f"Bearer {key}"}
        self.key = key
        self.chatbot = chatbot
        self.name = name
        self.lines = lines
        self.conversation_id: str | None = None

    async def run(self, start: Start) -> None:
        """Send every line. Ends when the last has its receipt; the stream is followed by what it `start`ed."""
        await self.open(start)
        for line in self.lines:
            await asyncio.sleep(line.pause_s)
            give_up_s = time.monotonic() + _GIVE_UP_AFTER_S
            while not line.sent.acknowledged and not line.sent.refused and time.monotonic() < give_up_s:
                line.sent.tries += 1
                try:
                    async with asyncio.timeout(_TRY_WITHIN_S):
                        await self.send(line.sent)
                except _FAULTS:
                    await asyncio.sleep(_PAUSE_S)
            if line.waits and line.sent.acknowledged:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ANSWER_PATIENCE_S):
                        while not self.view.settle(line.sent):
                            self.view.changed.clear()
                            await self.view.changed.wait()

    def unfinished(self) -> list[Sent]:
        """Messages with a receipt whose end was not told yet."""
        return [line.sent for line in self.lines if line.sent.acknowledged and not self.view.settle(line.sent)]

    @abstractmethod
    async def open(self, start: Start) -> None:
        """Get ready to send; start whatever follows the stream."""

    @abstractmethod
    async def send(self, sent: Sent) -> None:
        """Try once; a receipt goes into `sent.acknowledged`. Raises one of the usual faults."""


class RestClient(Client):
    """POST for each message, one endless GET of server-sent events."""

    async def open(self, start: Start) -> None:
        give_up_s = time.monotonic() + _GIVE_UP_AFTER_S
        while self.conversation_id is None and time.monotonic() < give_up_s:
            try:
                async with asyncio.timeout(_TRY_WITHIN_S):
                    made = await self._post(
                        "/api/v1/conversations", {"chatbot": self.chatbot}, {"idempotency-key": f"open-{self.name}"}
                    )
                self.conversation_id = made["id"]
            except (*_FAULTS, Refused):
                await asyncio.sleep(_PAUSE_S)
        if self.conversation_id is not None:
            start(self._follow(), f"{self.name} follows")

    async def send(self, sent: Sent) -> None:
        path = f"/api/v1/conversations/{self.conversation_id}/messages"
        try:
            receipt = await self._post(path, {"text": sent.text, "client_message_id": sent.key})
        except Refused as refused:
            sent.refused = str(refused)
            return
        sent.acknowledged.add(receipt["message_id"])

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        async with self.session.post(
            self.base_url + path, json=body, headers={**self.headers, **(headers or {})}
        ) as response:
            text = await response.text()
            if response.status >= 500 or response.status == 429:
                raise OSError(f"{response.status} {text[:200]}")
            if response.status >= 300:
                raise Refused(f"{response.status} {text[:200]}")
            return json.loads(text)

    async def _follow(self) -> None:
        """Read events, and again after every break from the last number on."""
        url = f"{self.base_url}/api/v1/conversations/{self.conversation_id}/events"
        while True:
            headers = {**self.headers, "last-event-id": str(self.view.last_seq)}
            with contextlib.suppress(*_FAULTS):
                # Heartbeats come every 15 s: silence for longer means that nobody is there.
                timeout = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=20)
                async with self.session.get(url, headers=headers, timeout=timeout) as response:
                    if response.status == 200:
                        async for line in response.content:
                            if line.startswith(b"data: "):
                                self.view.take(json.loads(line[6:]))
            await asyncio.sleep(_PAUSE_S)


class SocketClient(Client):
    """One WebSocket; after a break a new one that resumes."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._receipts: dict[str, asyncio.Future[str]] = {}
        self._by_key: dict[str, Sent] = {line.sent.key: line.sent for line in self.lines}

    async def open(self, start: Start) -> None:
        start(self._connected(), f"{self.name} listens")

    async def send(self, sent: Sent) -> None:
        socket = self._socket
        if socket is None or socket.closed:
            raise OSError("not connected")
        body: dict[str, Any] = {"type": "message", "text": sent.text, "client_message_id": sent.key}
        body |= {"chatbot": self.chatbot} if self.conversation_id is None else {"conversation_id": self.conversation_id}
        receipt = self._receipts[sent.key] = asyncio.get_running_loop().create_future()
        await socket.send_str(json.dumps(body))
        sent.acknowledged.add(await receipt)

    async def _connected(self) -> None:
        """Keep a socket open and read it, until cancelled."""
        url = self.base_url.replace("http", "ws", 1) + "/api/v1/ws"
        while True:
            with contextlib.suppress(*_FAULTS):
                async with asyncio.timeout(_TRY_WITHIN_S):
                    socket = await self.session.ws_connect(url, heartbeat=4.0, max_msg_size=1 << 20)
                async with socket:
                    await self._listen(socket)
            self._socket = None
            self._break_receipts()
            await asyncio.sleep(_PAUSE_S)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await socket.send_str(json.dumps({"type": "auth", "token": self.key}))
        first = await socket.receive_json(timeout=_TRY_WITHIN_S)
        if first["type"] != "ready":
            return
        if self.conversation_id is not None:
            resume = {"type": "resume", "conversation_id": self.conversation_id, "after_seq": self.view.last_seq}
            await socket.send_str(json.dumps(resume))
        self._socket = socket
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            frame = json.loads(message.data)
            kind, key = frame["type"], frame.get("client_message_id")
            if kind == "message_accepted" and key in self._by_key:
                self.conversation_id = frame["conversation_id"]
                # Every receipt counts, also one that came after its sender had lost patience.
                self._by_key[key].acknowledged.add(frame["message_id"])
                waiting = self._receipts.get(key)
                if waiting is not None and not waiting.done():
                    waiting.set_result(frame["message_id"])
            if kind == "error":
                self._refused(frame)
                if frame.get("conversation_id") and key is None:
                    return  # the stream could not be followed: a new socket resumes it
                continue
            self.view.take(frame)

    def _refused(self, frame: dict[str, Any]) -> None:
        waiting = self._receipts.get(frame.get("client_message_id") or "")
        if waiting is not None and not waiting.done():
            # 5xx codes of the contract mean: again later. Whatever else is refused stays refused.
            waiting.set_exception(OSError(frame["code"]))

    def _break_receipts(self) -> None:
        for waiting in self._receipts.values():
            if not waiting.done():
                waiting.set_exception(OSError("the socket broke"))
                waiting.exception()  # seen: the sender may have gone on


class Refused(Exception):
    """A 4xx answer: to send it again would not help."""
