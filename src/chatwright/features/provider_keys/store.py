"""SQL over provider keys. Functions never commit.

A tenant's keys are read and written under its own role; the platform's keys (no tenant), sealing anew and the watch
over all keys need the operators' role (`Database.operator`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import NotFound
from chatwright.domain.ids import TenantId, is_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339

ROTATIONS_KNOWN = 2_000
"""A chatbot that names a key which was rotated longer ago than this many rotations has to name another one."""

_COLUMNS = """
id, tenant_id, provider, name, hint, base_url, request_limit, token_limit, created_at, last_used_at, ends_at,
successor_id
"""

INSERT_KEY = f"""
INSERT INTO provider_keys (id, tenant_id, provider, name, hint, sealed, sealed_by, version, base_url, request_limit,
                           token_limit)
VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10)
RETURNING {_COLUMNS}
"""

# A null tenant names the platform's own keys, which only the operators' role can see.
GET_KEY = f"SELECT {_COLUMNS} FROM provider_keys WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2"

LIST_KEYS = f"""
SELECT {_COLUMNS} FROM provider_keys
 WHERE tenant_id IS NOT DISTINCT FROM $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3
"""

COUNT_KEYS = """
SELECT count(*) FROM provider_keys
 WHERE tenant_id IS NOT DISTINCT FROM $1 AND (ends_at IS NULL OR ends_at > clock_timestamp())
"""

# Those in use, and where those that were rotated away went: of these the latest, since a key may be rotated without end
# and what comes of this is held in memory.
LOAD_KEYS = f"""
WITH owned AS (
    SELECT id, provider, name, hint, sealed, sealed_by, version, base_url, request_limit, token_limit, successor_id,
           (ends_at IS NULL OR ends_at > clock_timestamp()) AS active,
           extract(epoch FROM ends_at - clock_timestamp())::float8 AS ends_in_s
      FROM provider_keys WHERE tenant_id IS NOT DISTINCT FROM $1
)
SELECT * FROM owned WHERE active
UNION ALL
(SELECT * FROM owned WHERE NOT active AND successor_id IS NOT NULL ORDER BY id DESC LIMIT {ROTATIONS_KNOWN})
 ORDER BY id DESC
"""

# A key that ends now is forgotten with it: what is not there cannot be taken.
END_KEY = f"""
UPDATE provider_keys
   SET ends_at = least(ends_at, clock_timestamp() + make_interval(secs => $3::float8)),
       successor_id = coalesce(successor_id, $4),
       sealed = CASE WHEN $3::float8 > 0 THEN sealed ELSE ''::bytea END,
       sealed_by = CASE WHEN $3::float8 > 0 THEN sealed_by ELSE '' END
 WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2
RETURNING {_COLUMNS}
"""

# Operators' role: keys that came or ended lately, of whomever.
LATELY_CHANGED = """
SELECT id, tenant_id, false AS active FROM provider_keys
 WHERE ends_at > clock_timestamp() - make_interval(secs => $1) AND ends_at <= clock_timestamp()
UNION ALL
SELECT id, tenant_id, true FROM provider_keys
 WHERE created_at > clock_timestamp() - make_interval(secs => $1)
   AND (ends_at IS NULL OR ends_at > clock_timestamp())
"""

MARK_USED = "UPDATE provider_keys SET last_used_at = clock_timestamp() WHERE id = ANY ($1::uuid[])"

# Operators' role: the secrets of keys whose overlap is over.
FORGET_ENDED = "UPDATE provider_keys SET sealed = ''::bytea, sealed_by = '' WHERE ends_at < now() AND sealed_by <> ''"

# Operators' role. Two that seal at once take different rows.
TAKE_TO_RESEAL = """
SELECT id, tenant_id, sealed, sealed_by, version FROM provider_keys
 WHERE sealed_by <> $1 AND sealed_by <> '' AND id > $2 ORDER BY id LIMIT $3
   FOR UPDATE SKIP LOCKED
"""

RESEAL = """
UPDATE provider_keys SET sealed = fresh.sealed, sealed_by = $1, version = provider_keys.version + 1
  FROM unnest($2::uuid[], $3::int[], $4::bytea[]) AS fresh (id, version, sealed)
 WHERE provider_keys.id = fresh.id AND provider_keys.version = fresh.version
RETURNING provider_keys.id
"""

COUNT_SEALED_BY = """
SELECT sealed_by, count(*) AS keys FROM provider_keys WHERE sealed_by <> '' GROUP BY sealed_by ORDER BY sealed_by
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A provider key as it may be shown: never its secret. Limits are per minute, times RFC 3339 in UTC."""

    id: str
    tenant_id: TenantId | None
    provider: str
    name: str
    hint: str
    base_url: str | None
    request_limit: int | None
    token_limit: int | None
    created_at: str
    last_used_at: str | None
    ends_at: str | None
    successor_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key about to be stored, sealed already."""

    id: str
    tenant_id: TenantId | None
    provider: str
    name: str
    hint: str
    sealed: bytes = field(repr=False)
    sealed_by: str
    base_url: str | None
    request_limit: int | None
    token_limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """A stored secret and what it is bound to."""

    id: str
    tenant_id: TenantId | None
    sealed: bytes = field(repr=False)
    sealed_by: str
    version: int


