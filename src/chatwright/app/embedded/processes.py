"""Starts and ends server processes, and finds those that a killed chatwright left behind. Called by `run` and `servers`.

Every server inherits the descriptor of `children.lock`. An flock belongs to the open file, so the lock is free exactly
when the last of them, forked ones included, is gone: no guess about process numbers is needed to know that none is left.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import structlog

from chatwright.app.embedded.errors import EmbeddedError
from chatwright.app.embedded.home import Home, open_owned

_log = structlog.get_logger(__name__)
_PROGRAMS = frozenset({"postgres", "initdb", "valkey-server"})
_ORPHANS_AT_MOST_S = 60.0
_LOG_LIMIT_BYTES = 16 * 1024 * 1024


def spawn(
    argv: Sequence[str | Path], home: Home, *, cwd: Path, log_path: Path, feed: str = ""
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own (Ctrl-C at the terminal is not for it), as the account, output to a log.

    `feed` (less than a pipe holds, 64 KiB) is what it reads from its standard input. Raises EmbeddedError if it cannot be executed. Takes a few ms.
    """
    keep_short(log_path)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
    for name in ("LD_LIBRARY_PATH", "TMPDIR"):
        if name in os.environ:
            environment[name] = os.environ[name]
    try:
        with os.fdopen(open_owned(log_path, os.O_WRONLY | os.O_APPEND), "ab") as log_file:
            process = subprocess.Popen(  # noqa: S603 # our own programs and paths, no shell
                argv,
                cwd=cwd,
                env=environment,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                pass_fds=(home.children_lock,),
                umask=0o077,
                **home.account.popen_arguments(),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(
            f"Cannot start {argv[0]} as the user {home.account.name}: {error}. Install chatwright again, or check that "
            f"this user may read and execute the program and may write to {cwd}."
        ) from error
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # it ended at once: whoever waits for it will say why
            process.stdin.write(feed.encode())
            process.stdin.close()
    return process


def keep_short(log_path: Path) -> None:
    """Move a log over the limit (16 MiB) aside. Safe beside a writer, which appends: only lines of one instant are lost."""
    with contextlib.suppress(FileNotFoundError):
        if log_path.stat().st_size > _LOG_LIMIT_BYTES:
            log_path.with_suffix(".log.1").write_bytes(log_path.read_bytes())
            os.truncate(log_path, 0)


def tail(log_path: Path, *, since: int = 0, lines: int = 12) -> str:
    """The last `lines` lines written to the log after byte `since`."""
    try:
        with log_path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - 8192))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(the log cannot be read: {error.strerror})"
    return "\n".join(text.splitlines()[-lines:])


def size_of(log_path: Path) -> int:
    try:
        return log_path.stat().st_size
    except FileNotFoundError:
        return 0


async def wait_for_exit(process: subprocess.Popen[bytes], at_most_s: float) -> bool:
    """Wait until a child of ours has ended (and reap it); False if the time is over."""
    # Polled, not awaited: asyncio's own child handling depends on the loop in use, and uvloop's cannot change users.
    deadline = time.monotonic() + at_most_s
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


async def stop(process: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn until the process has ended; its children that outlive it are killed."""
    if process.poll() is not None:
        return
    below = children_of(process.pid)
    for number, at_most_s in steps:
        _send(process.send_signal, number)
        for child in below:  # a stopped (SIGSTOP) server or backend of it would never hear the signal
            _send(child.send_signal, signal.SIGCONT)
        _send(process.send_signal, signal.SIGCONT)
        if await wait_for_exit(process, at_most_s):
            break
        below = children_of(process.pid)
    kill_all(below)


def kill_all(victims: Sequence[psutil.Process]) -> None:
    """Kill those that still run and wait for their end: milliseconds, at most 5 s."""
    for victim in victims:
        _send(victim.send_signal, signal.SIGKILL)
    psutil.wait_procs(victims, timeout=5)


async def free_of_orphans(home: Home, on_progress: Callable[[str], None]) -> None:
    """Return once no server of an earlier run lives on `home`, and hold `children.lock`.

    Leftovers are asked to end in order (PostgreSQL: fast shutdown), then killed. Raises EmbeddedError after 60 s.
    """
    deadline = time.monotonic() + _ORPHANS_AT_MOST_S
    asked: dict[int, tuple[float, signal.Signals | None]] = {}
    while not _take(home.children_lock):
        if not asked:
            on_progress("stopping servers that an earlier run left behind")
        for process in _orphans(home):
            first_s, last = asked.get(process.pid, (time.monotonic(), None))
            waited_s = time.monotonic() - first_s
            number = signal.SIGKILL if waited_s > 20 else signal.SIGQUIT if waited_s > 10 else signal.SIGINT
            asked[process.pid] = (first_s, number)
            if number == last:
                continue  # each signal once: a second SIGINT makes Valkey leave without writing
            _log.warning("orphan.stopped", pid=process.pid, signal=number.name)
            _send(process.send_signal, number)
            _send(process.send_signal, signal.SIGCONT)
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"Servers of an earlier run still use {home.servers} and could not be stopped: end them "
                f"(`fuser {home.servers / 'children.lock'}` lists them) and start again."
            )
        await asyncio.sleep(0.05)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _orphans(home: Home) -> list[psutil.Process]:
    """Living servers at work in `home`, only those whose parent is not one of them.

    A process counts if it has a server's name and works in a directory below `home`; where the system hides working
    directories, if its number and start time are those that the last run wrote down.
    """
    note = home.read_note()
    written = {record.pid: record for record in (note.postgres, note.valkey) if record} if note else {}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            if process.name() not in _PROGRAMS or process.status() == psutil.STATUS_ZOMBIE:
                continue
            try:
                ours = Path(process.cwd()).is_relative_to(home.servers)
            except psutil.AccessDenied:
                record = written.get(process.pid)
                ours = record is not None and record.find() is not None
            if ours:
                found[process.pid] = process
    return [process for process in found.values() if _parent(process) not in found]


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _send(send: Callable[[int], None], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
        send(number)


def exists(pid: int) -> bool:
    """Is there a process of this number, be it a zombie or another user's?"""
    return pid > 0 and psutil.pid_exists(pid)


def is_alive(pid: int, *, name: str, below: Path) -> bool:
    """Is `pid` a living program `name` that works below the directory? Where that is hidden, its name decides."""
    try:
        process = psutil.Process(pid)
        if process.name() != name or process.status() == psutil.STATUS_ZOMBIE:
            return False
        try:
            return Path(process.cwd()).is_relative_to(below)
        except psutil.AccessDenied:
            return True
    except (psutil.Error, FileNotFoundError, ValueError):
        return False


def children_of(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
