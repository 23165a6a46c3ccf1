"""SQL over API keys and the installation's own secrets. Functions never commit.

A tenant lists and revokes its own keys under its own role; look-up by hash, platform keys and installation secrets
need the operators' role (`Database.operator`).
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import asyncpg

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import NotFound
from chatwright.domain.ids import ApiKeyId, TenantId, is_id, new_id
from chatwright.domain.limits import LimitedKey, limits_in
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.features.credentials.rules import KeyKind, Secret

_COLUMNS = "id, tenant_id, kind, name, prefix, limits, created_at, last_used_at, revoked_at"

INSERT_KEY = f"""
INSERT INTO api_keys (id, tenant_id, kind, name, hash, prefix, limits) VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING {_COLUMNS}
"""

# A null tenant names the platform's own keys, which only the operators' role can see.
GET_KEY = f"SELECT {_COLUMNS} FROM api_keys WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2"

LIST_KEYS = f"""
SELECT {_COLUMNS} FROM api_keys
 WHERE tenant_id IS NOT DISTINCT FROM $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3
"""

REVOKE_KEY = f"""
UPDATE api_keys SET revoked_at = least(revoked_at, clock_timestamp() + make_interval(secs => $3))
 WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2
RETURNING {_COLUMNS}
"""

FIND_BY_HASH = """
SELECT k.id, k.kind, k.tenant_id, k.limits, extract(epoch FROM k.revoked_at - clock_timestamp())::float8 AS ends_in_s
  FROM api_keys k LEFT JOIN tenants t ON t.id = k.tenant_id
 WHERE k.hash = $1 AND (k.revoked_at IS NULL OR k.revoked_at > clock_timestamp()) AND t.disabled_at IS NULL
"""

# Keys that stopped working lately, by revocation or because their tenant was shut out.
LATELY_ENDED = """
SELECT id, tenant_id FROM api_keys
 WHERE revoked_at > clock_timestamp() - make_interval(secs => $1) AND revoked_at <= clock_timestamp()
UNION ALL
SELECT k.id, k.tenant_id FROM tenants t JOIN api_keys k ON k.tenant_id = t.id
 WHERE t.disabled_at > clock_timestamp() - make_interval(secs => $1)
"""

MARK_USED = "UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = ANY ($1::uuid[])"

INSERT_SECRET = "INSERT INTO installation_secrets (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"  # noqa: S105
GET_SECRET = "SELECT secret FROM installation_secrets WHERE name = $1"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it may be shown: never its secret. Times are RFC 3339 in UTC. `limits`: its own rate limits, if any."""

    id: ApiKeyId
    tenant_id: TenantId | None
    kind: KeyKind
    name: str
    prefix: str
    limits: Mapping[str, Any]
    created_at: str
    last_used_at: str | None
    revoked_at: str | None


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """Who holds a key. `tenant_id` is None for the platform's operators; `limited` names a key with own rate limits."""

    kind: KeyKind
    tenant_id: TenantId | None
    key_id: ApiKeyId
    limited: LimitedKey | None = None


async def create_key(
    db: Connection,
    *,
    kind: KeyKind,
    tenant_id: TenantId | None,
    name: str,
    secret: Secret,
    limits: Mapping[str, Any] | None = None,
) -> ApiKey:
    """Store a new key's hash. Raises NotFound if there is no such tenant."""
    try:
        row = await db.fetchrow(
            INSERT_KEY, new_id(), tenant_id, kind, name, secret.hash, secret.prefix, dict(limits or {})
        )
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound("no such tenant") from error
    assert row is not None
    return _key(row)


async def get_key(db: Connection, scope: Scope | None, key_id: str) -> ApiKey | None:
    """One key of the tenant, or of the platform for scope None (operators' role)."""
    row = await db.fetchrow(GET_KEY, _tenant_id(scope), key_id) if is_id(key_id) else None
    return None if row is None else _key(row)


async def list_keys(db: Connection, scope: Scope | None, *, after: str | None, limit: int) -> list[ApiKey]:
    """Keys in order of id, those behind `after`, revoked ones included."""
    return [_key(row) for row in await db.fetch(LIST_KEYS, _tenant_id(scope), after, limit)]


async def revoke_key(db: Connection, scope: Scope | None, key_id: str, *, after_s: float = 0.0) -> ApiKey | None:
    """End a key, now or in `after_s` seconds. Twice is once; None if there is no such key."""
    row = await db.fetchrow(REVOKE_KEY, _tenant_id(scope), key_id, after_s) if is_id(key_id) else None
    return None if row is None else _key(row)


async def find_by_hash(db: Connection, digest: bytes) -> tuple[KeyIdentity, float | None] | None:
    """The holder of a key that works now, with the seconds until it ends (None: no end is set); operators' role."""
    row = await db.fetchrow(FIND_BY_HASH, digest)
    if row is None:
        return None
    tenant_id = row["tenant_id"]
    key_id = ApiKeyId(row["id"])
    limited = LimitedKey(key_id, limits_in(row["limits"])) if row["limits"] else None
    identity = KeyIdentity(row["kind"], None if tenant_id is None else TenantId(tenant_id), key_id, limited)
    return identity, row["ends_in_s"]


async def list_lately_ended(db: Connection, *, within_s: float) -> list[ApiKeyId]:
    """Ids of keys that stopped working during the last `within_s` seconds (operators' role)."""
    return [ApiKeyId(row["id"]) for row in await db.fetch(LATELY_ENDED, within_s)]


async def mark_used(db: Connection, key_ids: Sequence[ApiKeyId]) -> None:
    """Set `last_used_at` to now (operators' role)."""
    await db.execute(MARK_USED, list(key_ids))


async def load_secret(db: Connection, name: Literal["visitor_tokens"]) -> bytes:
    """The installation's secret of that name, made at first use (operators' role).

    Two processes that start at once agree: the second one's insert waits for the first and does nothing.
    """
    await db.execute(INSERT_SECRET, name, secrets.token_bytes(32))
    return bytes(await db.fetchval(GET_SECRET, name))


def _tenant_id(scope: Scope | None) -> str | None:
    return None if scope is None else scope.tenant_id


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _key(row: Mapping[str, Any]) -> ApiKey:
    tenant_id = row["tenant_id"]
    return ApiKey(
        id=ApiKeyId(row["id"]),
        tenant_id=None if tenant_id is None else TenantId(tenant_id),
        kind=row["kind"],
        name=row["name"],
        prefix=row["prefix"],
        limits=row["limits"],
        created_at=_text(row["created_at"]) or "",
        last_used_at=_text(row["last_used_at"]),
        revoked_at=_text(row["revoked_at"]),
    )