@dataclass(frozen=True, slots=True)
class Change:
    """A key that came (`active`) or ended."""

    key_id: str
    tenant_id: TenantId | None
    active: bool


async def insert_key(db: Connection, new: NewKey) -> KeyRecord:
    """Store a key. Raises NotFound if there is no such tenant."""
    try:
        row = await db.fetchrow(
            INSERT_KEY,
            new.id,
            new.tenant_id,
            new.provider,
            new.name,
            new.hint,
            new.sealed,
            new.sealed_by,
            new.base_url,
            new.request_limit,
            new.token_limit,
        )
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound("no such tenant") from error
    assert row is not None
    return _record(row)


async def get_key(db: Connection, scope: Scope | None, key_id: str) -> KeyRecord | None:
    """One key of the tenant, or of the platform for scope None (operators' role)."""
    row = await db.fetchrow(GET_KEY, _tenant_id(scope), key_id) if is_id(key_id) else None
    return None if row is None else _record(row)


async def list_keys(db: Connection, scope: Scope | None, *, after: str | None, limit: int) -> list[KeyRecord]:
    """Keys in order of id, those behind `after`, ended ones included."""
    return [_record(row) for row in await db.fetch(LIST_KEYS, _tenant_id(scope), after, limit)]


async def count_keys(db: Connection, scope: Scope | None) -> int:
    """How many keys of the owner are in use."""
    return int(await db.fetchval(COUNT_KEYS, _tenant_id(scope)))


async def load_keys(db: Connection, scope: Scope | None) -> list[Mapping[str, Any]]:
    """Rows of LOAD_KEYS, newest first; `KeyRing` opens them."""
    return list(await db.fetch(LOAD_KEYS, _tenant_id(scope)))


async def end_key(
    db: Connection, scope: Scope | None, key_id: str, *, after_s: float = 0.0, successor_id: str | None = None
) -> KeyRecord | None:
    """End a key, now or in `after_s` seconds; an end never moves back. None if there is no such key."""
    row = await db.fetchrow(END_KEY, _tenant_id(scope), key_id, after_s, successor_id) if is_id(key_id) else None
    return None if row is None else _record(row)


async def list_lately_changed(db: Connection, *, within_s: float) -> list[Change]:
    """Keys that came or ended during the last `within_s` seconds (operators' role)."""
    rows = await db.fetch(LATELY_CHANGED, within_s)
    return [Change(row["id"], row["tenant_id"], row["active"]) for row in rows]


async def mark_used(db: Connection, key_ids: Sequence[str]) -> None:
    """Set `last_used_at` to now (operators' role)."""
    await db.execute(MARK_USED, list(key_ids))


async def forget_ended(db: Connection) -> None:
    """Delete the secrets of keys that have ended (operators' role)."""
    await db.execute(FORGET_ENDED)


async def take_to_reseal(db: Connection, newest: str, *, after: str, limit: int) -> list[SealedKey]:
    """Lock up to `limit` keys behind `after` that another key-encryption key than `newest` sealed."""
    return [
        SealedKey(
            id=row["id"],
            tenant_id=row["tenant_id"],
            sealed=bytes(row["sealed"]),
            sealed_by=row["sealed_by"],
            version=row["version"],
        )
        for row in await db.fetch(TAKE_TO_RESEAL, newest, after, limit)
    ]


async def write_resealed(db: Connection, newest: str, fresh: Sequence[tuple[str, int, bytes]]) -> int:
    """Store (id, version it was read at, ciphertext of the version after it). Returns how many were still at it."""
    columns = [list(column) for column in zip(*fresh, strict=True)]
    return len(await db.fetch(RESEAL, newest, *columns)) if fresh else 0


async def count_sealed_by(db: Connection) -> dict[str, int]:
    """How many secrets each key-encryption key seals (operators' role)."""
    return {row["sealed_by"]: row["keys"] for row in await db.fetch(COUNT_SEALED_BY)}


def _tenant_id(scope: Scope | None) -> str | None:
    return None if scope is None else scope.tenant_id


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _record(row: Mapping[str, Any]) -> KeyRecord:
    return KeyRecord(
        id=row["id"],
        tenant_id=row["tenant_id"],
        provider=row["provider"],
        name=row["name"],
        hint=row["hint"],
        base_url=row["base_url"],
        request_limit=row["request_limit"],
        token_limit=row["token_limit"],
        created_at=_text(row["created_at"]) or "",
        last_used_at=_text(row["last_used_at"]),
        ends_at=_text(row["ends_at"]),
        successor_id=row["successor_id"],
    )
