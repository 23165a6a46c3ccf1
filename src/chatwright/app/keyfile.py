"""Where key-encryption keys come from: the option `key_encryption_keys`, else the file keys/kek.json in the data folder.

They never enter the database, so that neither a dump nor a reader of it has a provider key. Whoever loses them has lost
every stored provider key: back the file up, apart from the database. Called by `services.py`, `up.py` and
`chatwright provider-key rotate-kek`.
"""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from chatwright.app.options import Settings, SettingsError
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.times import rfc3339
from chatwright.features.provider_keys import KeyEncryptionKey, KeyEncryptionKeys, read_base64, read_keks

FILE = Path("keys", "kek.json")
_KEY_BYTES = 32

log = structlog.get_logger(__name__)


class KeyFileUnreadable(ChatwrightError):
    """The file of key-encryption keys is there but cannot be used; the message names the mend."""

    code = "key_file_unreadable"


class GivenKeys:
    """The keys of the option, as they were at the start. Implements `KeyEncryptionKeys`."""

    def __init__(self, keks: tuple[KeyEncryptionKey, ...]) -> None:
        self._keks = {kek.id: kek for kek in keks}
        self._newest = keks[0]

    def newest(self) -> KeyEncryptionKey:
        return self._newest

    def find(self, key_id: str) -> KeyEncryptionKey | None:
        return self._keks.get(key_id)


class FileKeys:
    """The keys of a file that another process may change. Implements `KeyEncryptionKeys`.

    The file is looked at before every sealing and for every id that is not known, and read again only if it is another
    one than last time: ids that nobody has cost one `stat` each.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mark: tuple[int, int, int] | None = None
        self._keks: dict[str, KeyEncryptionKey] = {}
        self._refresh()

    def newest(self) -> KeyEncryptionKey | None:
        self._refresh()
        return next(iter(self._keks.values()), None)

    def find(self, key_id: str) -> KeyEncryptionKey | None:
        found = self._keks.get(key_id)
        if found is None:
            self._refresh()
            found = self._keks.get(key_id)
        return found

    def _refresh(self) -> None:
        try:
            status = self._file.stat()
            mark = (status.st_mtime_ns, status.st_ino, status.st_size)
            if mark == self._mark:
                return
            if status.st_mode & 0o077:
                log.warning("key_file.readable_by_others", file=str(self._file), mend=f"chmod 600 {self._file}")
            self._keks = {kek.id: kek for kek in _read(self._file)}
            self._mark = mark
        except FileNotFoundError:
            # Keys that were read once stay: a file that was moved away must not end every call.
            self._mark = None
        except (OSError, KeyFileUnreadable) as error:
            if not self._keks:
                raise
            log.error("key_file.not_read", error=str(error))


def open_keks(settings: Settings) -> KeyEncryptionKeys:
    """The key-encryption keys of this process. A role without any runs, but stores no provider key.

    Raises SettingsError for a malformed option, KeyFileUnreadable for a malformed file.
    """
    if not settings.key_encryption_keys:
        return FileKeys(settings.data_dir / FILE)
    try:
        return GivenKeys(read_keks(settings.key_encryption_keys))
    except ValueError as error:
        raise SettingsError(f"CHATWRIGHT_KEY_ENCRYPTION_KEYS: {error}") from None


def ensure_key_file(settings: Settings) -> bool:
    """Make the file with a first key if neither it nor the option is there. Returns True if it was made now."""
    if settings.key_encryption_keys or (settings.data_dir / FILE).exists():
        return False
    with _locked(settings.data_dir):
        if (settings.data_dir / FILE).exists():
            return False
        _write(settings.data_dir, [_new_key()])
    return True


def rotate_key_file(settings: Settings) -> tuple[str, list[str]]:
    """Put a new key first and keep the others; makes the file if there is none. Returns (new id, ids kept).

    Running processes seal with it from their next sealing on. Raises SettingsError if the option is set, which we cannot
    change, and KeyFileUnreadable.
    """
    if settings.key_encryption_keys:
        raise SettingsError(
            "the key-encryption keys come from CHATWRIGHT_KEY_ENCRYPTION_KEYS; put a new one there "
            "(`chatwright provider-key rotate-kek --print` makes one)"
        )
    with _locked(settings.data_dir):
        file = settings.data_dir / FILE
        kept = _entries(file) if file.exists() else []
        fresh = _new_key()
        _write(settings.data_dir, [fresh, *kept])
    return fresh["id"], [str(entry["id"]) for entry in kept]


def new_key_text() -> str:
    """A new key as the option holds it: ``id:base64``."""
    fresh = _new_key()
    return f"{fresh['id']}:{fresh['key']}"


def _new_key() -> dict[str, str]:
    made = datetime.now(UTC)
    return {
        "id": f"{made:%Y%m%d}-{secrets.token_hex(4)}",
        "key": base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode(),
        "created_at": rfc3339(made, timespec="seconds"),
    }


def _entries(file: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_text("utf-8"))["keys"]
        if not isinstance(found, list) or not found:
            raise ValueError("there is no key in it")
        return [dict(entry) for entry in found]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error if isinstance(error, OSError) else type(error).__name__  # not the words: they may quote the file
        raise KeyFileUnreadable(f"{file} cannot be read ({reason}); restore it from its backup") from None


def _read(file: Path) -> list[KeyEncryptionKey]:
    try:
        return [KeyEncryptionKey.of(str(entry["id"]), read_base64(str(entry["key"]))) for entry in _entries(file)]
    except (KeyError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else "an entry lacks its id or key"
        raise KeyFileUnreadable(f"{file} cannot be used ({reason}); restore it from its backup") from None


@contextmanager
def _locked(data_dir: Path) -> Generator[None]:
    """Let one process at a time change the file."""
    folder = data_dir / FILE.parent
    data_dir.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(data_dir: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the file anew, readable by its owner only, whole or not at all, also when the power fails."""
    file = data_dir / FILE
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as out:  # noqa: PTH123 - a descriptor, made with its mode
        json.dump({"keys": list(entries)}, out, indent=2)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
