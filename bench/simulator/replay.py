"""Serve one prepared answer, its body cut at chosen byte borders: recorded traffic for the tests of the wire formats."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

_DROPPED = {"content-length", "transfer-encoding", "connection", "content-encoding"}


@dataclass(slots=True)
class Replay:
    """A server on a free loopback port that gives the same answer to every request; change the fields at any time."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    pieces: Sequence[bytes] = ()
    """The body as it leaves: each piece is its own HTTP chunk and its own write."""
    close_early: bool = False
    """Close after the last piece without the end of the chunked body."""
    hang: bool = False
    """Keep the connection open after the last piece and send nothing more."""
    pause_s: float = 0.0
    """Before each piece."""
    requests: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    """Head and body of every request that came."""
    open_connections: int = 0
    connections_seen: int = 0
    port: int = 0

    @property
    def base_url(self) -> str:
        """The base URL of an OpenAI-compatible API on this server."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request by request."""
        self.open_connections += 1
        self.connections_seen += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                self.requests.append((head, await reader.readexactly(length)))
                headers = "".join(f"{k}: {v}\r\n" for k, v in self.headers.items() if k.lower() not in _DROPPED)
                writer.write(f"HTTP/1.1 {self.status} -\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode())
                for piece in self.pieces:
                    await asyncio.sleep(self.pause_s)
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
                if self.close_early:
                    return
                if self.hang:
                    # Until the client closes: then this read ends.
                    await reader.read()
                    return
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.open_connections -= 1
            writer.close()


def cut(body: bytes, borders: Sequence[int]) -> list[bytes]:
    """The body in pieces, cut before each of the ascending offsets `borders`."""
    edges = [0, *borders, len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges) if b > a]


def cut_every(body: bytes, size: int) -> list[bytes]:
    """The body in pieces of `size` bytes."""
    return cut(body, range(size, len(body), size))


@contextlib.asynccontextmanager
async def run_replay(
    body: bytes | str = b"", *, status: int = 200, headers: Mapping[str, str] | None = None
) -> AsyncGenerator[Replay]:
    """A Replay that serves `body` in one piece until told otherwise."""
    data = body.encode() if isinstance(body, str) else body
    replay = Replay(status, headers or {"content-type": "text/event-stream"}, [data] if data else [])
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(replay.serve(reader, writer), name="replay connection")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    replay.port = server.sockets[0].getsockname()[1]
    try:
        yield replay
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
