"""One pipelined connection to Valkey for hot paths: every command shares it, replies come back in order.

redis-py lends a whole connection per command and costs 60 to 105 µs of CPU each; here a command costs 3 to 7 µs as
soon as a few run at once, because writes and replies travel together. `log.py` and `channel.py` stand on it; any room
may run its scripts on it (`Script` takes both kinds of client).
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from chatwright.adapters.valkey.client import refusal
from chatwright.domain.errors import Unavailable

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0
MAX_PENDING = 20_000  # replies awaited at once; more means that Valkey stands still while callers pile up

_pack = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # its stub forgets the tuple's length


class LinkLost(Unavailable):
    """The connection broke before the reply came: the command may or may not have run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a Valkey listens, and as whom to speak to it."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    tls: SSLContext | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Read ``redis://``, ``rediss://`` or ``unix://`` as redis-py does. Raises ValueError for anything else."""
        options = dict(cast("dict[str, Any]", parse_url(url)))
        kind = options.pop("connection_class", None)
        tls: SSLContext | None = None
        if kind is SSLConnection:
            tls = SSLConnection(**options).ssl_context.get()
        return cls(
            host=options.get("host", "localhost"),
            port=int(options.get("port", 6379)),
            path=options["path"] if kind is UnixDomainSocketConnection else None,
            tls=tls,
            username=options.get("username"),
            password=options.get("password"),
            db=int(options.get("db", 0)),
        )


