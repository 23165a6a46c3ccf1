"""The files of the bundled servers: directories, locks, secrets, the note about what runs. Called by `run`.

    <data_dir>/
        lock                  held (flock) by the one chatwright that may use this directory; holds its pid
        secrets.json          0600: the three passwords, made once
        servers.json          0600: addresses and processes, there only while chatwright runs
        servers/              0700; root: 0710 for the servers' account (or a link, see below)
            postgres/  valkey/    the data, owned by the account
            conf/  logs/          written by us, read by the servers
            run/                  unix sockets, if the path is short and plain enough; else a private directory in /tmp
            children.lock         inherited by every server: held as long as one of them lives

Root cannot use a directory below, say, /root (0700), as the servers run as another user. The data then live in
/var/lib/chatwright/<name>/ and `servers` is a link to it. The data directory itself is opened for passing through
(not for listing) to that one user; directories above it are never changed.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from chatwright.app.embedded.account import Account
from chatwright.app.embedded.errors import AlreadyRunning, EmbeddedError

RELOCATED = Path("/var/lib/chatwright")
LOCK_PATIENCE_S = 5.0
_SOCKET_NAME_ROOM = len("/.s.PGSQL.5432.lock")
_SOCKET_PATH_LIMIT = 100  # bytes; Linux allows 107, macOS 103
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")  # fit for a URL, a configuration file and a list without any quoting
_RUNTIME_PREFIX = "chatwright-"


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Passwords, 256 random bits each, URL-safe."""

    application: str
    superuser: str
    valkey: str


class RunningProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that cannot be taken for a later one of the same number: `started_s` is seconds since the boot.

    Not since the epoch: a clock that is set while both run (no battery, first contact with NTP) would part them.
    """

    pid: int
    started_s: float

    @classmethod
    def of(cls, pid: int) -> "RunningProcess":
        """Describe a living process. Raises psutil.NoSuchProcess."""
        return cls(pid=pid, started_s=_started_s(psutil.Process(pid)))

    def find(self) -> psutil.Process | None:
        """The living process, or None if it ended, is a zombie, or its number belongs to another one by now."""
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE and abs(_started_s(process) - self.started_s) < 2.0
        except psutil.Error:
            return None
        return process if alive else None


def _started_s(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


class RunningServers(msgspec.Struct, frozen=True, kw_only=True):
    """What `servers.json` says. Addresses are empty strings for a server that is not run here.

    `ready` turns true once both servers answer; `runtime_dir` is where their sockets are.
    """

    owner: RunningProcess
    ready: bool
    runtime_dir: str
    database_url: str
    superuser_database_url: str
    redis_url: str
    postgres: RunningProcess | None
    valkey: RunningProcess | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Paths of one data directory, made ready by `open_home`. `children_lock` is the descriptor that servers inherit."""

    data_dir: Path
    servers: Path
    account: Account
    children_lock: int

    @property
    def postgres(self) -> Path:
        return self.servers / "postgres"

    @property
    def valkey(self) -> Path:
        return self.servers / "valkey"

    @property
    def conf(self) -> Path:
        return self.servers / "conf"

    @property
    def logs(self) -> Path:
        return self.servers / "logs"

    def drop_half_made(self) -> None:
        """Remove what a killed first start left. Only once none of its processes lives: they would write on."""
        for path in self.servers.glob("postgres.new-*"):
            shutil.rmtree(path, ignore_errors=True)

    def write_note(self, note: RunningServers) -> None:
        write_private(self.data_dir / "servers.json", msgspec.json.encode(note))

    def read_note(self) -> RunningServers | None:
        return _read_note(self.data_dir)

    def drop_note(self) -> None:
        (self.data_dir / "servers.json").unlink(missing_ok=True)


def find_running(data_dir: Path) -> RunningServers | None:
    """The servers that another process of this user runs on `data_dir`, or None if there are none that answer."""
    note = _read_note(data_dir)
    return note if note is not None and note.ready and note.owner.find() is not None else None


