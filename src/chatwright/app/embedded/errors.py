"""What can go wrong with the bundled servers, said with its mend. Raised by this package, shown by the CLI.

EmbeddedError            503 embedded_servers
├── AlreadyRunning       409 already_running   (another chatwright holds the data directory)
└── DiskFull             507 disk_full
"""

from pathlib import Path
from typing import ClassVar

from chatwright.domain.errors import ChatwrightError

_MENDS = (
    ("No space left on device", "Free some disk space and start again."),
    ("Check free disk space", "Free some disk space and start again."),
    ("Disk quota exceeded", "Free some disk space (the quota is used up) and start again."),
    (
        "are incompatible with server",
        "The data was written by another PostgreSQL version: start it with that version of chatwright, dump and reload.",
    ),
    ("could not look up effective user ID", "Give this user id a line in /etc/passwd and start again."),
    ("annot allocate memory", "Free some memory (or raise the container's limit) and start again."),
    ("No usable system locale", "Install a UTF-8 locale and start again."),
    ("shared library", "A system library is missing: install it (glibc and zlib are needed) and start again."),
    ("ermission denied", "Make the named path readable for the user that the server runs as and start again."),
)


class EmbeddedError(ChatwrightError):
    """A bundled server could not be started, kept or stopped. The message ends with what to do."""

    code: ClassVar[str] = "embedded_servers"
    status: ClassVar[int] = 503


class DiskFull(EmbeddedError):
    """No room on the file system that holds the data."""

    code = "disk_full"
    status = 507


class AlreadyRunning(EmbeddedError):
    """Another process of ours holds this data directory. `pid` is None if it has not yet written its name."""

    code = "already_running"
    status = 409

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"chatwright is already running on {data_dir} ({who}). "
            "Stop that one first (Ctrl-C there, or kill it), or choose another --data-dir."
        )
        self.data_dir = data_dir
        self.pid = pid


def failure(what: str, log_tail: str, log_path: Path) -> EmbeddedError:
    """An error that says what failed, the server's own last words and, where they are known, the mend."""
    mend = next((mend for words, mend in _MENDS if words in log_tail), f"The whole log is in {log_path}.")
    kind = DiskFull if "disk space" in mend else EmbeddedError
    said = "\n".join(f"  | {line}" for line in log_tail.splitlines()) or "  | (it said nothing)"
    return kind(f"{what}. Its last words:\n{said}\n{mend}")
