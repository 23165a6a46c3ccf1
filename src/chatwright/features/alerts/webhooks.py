"""SQL over webhooks: where a tenant, or the platform (tenant null, operators' role), has its alerts delivered.

Functions never commit. Sealing is the caller's matter: rows go in and out sealed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import asyncpg

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import NotFound
from chatwright.domain.ids import TenantId, is_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339

WebhookKind = Literal["webhook", "slack", "email"]

_COLUMNS = """id, tenant_id, kind, target, events, sealed, sealed_by, version, enabled, created_at, last_ok_at, last_error,
       failures"""

INSERT_WEBHOOK = f"""
INSERT INTO webhooks (id, tenant_id, kind, target, events, sealed, sealed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING {_COLUMNS}
"""

GET_WEBHOOK = f"SELECT {_COLUMNS} FROM webhooks WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2"

LIST_WEBHOOKS = f"""
SELECT {_COLUMNS} FROM webhooks
 WHERE tenant_id IS NOT DISTINCT FROM $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3
"""

COUNT_WEBHOOKS = "SELECT count(*) FROM webhooks WHERE tenant_id IS NOT DISTINCT FROM $1"

PATCH_WEBHOOK = f"""
UPDATE webhooks SET events = coalesce($3, events), enabled = coalesce($4, enabled)
 WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2
RETURNING {_COLUMNS}
"""

DELETE_WEBHOOK = "DELETE FROM webhooks WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2 RETURNING id"

# One sample at a time: nobody floods an address through us.
CLAIM_SAMPLE = """
UPDATE webhooks SET tried_at = clock_timestamp()
 WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2
   AND (tried_at IS NULL OR tried_at < clock_timestamp() - make_interval(secs => $3::float8))
RETURNING id
"""

# Operators' role. Two that seal at once take different rows.
TAKE_SECRETS = """
SELECT id, tenant_id, sealed, sealed_by, version FROM webhooks
 WHERE sealed_by <> $1 AND sealed_by <> '' AND id > $2 ORDER BY id LIMIT $3
   FOR UPDATE SKIP LOCKED
"""

RESEAL_SECRETS = """
UPDATE webhooks SET sealed = fresh.sealed, sealed_by = $1, version = webhooks.version + 1
  FROM unnest($2::uuid[], $3::int[], $4::bytea[]) AS fresh (id, version, sealed)
 WHERE webhooks.id = fresh.id AND webhooks.version = fresh.version
RETURNING webhooks.id
"""

COUNT_SECRETS = """
SELECT sealed_by, count(*) AS secrets FROM webhooks WHERE sealed_by <> '' GROUP BY sealed_by ORDER BY sealed_by
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A stored secret and what it is bound to. `sealed_by` empty: there is none."""

    id: str
    tenant_id: TenantId | None
    sealed: bytes = field(repr=False)
    sealed_by: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where alerts go. `target` is what may be shown; times are RFC 3339 in UTC. `failures`: attempts failed in a row."""

    id: str
    tenant_id: TenantId | None
    kind: WebhookKind
    target: str
    events: tuple[str, ...]
    secret: Sealed = field(repr=False)
    enabled: bool
    created_at: str
    last_ok_at: str | None
    last_error: str | None
    failures: int


async def insert_webhook(
    db: Connection,
    tenant_id: TenantId | None,
    *,
    webhook_id: str,
    kind: WebhookKind,
    target: str,
    events: Sequence[str],
    sealed: bytes,
    sealed_by: str,
) -> Webhook:
    """Store a webhook. Raises NotFound if there is no such tenant."""
    try:
        row = await db.fetchrow(INSERT_WEBHOOK, webhook_id, tenant_id, kind, target, list(events), sealed, sealed_by)
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound("no such tenant") from error
    assert row is not None
    return webhook_of(row)


async def get_webhook(db: Connection, scope: Scope | None, webhook_id: str) -> Webhook | None:
    """One webhook of the tenant, or of the platform for scope None (operators' role)."""
    row = await db.fetchrow(GET_WEBHOOK, _tenant_id(scope), webhook_id) if is_id(webhook_id) else None
    return None if row is None else webhook_of(row)


async def list_webhooks(db: Connection, scope: Scope | None, *, after: str | None, limit: int) -> list[Webhook]:
    """Webhooks in order of id, those behind `after`."""
    return [webhook_of(row) for row in await db.fetch(LIST_WEBHOOKS, _tenant_id(scope), after, limit)]


async def count_webhooks(db: Connection, scope: Scope | None) -> int:
    return int(await db.fetchval(COUNT_WEBHOOKS, _tenant_id(scope)))


async def patch_webhook(
    db: Connection, scope: Scope | None, webhook_id: str, *, events: Sequence[str] | None, enabled: bool | None
) -> Webhook | None:
    """Change what is not None. Returns None if there is no such webhook."""
    if not is_id(webhook_id):
        return None
    asked = None if events is None else list(events)
    row = await db.fetchrow(PATCH_WEBHOOK, _tenant_id(scope), webhook_id, asked, enabled)
    return None if row is None else webhook_of(row)


async def delete_webhook(db: Connection, scope: Scope | None, webhook_id: str) -> bool:
    """Delete a webhook and what it still had to hear. Returns False if there is none."""
    return is_id(webhook_id) and await db.fetchval(DELETE_WEBHOOK, _tenant_id(scope), webhook_id) is not None


async def claim_sample(db: Connection, scope: Scope | None, webhook_id: str, *, every_s: float) -> bool:
    """Whether a sample may be sent now: at most one in `every_s` seconds."""
    return await db.fetchval(CLAIM_SAMPLE, _tenant_id(scope), webhook_id, every_s) is not None


async def take_secrets(db: Connection, newest: str, *, after: str, limit: int) -> list[Sealed]:
    """Lock up to `limit` webhooks behind `after` whose secret another key than `newest` sealed (operators' role)."""
    return [sealed_of(row) for row in await db.fetch(TAKE_SECRETS, newest, after, limit)]


async def write_secrets(db: Connection, newest: str, fresh: Sequence[tuple[str, int, bytes]]) -> int:
    """Store (id, version it was read at, ciphertext of the version after it). Returns how many were still at it."""
    columns = [list(column) for column in zip(*fresh, strict=True)]
    return len(await db.fetch(RESEAL_SECRETS, newest, *columns)) if fresh else 0


async def count_secrets_by(db: Connection) -> dict[str, int]:
    """How many secrets each key-encryption key seals (operators' role)."""
    return {row["sealed_by"]: row["secrets"] for row in await db.fetch(COUNT_SECRETS)}


def sealed_of(row: Mapping[str, Any]) -> Sealed:
    return Sealed(
        id=row["id"],
        tenant_id=row["tenant_id"],
        sealed=bytes(row["sealed"]),
        sealed_by=row["sealed_by"],
        version=row["version"],
    )


def webhook_of(row: Mapping[str, Any]) -> Webhook:
    return Webhook(
        id=row["id"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        target=row["target"],
        events=tuple(row["events"]),
        secret=sealed_of(row),
        enabled=row["enabled"],
        created_at=_text(row["created_at"]) or "",
        last_ok_at=_text(row["last_ok_at"]),
        last_error=row["last_error"],
        failures=row["failures"],
    )


def _tenant_id(scope: Scope | None) -> str | None:
    return None if scope is None else scope.tenant_id


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
