"""What the pool says when the server ends a connection at an unlucky moment."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest

from chatwright.adapters.postgres import open_database
from chatwright.domain.errors import Unavailable

FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
FAREWELL = b"E" + (len(FIELDS) + 4).to_bytes(4) + FIELDS


class Relay:
    """A TCP address of the server of the tests that can put words into the server's mouth."""

    def __init__(self) -> None:
        self.address = ""
        self._clients: list[asyncio.StreamWriter] = []

    def say(self, message: bytes) -> None:
        for client in self._clients:
            client.write(message)

    @asynccontextmanager
    async def open(self, database_url: str) -> AsyncGenerator[None]:
        parts = urlsplit(database_url)
        query = parse_qs(parts.query)
        socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        serving: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(socket)
            self._clients.append(writer)
            async with asyncio.TaskGroup() as group:
                for source, target in ((reader, upstream_writer), (upstream_reader, writer)):
                    serving.add(group.create_task(_pump(source, target)))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        credentials = parts.netloc.rpartition("@")[0]
        self.address = urlunsplit((parts.scheme, f"{credentials}@{host}:{port}", parts.path, "sslmode=disable", ""))
        try:
            yield
        finally:
            server.close()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


async def test_a_connection_that_was_told_to_end_is_unavailable_once_and_then_another_is_used(
    database_url: str,
) -> None:
    relay = Relay()
    async with (
        relay.open(database_url),
        open_database(relay.address, min_connections=1, max_connections=1) as database,
    ):
        assert len(await database.operator_fetch("SELECT 1 AS one")) == 1
        relay.say(FAREWELL)  # and the connection stays open: its end is on the way
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await database.operator_fetch("SELECT 1 AS one")
        assert len(await database.operator_fetch("SELECT 1 AS one")) == 1
        async with database.operator() as db:
            assert await db.fetchval("SELECT 1") == 1
        relay.say(FAREWELL)
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            async with database.operator() as db:
                await db.fetchval("SELECT 1")
        async with database.operator() as db:
            assert await db.fetchval("SELECT 1") == 1