def _read_note(data_dir: Path) -> RunningServers | None:
    try:
        return msgspec.json.decode((data_dir / "servers.json").read_bytes(), type=RunningServers)
    except (OSError, msgspec.DecodeError):
        return None  # cut short by a crash or a full disk: what it would have said is found out otherwise


@contextlib.contextmanager
def hold_data_dir(data_dir: Path) -> Generator[Path]:
    """Make `data_dir` and hold its lock; yields its resolved path.

    Raises AlreadyRunning if another process holds it, EmbeddedError if it cannot be made or written.
    """
    if any(ord(character) < 32 for character in str(data_dir)):
        raise EmbeddedError("The data directory's name holds a control character: choose another --data-dir.")
    try:
        data_dir = data_dir.absolute()
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        data_dir = data_dir.resolve(strict=True)
        # The lock file is never removed: who waits on a removed one would hold a lock that nobody else can see.
        descriptor = open_owned(data_dir / "lock", os.O_RDWR)
    except OSError as error:
        raise EmbeddedError(
            f"Cannot use the data directory {data_dir}: {error.strerror} ({error.filename}). "
            "Start chatwright as the user that owns it, or choose another --data-dir."
        ) from error
    try:
        _lock(descriptor, data_dir)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield data_dir
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data_dir: Path) -> None:
    give_up_at = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.pread(descriptor, 32, 0).split()
            holder = int(written[0]) if written and written[0].isdigit() else None
            if holder is None or psutil.pid_exists(holder) or time.monotonic() > give_up_at:
                raise AlreadyRunning(data_dir, holder) from None
        except OSError as error:
            raise EmbeddedError(
                f"The file system of {data_dir} cannot lock files ({error.strerror}): choose a --data-dir on a local disk."
            ) from error
        # The one that wrote its number is dead: a child that it had forked, and that is not yet the program which it
        # was forked for, still holds its copy of the lock.
        time.sleep(0.02)


@contextlib.contextmanager
def open_home(data_dir: Path, account: Account) -> Generator[Home]:
    """Make the directories below a held `data_dir`. Raises EmbeddedError if the account cannot reach them."""
    servers = _servers_dir(data_dir, account)
    group_may = 0o710 if account.drops else 0o700
    for path, mode in ((servers, group_may), (servers / "conf", group_may), (servers / "logs", 0o700)):
        path.mkdir(mode=0o700, exist_ok=True)
        if account.drops:
            os.chown(path, data_dir.stat().st_uid, account.gid)
        path.chmod(mode)
    children_lock = open_owned(servers / "children.lock", os.O_RDWR)
    try:
        yield Home(data_dir=data_dir, servers=servers.resolve(), account=account, children_lock=children_lock)
    finally:
        os.close(children_lock)


def _servers_dir(data_dir: Path, account: Account) -> Path:
    """Where the servers' files live: `<data_dir>/servers`, or where that link points to."""
    servers = data_dir / "servers"
    if servers.is_symlink() and not servers.exists():
        raise EmbeddedError(
            f"{servers} points to {servers.readlink()}, which is gone: restore that directory, "
            f"or remove the link to begin with empty data."
        )
    barrier = account.first_barrier(servers.resolve().parent if servers.is_symlink() else data_dir)
    if barrier == data_dir:
        _let_through(data_dir, account)
        barrier = account.first_barrier(data_dir)
    if barrier is None:
        return servers
    if servers.exists():
        raise EmbeddedError(
            f"The servers run as the user {account.name}, who cannot pass through {barrier}. "
            f"Allow it (chmod o+x {barrier}), or move the data directory {data_dir} to a place that is open to all."
        )
    try:
        RELOCATED.mkdir(parents=True, exist_ok=True, mode=0o711)
        target = Path(tempfile.mkdtemp(prefix=f"{data_dir.name[:40]}-", dir=RELOCATED))
        target.chmod(0o711)
    except OSError as error:
        raise EmbeddedError(
            f"The servers run as the user {account.name}, who cannot pass through {barrier}, and there is no room in "
            f"{RELOCATED} either ({error.strerror}): choose a --data-dir that is open to all, such as /srv/chatwright."
        ) from error
    (target / "belongs-to").write_bytes(os.fsencode(data_dir) + b"\n")
    servers.symlink_to(target)
    return servers


