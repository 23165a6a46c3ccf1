"""Runs the bundled servers for as long as the caller wants them: `run_embedded`. Called by the CLI and the tests."""

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

from chatwright.app.embedded import processes
from chatwright.app.embedded.account import choose_account
from chatwright.app.embedded.binaries import find_binaries, reachable
from chatwright.app.embedded.errors import DiskFull, EmbeddedError
from chatwright.app.embedded.home import (
    Home,
    RunningProcess,
    RunningServers,
    drop_runtime_dir,
    hold_data_dir,
    load_secrets,
    make_runtime_dir,
    make_secrets,
    open_home,
    save_secrets,
)
from chatwright.app.embedded.postgres import ROLE, SUPERUSER, Postgres
from chatwright.app.embedded.supervise import Server
from chatwright.app.embedded.valkey import Valkey

_log = structlog.get_logger(__name__)
_FIRST_START_BYTES = 200 * 1024 * 1024  # a new cluster is 40 MB, its log grows to 64 MB at once


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServers:
    """Addresses that stay the same as long as the servers are held, also when one of them is started again.

    An address is an empty string if that server was not asked for. `superuser_database_url` is for drills and tests.
    """

    data_dir: Path
    database_url: str = field(repr=False)  # the addresses hold passwords
    superuser_database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    _servers: dict[str, Server] = field(repr=False)

    @property
    def postgres_pid(self) -> int | None:
        """The process of the moment: another one after a restart. None if PostgreSQL was not asked for."""
        return _pid_of(self._servers, "postgres")

    @property
    def valkey_pid(self) -> int | None:
        """The process of the moment: another one after a restart. None if Valkey was not asked for."""
        return _pid_of(self._servers, "valkey")


def _pid_of(servers: dict[str, Server], name: str) -> int | None:
    server = servers.get(name)
    return None if server is None else server.pid


