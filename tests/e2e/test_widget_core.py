"""The widget's core, in Node, against the real server over lines that break all the time: nothing lost, nothing doubled."""

import asyncio
import json
import random
import subprocess
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.widget_node import need_node

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

_ROOT = Path(__file__).parents[2]
_DROPS = 200
_VISITORS = 3
_TABS = 2
_ENOUGH_WITHIN_S = 150


class _Frames:
    """Where the frames of one WebSocket end, in the bytes of a server (unmasked) as they come."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._at = 0

    def ends(self, data: bytes) -> list[int]:
        """The places in `data` behind which a frame is complete."""
        before = len(self._rest) - self._at
        self._rest = self._rest[self._at :] + data
        self._at = 0
        found: list[int] = []
        while (size := self._size()) is not None and self._at + size <= len(self._rest):
            self._at += size
            found.append(self._at - before)
        return found

    def _size(self) -> int | None:
        head = self._rest[self._at : self._at + 10]
        if len(head) < 2:
            return None
        length, extra = head[1] & 0x7F, {126: 2, 127: 8}.get(head[1] & 0x7F, 0)
        if len(head) < 2 + extra:
            return None
        return 2 + extra + (int.from_bytes(head[2 : 2 + extra]) if extra else length)


class CuttingProxy:
    """Forwards TCP; a WebSocket is cut hard, in both directions, behind one of its first `frames_at_most` frames to the client.

    What counts is frames, not time: a slow machine is cut as often for each answer as a fast one. A few ms may pass between
    the frame and the cut, in which the client may have said something. `is_calm` stops the cutting. Everything else (tokens,
    histories) passes.
    """

    def __init__(self, target: str, *, seed: int, frames_at_most: int, enough: int) -> None:
        address = urlsplit(target)
        self._host, self._port = address.hostname or "", address.port or 80
        self._random = random.Random(seed)
        self._frames_at_most = frames_at_most
        self._enough = enough
        self.is_calm = False
        self.cuts = 0
        self.is_enough = threading.Event()
        self.port = 0

    async def serve(self, stop: asyncio.Event, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await stop.wait()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            back, there = await asyncio.open_connection(self._host, self._port)
            there.write(head)
            is_socket = head.startswith(b"GET /api/v1/ws ")
            if is_socket:
                # The handshake and `ready` always pass: what is cut is a connection, not an attempt at one.
                writer.write(await back.readuntil(b"\r\n\r\n"))
            cut = self._pump_frames(back, writer) if is_socket else self._pump(back, writer)
            pumps = [
                asyncio.create_task(self._pump(reader, there), name="to the server"),
                asyncio.create_task(cut, name="to the client"),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()

    async def _pump_frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The same up to the frame behind which this connection is cut: returns there."""
        left = self._random.randint(1, self._frames_at_most)
        linger_s = self._random.random() * 0.03
        frames = _Frames()
        while data := await reader.read(65_536):
            ends = frames.ends(data)
            is_last = not self.is_calm and len(ends) >= left
            writer.write(data[: ends[left - 1]] if is_last else data)
            await writer.drain()
            left -= len(ends)
            if is_last:
                await asyncio.sleep(linger_s)
                self.cuts += 1
                if self.cuts >= self._enough:
                    self.is_enough.set()
                return


@contextmanager
def cutting(target: str, *, seed: int, frames_at_most: int, enough: int) -> Generator[CuttingProxy]:
    """Run a proxy in a thread of its own; yields it with its port known."""
    proxy = CuttingProxy(target, seed=seed, frames_at_most=frames_at_most, enough=enough)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(proxy.serve(stop, ready))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    thread = threading.Thread(target=run, name="cutting proxy")
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.mark.drill
def test_200_drops_lose_nothing_and_double_nothing(live: "Live") -> None:
    slug = f"core-{uuid.uuid4().hex[:10]}"
    chatbot = {
        "name": slug,
        "slug": slug,
        "providers": [{"provider": "openai", "model": "sim:chunks=40,interval=25"}],
        # Equal answers would hide a mix-up between messages; the simulator marks none, so each is written anew.
        "cache_policy": {"mode": "off"},
    }
    made = live.http("POST", "/api/v1/chatbots", chatbot)
    assert made.status == 201, made.body
    with cutting(live.base_url, seed=9, frames_at_most=6, enough=_DROPS) as proxy:
        config = {
            "base": f"http://127.0.0.1:{proxy.port}",
            "widgetId": made.json["widget_id"],
            "tenantKey": live.tenant_key,
            "visitors": [str(uuid.uuid4()) for _ in range(_VISITORS)],
            "tabs": _TABS,
        }
        with subprocess.Popen(
            [need_node(), "--no-warnings", "widget/tests/core/live.ts", json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        ) as node:
            assert node.stdin is not None
            assert node.stdout is not None
            assert node.stderr is not None
            try:
                # The visitors ask until so many of their lines were cut, however long that takes here.
                assert proxy.is_enough.wait(_ENOUGH_WITHIN_S), (proxy.cuts, node.poll())
                proxy.is_calm = True
                node.stdin.write("calm\n")
                node.stdin.flush()
                last = node.stdout.readline()
                assert last, node.stderr.read()
                result: dict[str, Any] = json.loads(last)
                node.stdin.close()
                assert node.wait(15) == 0, "what the core started keeps the process alive"
            finally:
                node.kill()
    assert proxy.cuts >= _DROPS
    assert result["drops"] >= proxy.cuts, "a cut line that its end did not notice"
    for visit in result["visits"]:
        items = live.http("GET", f"/api/v1/conversations/{visit['conversation']}/messages?limit=200").json["items"]
        asked = [item for item in items if item["role"] == "visitor"]
        assert sorted(item["text"] for item in asked) == sorted(visit["sent"])  # each once
        answers = {item["message_id"]: item["text"] for item in items if item["role"] == "assistant"}
        stored = [[item["id"], item["text"], answers[item["id"]], "done"] for item in asked]
        for tab in visit["tabs"]:
            assert tab["turns"] == stored
            # Live, each piece was told once: the pieces joined are the answer.
            assert tab["told"] == answers
