"""`chatwright up`: everything on one machine, and nothing left of it afterwards.

This process supervises. It holds the data directory and the listening socket, runs PostgreSQL and Valkey, and keeps
two children alive: `api` and `worker`. Because the socket is ours, visitors who come while the API starts again wait a
moment instead of being refused. Stopping goes app → Valkey → PostgreSQL.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from chatwright.adapters.postgres.migrate import migrate
from chatwright.app.addresses import Addresses, base_url
from chatwright.app.children import Child, start
from chatwright.app.credentials import Credentials, read_credentials
from chatwright.app.embedded import AlreadyRunning, find_running, run_embedded
from chatwright.app.embedded.home import hold_data_dir
from chatwright.app.keyfile import ensure_key_file
from chatwright.app.listen import PortTaken, listening
from chatwright.app.options import Settings, SettingsError
from chatwright.app.settings import Loaded, all_options, to_environment
from chatwright.domain.errors import ChatwrightError

_READY_WITHIN_S = 60.0
_SEED_WITHIN_S = 300.0
_KILL_AFTER_S = 2.0  # beyond the children's own drain_s

log = structlog.get_logger(__name__)


class NotReady(ChatwrightError):
    """The parts were started but did not begin to work."""

    code = "not_ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What `up` says when everything works. `first_start` is True when keys were made just now."""

    base_url: str
    data_dir: Path
    credentials: Credentials = field(repr=False)
    first_start: bool
    took_s: float
    pids: Mapping[str, int | None]
    log_file: Path | None


class Teller(Protocol):
    """How the command line shows what happens. `quiet` keeps the children's logs off the screen, in a file."""

    quiet: bool

    def progress(self, line: str) -> None: ...
    def ready(self, ready: Ready) -> None: ...
    def stopping(self) -> None: ...


async def run_up(loaded: Loaded, teller: Teller) -> None:
    """Start everything, tell when it is ready, return when a stop signal came and all is stopped.

    Raises AlreadyRunning, PortTaken, NotReady, ChildFailed or an adapter's error, each with its mend.
    """
    children: list[Child] = []
    stopped = _StopOnSignal(children, teller)
    try:
        await _up(loaded, teller, children)
    except asyncio.CancelledError:
        if not stopped.asked:
            raise
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the one cause; the other tasks were cancelled for it


class _StopOnSignal:
    """The first Ctrl-C, SIGTERM or hang-up ends the work in order; the next one no longer waits for running answers."""

    def __init__(self, children: list[Child], teller: Teller) -> None:
        self.asked = False
        self._children = children
        self._teller = teller
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asked for SIGHUP to be ignored
                loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        if self.asked:
            for child in self._children:
                child.kill()
            return
        self.asked = True
        self._teller.stopping()
        assert self._task is not None
        self._task.cancel()


async def _up(loaded: Loaded, teller: Teller, children: list[Child]) -> None:
    settings, started_s = loaded.settings, time.monotonic()
    _refuse_second_start(settings)
    with _own_socket(settings) as listener:
        url = base_url(settings, listener.getsockname()[1])
        async with run_embedded(
            settings.data_dir,
            postgres=not settings.database_url,
            valkey=not settings.redis_url,
            on_progress=teller.progress,
        ) as servers:
            addresses = Addresses(
                database_url=settings.database_url or servers.database_url,
                redis_url=settings.redis_url or servers.redis_url,
            )
            for name in await migrate(addresses.database_url):
                teller.progress(f"applied {name}")
            ensure_key_file(settings)
            environment = _environment(loaded, addresses)
            log_file = _fresh_log(settings) if teller.quiet else None
            fd = listener.fileno()
            api = Child("api", ["api", "--fd", str(fd)], environment=environment, descriptors=[fd], log_file=log_file)
            named = {**environment, "CHATWRIGHT_WORKER_NAME": "worker"}
            worker = Child("worker", ["worker"], environment=named, log_file=log_file)
            children += [api, worker]
            async with _kept_alive(children, within_s=settings.drain_s + _KILL_AFTER_S):
                teller.progress("starting the API and the worker")
                made_keys = await _seed(environment, url, teller)
                await _wait_ready(listener)
                for child in children:
                    child.mark_working()
                pids = {"up": os.getpid(), "api": api.pid, "worker": worker.pid}
                teller.ready(
                    Ready(
                        base_url=url,
                        data_dir=settings.data_dir,
                        credentials=read_credentials(settings.data_dir) or Credentials(base_url=url),
                        first_start=made_keys,
                        took_s=time.monotonic() - started_s,
                        pids={**pids, "postgres": servers.postgres_pid, "valkey": servers.valkey_pid},
                        log_file=log_file,
                    )
                )
                await asyncio.Event().wait()


