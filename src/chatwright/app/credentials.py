"""`credentials.json` in the data directory: the address and keys that `up` made, for scripts and for our own verbs."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chatwright.domain.errors import ChatwrightError

FILE = "credentials.json"


class CredentialsUnreadable(ChatwrightError):
    """The file is there but says nothing; the message names the mend."""

    code = "credentials_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Empty texts stand for what there is not (no demo: no tenant)."""

    base_url: str = ""
    admin_key: str = field(default="", repr=False)
    tenant_id: str = ""
    tenant_key: str = field(default="", repr=False)
    chatbot: str = ""
    widget_id: str = ""


def read_credentials(data_dir: Path) -> Credentials | None:
    """What the last start wrote, or None if there was none. Raises CredentialsUnreadable."""
    file = data_dir / FILE
    try:
        found = json.loads(file.read_text("utf-8"))
        return Credentials(**{name: str(found.get(name) or "") for name in Credentials.__dataclass_fields__})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise CredentialsUnreadable(
            f"{file} cannot be read ({error}); remove it, and the next start makes new keys"
        ) from error


def write_credentials(data_dir: Path, credentials: Credentials) -> None:
    """Write the file anew, readable by its owner only, whole or not at all."""
    draft = data_dir / f".{FILE}.new"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as out:  # noqa: PTH123 - a descriptor, made with its mode
        json.dump(asdict(credentials), out, indent=2)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    draft.replace(data_dir / FILE)
