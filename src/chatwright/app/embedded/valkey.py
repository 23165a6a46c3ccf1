"""The bundled Valkey: settings, address, and a start that survives a damaged append-only file. Called by `run`."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog

from chatwright.app.embedded import processes
from chatwright.app.embedded.errors import EmbeddedError
from chatwright.app.embedded.home import Home, Secrets
from chatwright.app.embedded.supervise import Server

_log = structlog.get_logger(__name__)
_SOCKET = "valkey.sock"
_LOADING_AT_MOST_S = 600.0
_DAMAGED = ("reading the append only file", "append only file", "AOF manifest", "appendonlydir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """One server in `home`, reached by a unix socket and a password."""

    home: Home
    binary: Path
    runtime_dir: Path
    secrets: Secrets
    durable: bool

    def url(self) -> str:
        """An address for redis-py and bullmq."""
        return f"unix://{quote(str(self.runtime_dir / _SOCKET))}?password={quote(self.secrets.valkey, safe='')}&db=0"

    def prepare(self) -> None:
        self.home.valkey.mkdir(mode=0o700, exist_ok=True)
        self.home.account.give(self.home.valkey)

    def server(self, on_launch: Callable[[], None]) -> Server:
        return Server(
            name="Valkey",
            log_path=self.home.logs / "valkey.log",
            launch=self._launch,
            answers=self._answers,
            on_launch=on_launch,
            # SIGTERM is SHUTDOWN: it writes and syncs the append-only file.
            stop_steps=((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)),
            ready_at_most_s=_LOADING_AT_MOST_S,
        )

    async def start(self, server: Server) -> None:
        """Start; if the append-only file is damaged beyond its tail, set it aside and start empty.

        That is safe: PostgreSQL is the truth, and whatever the queue lost is put back by the sweeper.
        """
        try:
            await server.start()
        except EmbeddedError as error:
            files = self.home.valkey / "appendonlydir"
            if not files.is_dir() or not any(words in error.message for words in _DAMAGED):
                raise
            aside = files.with_name(f"appendonlydir.damaged-{int(time.time())}")
            files.rename(aside)
            _log.error("valkey.append_only_file_damaged", set_aside=str(aside), message=error.message)
            await server.start()

    def _configuration(self) -> str:
        settings = {
            "port": "0",
            "unixsocket": str(self.runtime_dir / _SOCKET),
            "unixsocketperm": "700",
            "requirepass": self.secrets.valkey,
            "databases": "64",
            "daemonize": "no",
            "dir": "./",  # the working directory: its path may hold what this file cannot quote
            "save": '""',
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            # A queue must refuse work, never forget it.
            "maxmemory-policy": "noeviction",
            # Delayed jobs wake on this clock: at 100 their lateness is 9 ms (median).
            "hz": "100",
            "loglevel": "notice",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _launch(self) -> subprocess.Popen[bytes]:
        # Settings go through a pipe: Valkey takes a file's path for a pattern (a "?" in it, and no file is found), and
        # the password is in no file of the account. The port is said twice, as without settings it would open one.
        argv = [self.binary, "-", "--port", "0"]
        log_path = self.home.logs / "valkey.log"
        return processes.spawn(argv, self.home, cwd=self.home.valkey, log_path=log_path, feed=self._configuration())

    async def _answers(self, pid: int) -> bool:  # noqa: ARG002 # the socket's directory is private: nobody else answers there
        reader, writer = await asyncio.open_unix_connection(str(self.runtime_dir / _SOCKET))
        try:
            writer.write(f"AUTH {self.secrets.valkey}\r\nPING\r\n".encode())
            await reader.readline()
            return (await reader.readline()).startswith(b"+PONG")  # "-LOADING …" while it reads its file
        finally:
            writer.close()
