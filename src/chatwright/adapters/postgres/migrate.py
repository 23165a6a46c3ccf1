"""Numbered SQL files, forward only, applied once each under an advisory lock: two replicas may migrate at once."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import asyncpg

from chatwright.domain.errors import ChatwrightError, Unavailable

_LOCK = 0x6368_6174_7772  # "chatwr"
_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(ChatwrightError):
    """The database and the files disagree; the message says how to mend it."""

    code = "migration_failed"


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations() -> list[Migration]:
    """Read the shipped files, ascending by version."""
    folder = resources.files("chatwright.adapters.postgres") / "migrations"
    found: list[Migration] = []
    for entry in folder.iterdir():
        match = _FILE.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), entry.name, entry.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.version)


async def migrate(database_url: str, *, on_applied: Callable[[str], None] | None = None) -> list[str]:
    """Bring the schema up to date; returns the names applied now, ascending (empty: it was up to date).

    Each file runs in a transaction of its own. Raises MigrationError if a file that was applied has changed since, or
    if the database is newer than this program; Unavailable if the server cannot be reached.
    """
    try:
        connection: Any = await asyncpg.connect(database_url, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise Unavailable(f"PostgreSQL cannot be reached: {error}; check DATABASE_URL") from error
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        applied = {
            row["version"]: row for row in await connection.fetch("SELECT version, name, sha256 FROM schema_migrations")
        }
        migrations = load_migrations()
        newer = set(applied) - {migration.version for migration in migrations}
        if newer:
            raise MigrationError(
                f"the database has migration {max(newer)}, which this version of chatwright does not know; upgrade chatwright"
            )
        done: list[str] = []
        for migration in migrations:
            row = applied.get(migration.version)
            if row is None:
                await _apply(connection, migration)
                done.append(migration.name)
                if on_applied is not None:
                    on_applied(migration.name)
            elif row["sha256"] != migration.sha256:
                raise MigrationError(f"{migration.name} was changed after it had been applied; restore the file")
        return done
    finally:
        await connection.close(timeout=5)


async def _apply(connection: Any, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.sha256,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.name} failed and was rolled back: {error}") from error