@asynccontextmanager
async def run_embedded(
    data_dir: Path,
    *,
    postgres: bool = True,
    valkey: bool = True,
    durable: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> AsyncGenerator[EmbeddedServers]:
    """Start the servers on `data_dir` (made if missing), keep them running, stop them at the end: Valkey first.

    Survives a kill -9 of this process at any point: the next start stops what was left and goes on with the data.
    `durable=False` is for tests: nothing is synced to disk. `on_progress` gets short lines to show.
    Raises AlreadyRunning if another process holds `data_dir`, EmbeddedError with a mend for all else.
    """
    tell = on_progress or _tell_log
    async with AsyncExitStack() as stack:
        with _disk_faults_translated(data_dir):
            home = await _open(stack, data_dir, tell)
            started = await _start(stack, home, postgres=postgres, valkey=valkey, durable=durable, tell=tell)
        yield started


async def _open(stack: AsyncExitStack, data_dir: Path, tell: Callable[[str], None]) -> Home:
    """Take the data directory for us alone, with nothing of an earlier run alive in it."""
    data_dir = stack.enter_context(hold_data_dir(data_dir))
    home = stack.enter_context(open_home(data_dir, choose_account(data_dir)))
    if not home.servers.is_relative_to(data_dir):
        tell(f"running as root: the servers' data are in {home.servers}")
    await processes.free_of_orphans(home, tell)
    home.drop_half_made()
    if (note := home.read_note()) is not None:
        drop_runtime_dir(Path(note.runtime_dir), home.account)
    return home


async def _start(
    stack: AsyncExitStack,
    home: Home,
    *,
    postgres: bool,
    valkey: bool,
    durable: bool,
    tell: Callable[[str], None],
) -> EmbeddedServers:
    """Start what is asked for, both at once; `stack` will stop it."""
    runtime_dir = make_runtime_dir(home)
    stack.callback(drop_runtime_dir, runtime_dir, home.account)
    stack.callback(home.drop_note)
    binaries = reachable(find_binaries(), home.account, home.servers, runtime_dir)
    known = load_secrets(home.data_dir)
    secrets = known or make_secrets()
    database = Postgres(home=home, binaries=binaries, runtime_dir=runtime_dir, secrets=secrets, durable=durable)
    queue = Valkey(home=home, binary=binaries.valkey, runtime_dir=runtime_dir, secrets=secrets, durable=durable)
    servers: dict[str, Server] = {}
    ready = asyncio.Event()

    def on_launch() -> None:
        with contextlib.suppress(OSError):  # a full disk must not end a server's watch
            write_note()

    # Stopped in reverse: Valkey before PostgreSQL.
    if postgres:
        servers["postgres"] = database.server(on_launch)
    if valkey:
        servers["valkey"] = queue.server(on_launch)
    urls = {
        "database_url": database.url(ROLE) if postgres else "",
        "superuser_database_url": database.url(SUPERUSER) if postgres else "",
        "redis_url": queue.url() if valkey else "",
    }

    def write_note() -> None:
        running = {name: _describe(server) for name, server in servers.items()}
        home.write_note(
            RunningServers(
                owner=RunningProcess.of(os.getpid()),
                ready=ready.is_set(),
                runtime_dir=str(runtime_dir),
                postgres=running.get("postgres"),
                valkey=running.get("valkey"),
                **urls,
            )
        )

    async def start_postgres() -> None:
        exists = database.exists()
        if known is None:
            if exists:
                tell("renewing the passwords: secrets.json is gone")
                await database.reset_passwords()
            save_secrets(home.data_dir, secrets)
        if not exists:
            _want_room(home)
            tell("setting up PostgreSQL")
            await database.set_up()
        tell("starting PostgreSQL")
        await servers["postgres"].start()
        await database.provide(tell)

    async def start_valkey() -> None:
        tell("starting Valkey")
        queue.prepare()
        await queue.start(servers["valkey"])

    write_note()  # names the runtime directory for the next start, should this one be killed
    for server in servers.values():
        stack.push_async_callback(_finish, server.stop, server.name)
    try:
        async with asyncio.TaskGroup() as group:
            if postgres:
                group.create_task(start_postgres(), name="embedded.start_postgres")
            elif known is None:
                save_secrets(home.data_dir, secrets)
            if valkey:
                group.create_task(start_valkey(), name="embedded.start_valkey")
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # one cause is enough to mend; the other task was cancelled for it
    ready.set()
    write_note()
    for server in servers.values():
        task = asyncio.create_task(server.watch(), name=f"embedded.watch_{server.name}")
        stack.push_async_callback(_end_watch, task)
    return EmbeddedServers(data_dir=home.data_dir, _servers=servers, **urls)


def _tell_log(line: str) -> None:
    _log.debug("embedded.progress", line=line)


def _describe(server: Server) -> RunningProcess | None:
    """The server's process for the note; None before its start and in the instant after its death."""
    try:
        return None if server.pid is None else RunningProcess.of(server.pid)
    except psutil.NoSuchProcess:
        return None


def _want_room(home: Home) -> None:
    free_bytes = shutil.disk_usage(home.servers).free
    if free_bytes < _FIRST_START_BYTES:
        raise DiskFull(
            f"Only {free_bytes // 2**20} MiB are free on the disk of {home.servers}; the first start needs "
            f"{_FIRST_START_BYTES // 2**20}. Free some disk space and start again."
        )


@contextlib.contextmanager
def _disk_faults_translated(data_dir: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        kind = DiskFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else EmbeddedError
        mend = "Free some disk space" if kind is DiskFull else "Check the disk and the owner of this path"
        raise kind(f"Cannot work in {data_dir}: {error}. {mend} and start again.") from error


async def _end_watch(task: asyncio.Task[None]) -> None:
    """Cancel the watch and wait for its end; whatever else ended it is logged, as the servers must still be stopped."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("server.watch_failed", exc_info=error)


async def _finish(stop: Callable[[], Coroutine[None, None, None]], name: str) -> None:
    """Stop a server to the end, even if we are cancelled (again) meanwhile. Bounded by the server's stop steps."""
    task = asyncio.create_task(stop(), name=f"embedded.stop_{name}")
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()