def _refuse_second_start(settings: Settings) -> None:
    """Explain before anything else is looked at: the port, say, is of course taken by the first one."""
    running = find_running(settings.data_dir)
    if running is None:
        return
    known = read_credentials(settings.data_dir)
    where = f" and serves {known.base_url}" if known is not None else ""
    taken = AlreadyRunning(settings.data_dir, running.owner.pid)
    taken.message = (
        f"chatwright already runs on {settings.data_dir} (process {running.owner.pid}){where}. Use that one, stop it "
        f"(Ctrl-C there, or kill {running.owner.pid}), or start another with --data-dir and --port"
    )
    raise taken


@contextmanager
def _own_socket(settings: Settings) -> Generator[socket.socket]:
    """The API's socket. Raises AlreadyRunning if it is a start under way on this data directory that has the port,
    else PortTaken."""
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(listening(settings))
        except PortTaken:
            if (settings.data_dir / "lock").exists():
                stack.enter_context(hold_data_dir(settings.data_dir))
            raise
        yield listener


def _fresh_log(settings: Settings) -> Path:
    """The file of this start's logs; the start before it is kept beside it."""
    file = settings.data_dir / "app.log"
    if file.exists():
        file.replace(settings.data_dir / "app.log.1")
    file.touch(mode=0o600)
    return file


def _environment(loaded: Loaded, addresses: Addresses) -> dict[str, str]:
    """What the children read: our environment and every option that was set anywhere, with the servers' addresses."""
    set_names = {declared.name for declared in all_options() if loaded.sources[declared.name] != "default"}
    return {
        **{name: value for name, value in os.environ.items() if name != "CHATWRIGHT_CONFIG"},
        **to_environment(loaded.settings, set_names),
        "CHATWRIGHT_DATA_DIR": str(loaded.settings.data_dir),
        "DATABASE_URL": addresses.database_url,
        "REDIS_URL": addresses.redis_url,
    }


@asynccontextmanager
async def _kept_alive(children: list[Child], *, within_s: float) -> AsyncGenerator[None]:
    """Run the children; on the way out ask all at once to stop, and kill who does not."""
    async with asyncio.TaskGroup() as group:
        for child in children:
            group.create_task(child.run(), name=f"up.{child.name}")
        try:
            yield
        finally:
            await asyncio.gather(*(child.stop(within_s=within_s) for child in children))


async def _seed(environment: Mapping[str, str], url: str, teller: Teller) -> bool:
    """Make keys and demo in a process that ends again, so that no model stays in this one's memory.

    Returns True if keys were made now. Raises NotReady with its words.
    """
    process = await start(["seed", "--base-url", url], environment=environment, stdout=asyncio.subprocess.PIPE)
    made_keys = False
    last: dict[str, Any] = {}
    try:
        async with asyncio.timeout(_SEED_WITHIN_S):
            assert process.stdout is not None
            async for line in process.stdout:
                with contextlib.suppress(ValueError):
                    last = json.loads(line)
                    made_keys = made_keys or bool(last.get("made_keys"))
                    if "progress" in last:
                        teller.progress(str(last["progress"]))
            code = await process.wait()
    except TimeoutError:
        raise NotReady(
            f"the demo was not ready in {_SEED_WITHIN_S:.0f} s; start with --no-demo to go without"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code != 0:
        error = last.get("error", {})
        said = error.get("message") or f"exit code {code}"
        if error.get("code") == SettingsError.code:
            raise SettingsError(said)
        raise NotReady(f"the demo could not be made: {said}. Start with --no-demo to go without")
    return made_keys


async def _wait_ready(listener: socket.socket) -> None:
    """Wait until the API says that it and a worker work. Raises NotReady with what it said last."""
    bound, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, str(bound))  # noqa: S104 - where to ask, not where to listen
    said = "it did not answer"
    give_up_at = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < give_up_at:
        try:
            async with asyncio.timeout(2):
                status, body = await _get(host, port, "/health/ready")
        except (OSError, TimeoutError, ValueError) as error:
            said = str(error) or "it did not answer in time"
        else:
            if status == 200:
                return
            said = f"{status} {body[:300]}"
        await asyncio.sleep(0.05)
    raise NotReady(
        f"the API was not ready within {_READY_WITHIN_S:.0f} s ({said}); `chatwright doctor` looks at each part"
    )


async def _get(host: str, port: int, path: str) -> tuple[int, str]:
    """One HTTP request without a client library: importing one costs this process 0.3 s and 20 MB."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        raw = await reader.read(65_536)
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split(None, 2)[1]), body.decode("utf-8", "replace")
