"""Real servers for the tests: one PostgreSQL and one Valkey for the whole run, a database of its own for each test.

    servers         the pair, started once, when a test first asks; throw-away data (nothing is synced)
    database_url    a migrated database without a row for this test, as its owner `chatwright` (see tests/databases.py)
    superuser_url   the same database as the superuser
    valkey_url      a logical database of Valkey for this test, emptied before it (channels are shared by all)
    tmp_data_dir    an empty directory with a short path, fit for `run_embedded`

Every `async def test_…` runs on asyncio (anyio's plugin); async fixtures work. Only loopback may be connected to.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import itertools
import shutil
import sys
import tempfile
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis.asyncio

from chatwright.adapters.postgres.migrate import migrate
from chatwright.app.embedded import EmbeddedServers, run_embedded
from chatwright.app.embedded.account import choose_account
from chatwright.app.embedded.home import open_home
from chatwright.app.embedded.processes import free_of_orphans
from tests.databases import Databases

T = TypeVar("T")
_PREFIX = "cw-tests-"
_TEMPLATE = "chatwright_template"
_START_AT_MOST_S = 50.0
_CALL_AT_MOST_S = 20.0
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.option.anyio_mode = "auto"
    sys.addaudithook(_only_loopback)


_LONG = (
    "e2e/test_widget_access",
    "e2e/test_widget_network",
    "e2e/test_provider_keys",
    "e2e/test_widget_chat",
    "e2e/test_up",
)
"""Files that take longest go first: the last one to begin decides when a run over several processes ends."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(name in item.nodeid for name in _LONG))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def _only_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = str(arguments[1][0])
    with contextlib.suppress(ValueError):
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            raise RuntimeError(f"a test tried to connect to {host}: tests talk to this machine only")


class _Background:
    """Holds the servers on an event loop in a thread of its own, so that no test's loop has to live on for them."""

    def __init__(self) -> None:
        self._ready: Future[EmbeddedServers] = Future()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="test-servers", daemon=True)
        self.databases: Databases | None = None

    def start(self) -> EmbeddedServers:
        self._thread.start()
        return self._ready.result(_START_AT_MOST_S)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_START_AT_MOST_S)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the servers' loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_AT_MOST_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._hold())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._loop.close()

    async def _hold(self) -> None:
        await _sweep()
        with _short_directory(_PREFIX) as directory:
            async with run_embedded(directory, durable=False) as servers:
                superuser_url = servers.superuser_database_url
                admin = await asyncpg.connect(_at(superuser_url, "postgres"), timeout=10)
                try:
                    await admin.execute(
                        f"CREATE DATABASE {_TEMPLATE} TEMPLATE chatwright OWNER chatwright", timeout=_CALL_AT_MOST_S
                    )
                    await migrate(_at(servers.database_url, _TEMPLATE))
                    self.databases = Databases(admin, _TEMPLATE, lambda name: _at(superuser_url, name))
                    self._ready.set_result(servers)
                    await self._over.wait()
                    await self.databases.close()
                finally:
                    await admin.close(timeout=5)


async def _sweep() -> None:
    """Stop and remove what runs of ours left behind when they were killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (directory / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open_home(directory, choose_account(directory)) as home:
                await free_of_orphans(home, print)
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _short_directory(prefix: str) -> Generator[Path]:
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _at(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
def _background() -> Generator[tuple[_Background, EmbeddedServers]]:
    background = _Background()
    servers = background.start()
    yield background, servers
    background.stop()


@pytest.fixture(scope="session")
def servers(_background: tuple[_Background, EmbeddedServers]) -> EmbeddedServers:
    return _background[1]


@pytest.fixture
def _database(_background: tuple[_Background, EmbeddedServers]) -> Generator[str]:
    background, _ = _background
    assert background.databases is not None
    name = background.call(background.databases.lend())
    yield name
    background.call(background.databases.take_back(name))


@pytest.fixture
def database_url(servers: EmbeddedServers, _database: str) -> str:
    return _at(servers.database_url, _database)


@pytest.fixture
def superuser_url(servers: EmbeddedServers, _database: str) -> str:
    return _at(servers.superuser_database_url, _database)


@pytest.fixture
def valkey_url(_background: tuple[_Background, EmbeddedServers]) -> str:
    background, servers = _background
    # 0 is left to those who forget to choose; the server has 64.
    url = servers.redis_url.replace("&db=0", f"&db={next(_numbers) % 63 + 1}")

    async def empty() -> None:
        async with redis.asyncio.from_url(url, socket_timeout=5) as client:
            await client.flushdb()

    background.call(empty())
    return url


@pytest.fixture
def tmp_data_dir() -> Generator[Path]:
    with _short_directory("cw-") as directory:
        directory.chmod(0o755)  # under root the servers run as another user, who has to pass
        yield directory