def _let_through(data_dir: Path, account: Account) -> None:
    """Open `data_dir` for passing through, to the account alone if no other group is served by it already."""
    mode = stat.S_IMODE(data_dir.stat().st_mode)
    if mode & stat.S_IRWXG:
        data_dir.chmod(mode | stat.S_IXOTH)
    else:
        os.chown(data_dir, -1, account.gid)
        data_dir.chmod(mode | stat.S_IXGRP)


def load_secrets(data_dir: Path) -> Secrets | None:
    """The passwords of `data_dir`, or None if they were never written, or lost."""
    try:
        return msgspec.json.decode((data_dir / "secrets.json").read_bytes(), type=Secrets)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def make_secrets() -> Secrets:
    return Secrets(
        application=secrets.token_urlsafe(32), superuser=secrets.token_urlsafe(32), valkey=secrets.token_urlsafe(32)
    )


def save_secrets(data_dir: Path, made: Secrets) -> None:
    write_private(data_dir / "secrets.json", msgspec.json.encode(made))


def open_owned(path: Path, flags: int) -> int:
    """A descriptor of a file with mode 0600, made if missing; owned like its directory if we are root.

    So a user may go on with a data directory on which root worked once (sudo).
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        os.fchown(descriptor, path.parent.stat().st_uid, -1)
    return descriptor


def write_private(path: Path, content: bytes, *, group: int | None = None) -> None:
    """Replace `path` at once and durably, mode 0600, or 0640 for `group`; owned like its directory if we are root."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if os.geteuid() == 0:
            os.fchown(descriptor, path.parent.stat().st_uid, -1 if group is None else group)
        if group is not None:
            os.fchmod(descriptor, 0o640)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    aside.replace(path)


def make_runtime_dir(home: Home) -> Path:
    """A private directory, owned by the account, whose path is short and plain enough for unix sockets.

    `<servers>/run` if it will do, else a new one in the first usable of /run (root), /tmp, $XDG_RUNTIME_DIR and the
    system's temporary directory. $XDG_RUNTIME_DIR comes late because it is removed when the user logs out.
    """
    inside = home.servers / "run"
    if _fits(inside):
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir(mode=0o700)
        if _can_bind(inside):
            home.account.give(inside)
            return inside
    bases = ["/run"] if home.account.drops else []
    for base in (*bases, "/tmp", os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/var/tmp"):  # noqa: S108 # the directory made in it is private and of a random name
        if not base or not Path(base).is_dir() or not _fits(Path(base) / f"{_RUNTIME_PREFIX}xxxxxxxx"):
            continue
        if home.account.first_barrier(Path(base)) is not None:
            continue
        with contextlib.suppress(OSError):
            made = Path(tempfile.mkdtemp(prefix=_RUNTIME_PREFIX, dir=base))
            if _can_bind(made):
                home.account.give(made)
                return made
            made.rmdir()
    raise EmbeddedError(
        "No directory for unix sockets: neither /tmp nor $XDG_RUNTIME_DIR nor the data directory can hold one. "
        "Set TMPDIR to a short path that you may write to."
    )


def drop_runtime_dir(path: Path, account: Account) -> None:
    """Remove what `make_runtime_dir` made. Anything that does not look like it, or is not ours, is left alone."""
    with contextlib.suppress(OSError):
        info = path.lstat()
        ours = stat.S_ISDIR(info.st_mode) and info.st_uid in {os.geteuid(), account.uid}
        if ours and (path.name.startswith(_RUNTIME_PREFIX) or path.name == "run"):
            shutil.rmtree(path, ignore_errors=True)


def _fits(directory: Path) -> bool:
    path = str(directory)
    return len(path) + _SOCKET_NAME_ROOM <= _SOCKET_PATH_LIMIT and _PLAIN.fullmatch(path) is not None


def _can_bind(directory: Path) -> bool:
    """Some shared folders of virtual machines hold files but no sockets."""
    probe = directory / "probe"
    try:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.bind(str(probe))
        probe.unlink()
    except OSError:
        return False
    return True
