"""Where the servers are: external ones from the settings, else the embedded ones that `up` runs on the data directory."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatwright.app.options import Settings
from chatwright.domain.errors import Unavailable

if TYPE_CHECKING:
    from chatwright.app.embedded import RunningServers


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Addresses of both servers; they hold passwords."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)


def find_addresses(settings: Settings) -> Addresses:
    """Look both servers up. Raises Unavailable when one is neither configured nor running here."""
    return Addresses(database_url=find_database(settings), redis_url=find_valkey(settings))


def find_database(settings: Settings) -> str:
    """PostgreSQL's address. Raises Unavailable when it is neither configured nor running here."""
    running = None if settings.database_url else _running(settings)
    return _known(settings, settings.database_url or (running.database_url if running else ""), "DATABASE_URL")


def find_valkey(settings: Settings) -> str:
    """Valkey's address. Raises Unavailable when it is neither configured nor running here."""
    running = None if settings.redis_url else _running(settings)
    return _known(settings, settings.redis_url or (running.redis_url if running else ""), "REDIS_URL")


def _running(settings: Settings) -> "RunningServers | None":
    from chatwright.app.embedded import find_running

    return find_running(settings.data_dir)


def _known(settings: Settings, url: str, name: str) -> str:
    if not url:
        raise Unavailable(
            f"{name} is not set and no embedded server runs on {settings.data_dir}: "
            f"set {name}, or start `chatwright up` there first"
        )
    return url


def base_url(settings: Settings, port: int) -> str:
    """The address under which this machine reaches the API."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104 - looked up, not bound
    return f"http://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"http://{host}:{port}"
