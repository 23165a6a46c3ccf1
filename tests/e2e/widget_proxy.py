"""A TCP proxy between browser and server that behaves like a bad network: cuts, stalls, refuses, moves on.

Used by the browser tests of the widget. It runs on an event loop in a thread of its own, so that synchronous tests can
turn its knobs while a page is busy.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_CALL_WITHIN_S = 10.0
_PIECE_BYTES = 64 * 1024
_UPGRADE = b"upgrade: websocket"


@dataclass(slots=True, eq=False)
class Link:
    """One connection through the proxy. `is_socket`: it began with a WebSocket handshake."""

    browser: asyncio.StreamWriter
    is_socket: bool = False
    left_bytes: int | None = None
    """What the server may still send before the link is cut; None: as much as it likes."""


class Proxy:
    """`url` stands in for the server's. Knobs may be turned at any time, from any thread."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.sockets_seen = 0
        self.cuts_made = 0
        """Of WebSockets."""
        self._plan: Iterator[int] = iter(())
        self._refuse: Callable[[bool], bool] = lambda _is_socket: False
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # Knobs ----------------------------------------------------------------------------------------------------------

    def cut(self, *, sockets_only: bool = False) -> int:
        """Break the living connections with an RST. Returns how many."""

        async def act() -> int:
            victims = [link for link in self._links if link.is_socket or not sockets_only]
            for link in victims:
                self._break(link)
            self.cuts_made += sum(link.is_socket for link in victims)
            return len(victims)

        return self._call(act())

    def cut_sockets_after(self, plan: Iterator[int]) -> None:
        """Let each coming WebSocket carry so many bytes from the server, the handshake not counted, then break it."""
        self._plan = plan

    def stall(self) -> None:
        """Carry nothing more either way; connections stay open, as when a laptop leaves the room."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)

    def refuse(self, *, sockets_only: bool = False) -> None:
        """Break new connections at once. Living ones stay."""
        self._refuse = (lambda is_socket: is_socket) if sockets_only else (lambda _is_socket: True)

    def accept(self) -> None:
        self._refuse = lambda _is_socket: False

    # Running --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

        async def listen() -> None:
            self._flowing.set()
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]

        self._call(listen())

    def stop(self) -> None:
        async def end() -> None:
            assert self._server is not None
            self._server.close()
            self._flowing.set()
            await asyncio.sleep(0)  # a connection that was just taken gets its task
            for link in list(self._links):
                self._break(link)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_CALL_WITHIN_S / 2)  # a broken link ends its task
            await asyncio.sleep(0.05)  # closed transports let go of their sockets in the loop's next rounds

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_WITHIN_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_WITHIN_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = Link(writer)
        self._links.add(link)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._carry(link, reader)
        finally:
            self._links.discard(link)
            self._tasks.discard(task)
            writer.close()

    async def _carry(self, link: Link, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        link.is_socket = _UPGRADE in head.lower()
        if self._refuse(link.is_socket):
            self._break(link)
            return
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
        try:
            upstream.write(head)
            if link.is_socket:
                self.sockets_seen += 1
                await self._send(link, link.browser, await upstream_reader.readuntil(b"\r\n\r\n"))
                link.left_bytes = next(self._plan, None)
            up = asyncio.create_task(self._pump(link, reader, upstream), name="proxy-up")
            down = asyncio.create_task(self._pump(link, upstream_reader, link.browser), name="proxy-down")
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            upstream.close()

    async def _pump(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await self._send(link, writer, piece)

    async def _send(self, link: Link, writer: asyncio.StreamWriter, piece: bytes) -> None:
        await self._flowing.wait()
        is_down = writer is link.browser
        if is_down and link.left_bytes is not None:
            piece, link.left_bytes = piece[: link.left_bytes], link.left_bytes - len(piece)
        writer.write(piece)
        await writer.drain()
        if is_down and link.left_bytes is not None and link.left_bytes <= 0:
            # A FIN, not an RST, so that what was let through arrives: the cut falls where the plan has it.
            self.cuts_made += 1
            writer.close()

    def _break(self, link: Link) -> None:
        raw: socket.socket | None = link.browser.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.browser.transport.abort()


@contextmanager
def run_proxy(target_port: int) -> Generator[Proxy]:
    """A proxy in front of `target_port` of this machine."""
    proxy = Proxy(target_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
