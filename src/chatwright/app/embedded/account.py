"""Which operating-system user the servers run as, and whether that user can reach a path. Used by `home` and `binaries`.

PostgreSQL refuses to run as root. Started by root, both servers therefore run as an unprivileged account: the owner of
the data directory if that is not root, else the system user `chatwright` if there is one, else `nobody`.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from chatwright.app.embedded.errors import EmbeddedError


class PopenAccount(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that drop privileges; empty if there are none to drop."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user that the servers run as. `drops` is true if it is not the user that we run as."""

    uid: int
    gid: int
    name: str
    drops: bool

    def popen_arguments(self) -> PopenAccount:
        if not self.drops:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make `path` (not what is below it) the account's own."""
        if self.drops:
            try:
                os.chown(path, self.uid, self.gid)
            except OSError as error:
                raise EmbeddedError(
                    f"Cannot hand {path} over to the user {self.name}, as which the servers run: {error.strerror}. "
                    "Put the data directory on a file system that keeps owners, or start chatwright as a normal user."
                ) from error

    def may_traverse(self, directory: Path) -> bool:
        """Can the account pass through this one directory? Looks at the mode bits, not at access lists."""
        info = directory.stat()
        if info.st_uid == self.uid:
            return bool(info.st_mode & stat.S_IXUSR)
        if info.st_gid == self.gid:
            return bool(info.st_mode & stat.S_IXGRP)
        return bool(info.st_mode & stat.S_IXOTH)

    def first_barrier(self, directory: Path) -> Path | None:
        """The outermost directory on the way to `directory`, itself included, that keeps the account out, or None."""
        if not self.drops:
            return None
        resolved = directory.resolve()
        for step in (*reversed(resolved.parents), resolved):
            if not self.may_traverse(step):
                return step
        return None


def choose_account(data_dir: Path) -> Account:
    """The account for an existing `data_dir`. Raises EmbeddedError if root finds no unprivileged user."""
    if os.geteuid() != 0:
        uid = os.geteuid()
        return Account(uid=uid, gid=os.getegid(), name=str(uid), drops=False)
    servers = data_dir / "servers" / "postgres"
    owners = [path.stat().st_uid for path in (servers, data_dir) if path.is_dir()]
    for candidate in (*(uid for uid in owners if uid != 0), "chatwright", "nobody"):
        try:
            entry = pwd.getpwuid(candidate) if isinstance(candidate, int) else pwd.getpwnam(candidate)
        except KeyError:
            continue  # initdb wants a name for its user id: an owner without one cannot be used
        if entry.pw_uid != 0:
            return Account(uid=entry.pw_uid, gid=entry.pw_gid, name=entry.pw_name, drops=True)
    raise EmbeddedError(
        "PostgreSQL does not run as root and there is no user `nobody` to run it as. "
        "Add a system user named chatwright, or start chatwright as a normal user."
    )
