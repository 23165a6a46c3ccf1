"""The bundled PostgreSQL: first set-up, settings, addresses, and what must exist in it. Called by `run`.

Only a unix socket in a private directory, passwords (SCRAM) on top. Role `chatwright` owns the database `chatwright`,
is no superuser and may create roles; the superuser `postgres` creates the extension `vector` and serves drills.
"""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import asyncpg

from chatwright.app.embedded import processes
from chatwright.app.embedded.binaries import Binaries
from chatwright.app.embedded.errors import EmbeddedError, failure
from chatwright.app.embedded.home import Home, Secrets, write_private
from chatwright.app.embedded.supervise import Server

DATABASE = "chatwright"
ROLE = "chatwright"
SUPERUSER = "postgres"
_MAJOR_VERSION = "18"
_SET_UP_AT_MOST_S = 120.0
_RECOVERY_AT_MOST_S = 600.0  # after a crash the log since the last checkpoint is replayed, up to 1 GB of it
_ANSWER_AT_MOST_S = 30
_HBA = "# Written at each start: changes are lost.\nlocal all all scram-sha-256\n"

_SETTINGS = {
    "cluster_name": "chatwright",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # Nothing replicates from an embedded server: less is logged.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Queries are short; compiling them costs more than it saves.
    "jit": "off",
    # No helper processes for reading; the working set fits the page cache.
    "io_method": "sync",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    # Details quote column values, and those may be a visitor's words.
    "log_error_verbosity": "terse",
    "fsync": "on",
    "synchronous_commit": "on",
}
# For tests only: as fast as possible, lost with the machine's power.
_THROWAWAY_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One cluster in `home`. `durable` false is for throw-away data."""

    home: Home
    binaries: Binaries
    runtime_dir: Path
    secrets: Secrets
    durable: bool

    def url(self, role: Literal["chatwright", "postgres"], database: str = DATABASE) -> str:
        """An address for asyncpg and libpq; role, password and directory are percent-encoded."""
        password = self.secrets.superuser if role == SUPERUSER else self.secrets.application
        return f"postgresql://{role}:{quote(password, safe='')}@/{database}?host={quote(str(self.runtime_dir), safe='')}&port=5432"

    def exists(self) -> bool:
        """Has the cluster been set up? Raises EmbeddedError if what is there is not ours to start."""
        directory = self.home.postgres
        if not directory.exists():
            return False
        try:
            version = (directory / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise EmbeddedError(
                f"{directory} is not a PostgreSQL data directory (PG_VERSION is missing): restore it from a backup, "
                "or move it away to begin with empty data."
            ) from None
        except PermissionError:
            raise EmbeddedError(
                f"{directory} belongs to another user: start chatwright as the user that made it, "
                "or choose another --data-dir."
            ) from None
        if version != _MAJOR_VERSION:
            raise EmbeddedError(
                f"{directory} was made by PostgreSQL {version}, this is {_MAJOR_VERSION}: start it with the version of "
                "chatwright that made it, dump it there and load it here."
            )
        return True

    async def set_up(self) -> None:
        """Make the cluster beside its place and rename it there once it is whole and on disk. About 0.5 s."""
        locale = "C.UTF-8"  # for words in full-text search; order and case come from the built-in provider
        log_path = self.home.logs / "initdb.log"
        password_file = self.home.conf / "initdb.password"
        write_private(password_file, self.secrets.superuser.encode(), group=self.home.account.gid)
        try:
            while True:
                target = self.home.servers / f"postgres.new-{secrets.token_hex(4)}"
                target.mkdir(mode=0o700)
                self.home.account.give(target)
                since = processes.size_of(log_path)
                options = () if self.durable else ("--no-sync",)
                code = await self._run(
                    [
                        *(self.binaries.initdb, "-D", target, "-U", SUPERUSER, f"--pwfile={password_file}", *options),
                        *("--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions", "--locale=C"),
                        *(f"--lc-ctype={locale}", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                    ],
                    log_path,
                )
                if code == 0:
                    break
                words = processes.tail(log_path, since=since)
                shutil.rmtree(target, ignore_errors=True)
                if "invalid locale" not in words or locale == "C":
                    raise failure(f"PostgreSQL could not be set up in {self.home.servers}", words, log_path)
                locale = "C"
        finally:
            password_file.unlink(missing_ok=True)
        target.rename(self.home.postgres)
        directory = os.open(self.home.servers, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    async def reset_passwords(self) -> None:
        """Give both roles the passwords in `secrets`: the old ones are lost. The server must not run. About 0.3 s."""
        log_path = self.home.logs / "single-user.log"
        since = processes.size_of(log_path)
        self.drop_stale_pid_file()
        statement = (
            f"ALTER ROLE {SUPERUSER} PASSWORD '{self.secrets.superuser}';\n"
            f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN "
            f"ALTER ROLE {ROLE} PASSWORD '{self.secrets.application}'; END IF; END $$;\n"
        )
        argv = [self.binaries.postgres, "--single", "-D", self.home.postgres, "-c", "wal_level=minimal"]
        code = await self._run([*argv, "-c", "max_wal_senders=0", "postgres"], log_path, statement)
        words = processes.tail(log_path, since=since)
        if code != 0 or "ERROR:" in words:
            raise failure("The passwords of PostgreSQL could not be renewed", words, log_path)

    async def _run(self, argv: Sequence[str | Path], log_path: Path, text: str = "") -> int:
        """Run a program to its end and return its exit code; it is killed if we are cancelled or it takes too long."""
        process = processes.spawn(argv, self.home, cwd=self.home.servers, log_path=log_path, feed=text)
        try:
            if not await processes.wait_for_exit(process, _SET_UP_AT_MOST_S):
                raise EmbeddedError(f"{argv[0]} did not end within {_SET_UP_AT_MOST_S:.0f} s: is the disk very slow?")
        finally:
            if process.poll() is None:
                below = processes.children_of(process.pid)
                process.kill()
                processes.kill_all(below)
                process.wait(5)
        return process.returncode

    def server(self, on_launch: Callable[[], None]) -> Server:
        """The server under watch: fast shutdown first, then immediate, then kill."""
        return Server(
            name="PostgreSQL",
            log_path=self.home.logs / "postgres.log",
            launch=self._launch,
            answers=self._answers,
            leaving=self._leaving,
            on_launch=on_launch,
            stop_steps=((signal.SIGINT, 20.0), (signal.SIGQUIT, 8.0), (signal.SIGKILL, 5.0)),
            ready_at_most_s=_RECOVERY_AT_MOST_S,
        )

    def _launch(self) -> subprocess.Popen[bytes]:
        self.drop_stale_pid_file()
        files = {"hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}
        for name, content in (("pg_hba.conf", _HBA), ("pg_ident.conf", "")):
            write_private(self.home.conf / name, content.encode(), group=self.home.account.gid)
        settings = {
            **_SETTINGS,
            **({} if self.durable else _THROWAWAY_SETTINGS),
            **{setting: str(self.home.conf / name) for setting, name in files.items()},
            "unix_socket_directories": str(self.runtime_dir),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        argv = [self.binaries.postgres, "-D", self.home.postgres, *options]
        return processes.spawn(argv, self.home, cwd=self.home.servers, log_path=self.home.logs / "postgres.log")

    def drop_stale_pid_file(self) -> None:
        """Remove postmaster.pid if its process is a zombie or a stranger: PostgreSQL would take either for itself.

        Called while we hold `children.lock`, so no server of ours is at work here.
        """
        path = self.home.postgres / "postmaster.pid"
        try:
            pid = int(path.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            pid = 0
        # The file of a process that is gone stays: by it PostgreSQL finds the shared memory of backends that linger.
        misleads = pid == 0 or processes.exists(pid)
        if misleads and not processes.is_alive(pid, name="postgres", below=self.home.postgres):
            path.unlink(missing_ok=True)

    async def _answers(self, pid: int) -> bool:
        return self._state(pid) == "ready"

    def _leaving(self, pid: int) -> bool:
        """SIGTERM from outside is PostgreSQL's "smart" shutdown: nobody new, and the old may stay as they like."""
        try:
            return self._state(pid) == "stopping"
        except OSError:
            return False

    def _state(self, pid: int) -> str:
        """The server writes its state into line 8 of postmaster.pid; cheaper than trying to connect. Raises OSError."""
        lines = (self.home.postgres / "postmaster.pid").read_text().splitlines()
        return lines[7].strip() if len(lines) >= 8 and lines[0] == str(pid) else ""

    async def provide(self, on_progress: Callable[[str], None]) -> None:
        """Role, database and extension, each made if missing. Needs a running server; about 20 ms if all is there."""
        try:
            await self._provide(on_progress)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log_path = self.home.logs / "postgres.log"
            raise failure(
                f"PostgreSQL runs but refused its set-up: {error}", processes.tail(log_path), log_path
            ) from error

    async def _provide(self, on_progress: Callable[[str], None]) -> None:
        try:
            connection = await self._connect(DATABASE)
        except asyncpg.InvalidCatalogNameError:
            on_progress("creating the database")
            await self._create_database()
            connection = await self._connect(DATABASE)
        try:
            row = await connection.fetchrow(
                "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'vector'"
            )
            if row is None:
                raise EmbeddedError("pgvector is missing from the bundled PostgreSQL: install chatwright again.")
            if row["installed_version"] is None:
                await connection.execute("CREATE EXTENSION vector")
            elif row["installed_version"] != row["default_version"]:
                await connection.execute("ALTER EXTENSION vector UPDATE")
        finally:
            await connection.close(timeout=5)

    async def _create_database(self) -> None:
        connection = await self._connect("postgres")
        try:
            if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", ROLE):
                password = self.secrets.application  # URL-safe letters only: no quoting needed
                await connection.execute(f"CREATE ROLE {ROLE} LOGIN CREATEROLE PASSWORD '{password}'")
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        finally:
            await connection.close(timeout=5)

    async def _connect(self, database: str) -> asyncpg.Connection:
        async with asyncio.timeout(_ANSWER_AT_MOST_S):
            return await asyncpg.connect(
                self.url(SUPERUSER, database), timeout=_ANSWER_AT_MOST_S, command_timeout=_ANSWER_AT_MOST_S
            )
