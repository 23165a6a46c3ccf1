"""Asks questions at a steady rate, over `/v1` streams and as queued messages on WebSockets, and notes what comes back."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bench.drill.providers.evidence import Question

_READY_WITHIN_S = 10.0
_LISTENERS_AT_MOST = 400


class Asker:
    """One tenant's chatbot, asked over either way."""

    def __init__(
        self, session: aiohttp.ClientSession, *, base_url: str, key: str, chatbot: str, patience_s: float
    ) -> None:
        """`patience_s` after which an answer counts as never ended."""
        self._session = session
        self._base_url = base_url
        self._key = key
        self._chatbot = chatbot
        self._patience_s = patience_s
        self._idle: list[_Socket] = []
        self._room = asyncio.Semaphore(_LISTENERS_AT_MOST)

    async def ask(self, question: Question) -> None:
        """Ask and read to the end. Whatever happens is written into the question; raises CancelledError only."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(self._patience_s):
                if question.way == "stream":
                    await self._stream(question, began_s)
                else:
                    await self._say(question, began_s)
        except TimeoutError:
            question.ended, question.said = "", f"no end within {self._patience_s:g} s; {question.said}"
        except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            question.ended, question.said = "broken", repr(error)[:200]
        question.took_s = time.monotonic() - began_s

    async def steadily(self, questions: Sequence[Question], *, rate_per_s: float) -> None:
        """One after the other at this rate, however long each takes; ends when the last one has."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as asking:
            for number, question in enumerate(questions):
                await asyncio.sleep(max(0.0, began_s + number / rate_per_s - time.monotonic()))
                asking.create_task(self.ask(question), name=f"asks {question.key}")

    async def _stream(self, question: Question, began_s: float) -> None:
        body = {"model": self._chatbot, "messages": [{"role": "user", "content": question.text}], "stream": True}
        headers = {"authorization": f"Bearer {self._key}"}
        url = self._base_url + "/v1/chat/completions"
        finished = False
        async with self._session.post(url, json=body, headers=headers) as response:
            if response.status != 200:
                question.ended, question.said = "error", f"{response.status} {(await response.text())[:200]}"
                return
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                if line.startswith(b"data: [DONE]"):
                    question.ended = "complete" if finished else "broken"
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    question.ended = "partial" if question.shown else "error"
                    question.said = json.dumps(event["error"])[:200]
                    continue
                for choice in event["choices"]:
                    _show(question, choice["delta"].get("content") or "", began_s)
                    finished = finished or bool(choice["finish_reason"])
        if not question.ended:
            question.ended, question.said = "broken", "the stream ended without an end"

    async def _say(self, question: Question, began_s: float) -> None:
        async with self._socket() as socket:
            await socket.say(question, self._chatbot, began_s)

    @asynccontextmanager
    async def _socket(self) -> AsyncGenerator["_Socket"]:
        """A socket that nobody uses; put back if its answer ended well, closed otherwise."""
        async with self._room:
            socket = None
            while self._idle and (socket is None or socket.closed):
                socket = self._idle.pop()
            if socket is None or socket.closed:
                url = self._base_url.replace("http", "ws", 1) + "/api/v1/ws"
                socket = _Socket(await self._session.ws_connect(url, max_msg_size=1 << 20))
                await socket.authenticate(self._key)
            try:
                yield socket
            except BaseException:
                await socket.close()
                raise
            self._idle.append(socket)

    async def close(self) -> None:
        """Close the sockets that wait for the next question."""
        while self._idle:
            await self._idle.pop().close()


def _show(question: Question, text: str, began_s: float) -> None:
    if text and question.first_s is None:
        question.first_s = time.monotonic() - began_s
    question.shown += text


class _Socket:
    """One WebSocket, one question at a time, each in a conversation of its own. Always read: the server pings."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._frames: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(10_000)
        self._reader = asyncio.create_task(self._read(), name="reads a socket")

    @property
    def closed(self) -> bool:
        return self._reader.done()

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._frames.put(json.loads(message.data))
        finally:
            with contextlib.suppress(asyncio.QueueFull):
                self._frames.put_nowait(None)

    async def authenticate(self, key: str) -> None:
        """Raises OSError when refused."""
        await self._socket.send_str(json.dumps({"type": "auth", "token": key}))
        async with asyncio.timeout(_READY_WITHIN_S):
            frame = await self._next()
        if frame["type"] != "ready":
            raise OSError(f"auth: {frame}")

    async def say(self, question: Question, chatbot: str, began_s: float) -> None:
        body = {"type": "message", "text": question.text, "client_message_id": question.key, "chatbot": chatbot}
        await self._socket.send_str(json.dumps(body))
        message_id = None
        while True:
            frame = await self._next()
            kind = frame["type"]
            if kind == "message_accepted" and frame.get("client_message_id") == question.key:
                message_id = frame["message_id"]
                continue
            if kind == "error" and message_id is None:
                question.ended, question.said = "error", json.dumps(frame)[:200]
                return
            if frame.get("message_id") != message_id or message_id is None:
                continue
            match kind:
                case "stream_chunk":
                    _show(question, frame["chunk"], began_s)
                case "stream_reset":
                    question.shown = ""
                case "message_replace":
                    question.shown = frame["text"]
                case "stream_complete":
                    question.ended = "complete"
                    return
                case "stream_error":
                    question.said = json.dumps(
                        {name: frame.get(name) for name in ("code", "message", "partial", "state")}
                    )
                    question.ended = "partial" if frame.get("partial") else "error"
                    return
                case _:
                    pass

    async def close(self) -> None:
        with contextlib.suppress(OSError, aiohttp.ClientError):
            await self._socket.close()
        self._reader.cancel()
        await asyncio.wait({self._reader})

    async def _next(self) -> dict[str, Any]:
        frame = await self._frames.get()
        if frame is None:
            raise OSError(f"the socket ended: {self._socket.close_code}")
        return frame