class Wire(asyncio.Protocol):
    """A socket that speaks RESP: hands each reply to `on_reply`, and its end to `lost`."""

    def __init__(self, on_reply: Callable[[Any], None]) -> None:
        self.on_reply = on_reply
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard_at_s = 0.0
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._clock = asyncio.get_running_loop().time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.heard_at_s = self._clock()

    def data_received(self, data: bytes) -> None:
        self.heard_at_s = self._clock()
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                self.on_reply(reply)
        except hiredis.ProtocolError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, *arguments: Any) -> None:
        """Write one command. A lost connection swallows it: `lost` tells."""
        if self._transport is not None:
            self._transport.write(_pack(arguments))

    def send_all(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Write several commands at once."""
        if self._transport is not None:
            self._transport.write(b"".join([_pack(command) for command in commands]))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def connect(endpoint: Endpoint, *, timeout_s: float) -> Wire:
    """Connect and log in. Raises Unavailable within `timeout_s`. The caller sets `on_reply` before it sends."""
    loop = asyncio.get_running_loop()
    greeting: list[tuple[Any, ...]] = []
    if endpoint.password is not None:
        user = (endpoint.username,) if endpoint.username else ()
        greeting.append(("AUTH", *user, endpoint.password))
    greeting.append(("SELECT", endpoint.db))  # always: a server that is still loading its data shows itself here
    replies: list[Any] = []
    greeted: asyncio.Future[None] = loop.create_future()

    def on_reply(reply: Any) -> None:
        replies.append(reply)
        if len(replies) == len(greeting) and not greeted.done():
            greeted.set_result(None)

    wire: Wire | None = None
    try:
        async with asyncio.timeout(timeout_s):
            if endpoint.path is not None:
                _, wire = await loop.create_unix_connection(lambda: Wire(on_reply), endpoint.path)
            else:
                _, wire = await loop.create_connection(
                    lambda: Wire(on_reply), endpoint.host, endpoint.port, ssl=endpoint.tls
                )
            for command in greeting:
                wire.send(*command)
            await asyncio.wait({greeted, wire.lost}, return_when=asyncio.FIRST_COMPLETED)
        if not greeted.done():
            raise ConnectionResetError("the connection was closed during the greeting")
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise ConnectionRefusedError(str(reply))
    except BaseException as error:
        if wire is not None:
            wire.abort()
        if isinstance(error, OSError):  # TimeoutError is one
            raise Unavailable(f"Valkey cannot be reached: {error or 'no answer in time'}") from error
        raise
    return wire


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end. Raises what it failed with, if it failed before."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


class Link:
    """Commands over one connection that mends itself. Make it with `open_link`."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self._wire: Wire | None = None
        self._pending: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        self._failure: Unavailable | None = None  # why there is no connection
        self._clock = asyncio.get_running_loop().time

    @property
    def connected(self) -> bool:
        return self._wire is not None

    async def execute(self, *arguments: bytes | str | float) -> Any:
        """Send one command and return its reply: bytes, int, None or a list of these.

        While the connection is down it waits up to `timeout_s` for the next one. Raises LinkLost when the connection
        broke under the command, Unavailable when there is none, ChatwrightError when the server refused the command.
        """
        reply = await self.raw(*arguments)
        if isinstance(reply, hiredis.ReplyError):
            raise refusal(str(reply))
        return reply

    async def raw(self, *arguments: bytes | str | float) -> Any:
        """Like `execute`, but an error reply is returned as a hiredis.ReplyError."""
        if self._wire is None:
            await self._connection()
        return await self.post(*arguments)

    def post(self, *arguments: bytes | str | float) -> asyncio.Future[Any]:
        """Send one command now. The future gets what `raw` returns, or LinkLost; whoever gives up on it may end it.

        Raises Unavailable when there is no connection.
        """
        if len(self._pending) >= MAX_PENDING:
            raise Unavailable("Valkey does not keep up: too many commands wait for their reply")
        wire = self._wire
        if wire is None:
            raise Unavailable("Valkey is not connected")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append((self._clock(), future))
        wire.send(*arguments)
        return future

    def post_all(
        self,
        commands: Sequence[tuple[bytes | str | float, ...]],
        replies: Sequence[asyncio.Future[Any]] | None = None,
    ) -> Sequence[asyncio.Future[Any]]:
        """Send several commands in one write: a system call for each costs more than the commands. Their replies go to
        `replies`, if the caller has futures for them already. See `post`."""
        if len(self._pending) + len(commands) > MAX_PENDING:
            raise Unavailable("Valkey does not keep up: too many commands wait for their reply")
        wire = self._wire
        if wire is None:
            raise Unavailable("Valkey is not connected")
        loop, now_s = asyncio.get_running_loop(), self._clock()
        futures = [loop.create_future() for _ in commands] if replies is None else replies
        self._pending.extend((now_s, future) for future in futures)
        wire.send_all(commands)
        return futures

    async def _connection(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(self.timeout_s):
                await future
        except TimeoutError as error:
            raise Unavailable(self._failure.message if self._failure else "Valkey cannot be reached") from error
        finally:
            self._waiting.discard(future)

    def _on_reply(self, reply: Any) -> None:
        future = self._pending.popleft()[1]
        if not future.done():  # its caller was cancelled
            future.set_result(reply)

    async def run(self) -> None:
        """Keep the connection up until cancelled. `open_link` is the parent of this."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                wire = await connect(self.endpoint, timeout_s=self.timeout_s)
            except Unavailable as failure:
                self._failure = failure
                await asyncio.sleep(pause_s * (0.5 + random.random() / 2))  # noqa: S311 - spreads reconnects
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            self._failure = None
            wire.on_reply = self._on_reply
            self._wire = wire
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)
            try:
                await self._watch(wire)
            finally:
                self._wire = None
                wire.abort()
                lost, self._pending = self._pending, deque()
                for _, future in lost:
                    if not future.done():
                        future.set_exception(LinkLost("the connection to Valkey broke"))

    async def _watch(self, wire: Wire) -> None:
        # One look at the oldest command replaces a timer per command: replies come in order.
        while not wire.lost.done():
            await asyncio.wait({wire.lost}, timeout=self.timeout_s / 4)
            if self._pending and self._clock() - self._pending[0][0] > self.timeout_s:
                return


@asynccontextmanager
async def open_link(url: str, *, timeout_s: float = 2.0) -> AsyncGenerator[Link]:
    """Yield a Link. It connects in the background: a Valkey that is away shows at the first command."""
    link = Link(Endpoint.parse(url), timeout_s=timeout_s)
    task = asyncio.create_task(link.run(), name="valkey-link")
    try:
        yield link
    finally:
        await stop(task)
