"""SQL over idempotency keys. Functions never commit.

A key is claimed before the work and finished with its reply after it; a claim without a reply is work under way, or a
process that died at it: `take_over_s` later another may claim it anew.
"""

from dataclasses import dataclass
from typing import Any, Literal

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import TenantId

CLAIM = """
INSERT INTO idempotency_keys (tenant_id, key, body_hash) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, key) DO UPDATE
   SET body_hash = excluded.body_hash, status = NULL, response = NULL, created_at = now()
 WHERE idempotency_keys.created_at < now() - make_interval(hours => $4)
    OR (idempotency_keys.status IS NULL AND idempotency_keys.response IS NULL
        AND idempotency_keys.body_hash = excluded.body_hash
        AND idempotency_keys.created_at < now() - make_interval(secs => $5))
RETURNING 1
"""

FIND = "SELECT body_hash, status, response FROM idempotency_keys WHERE tenant_id = $1 AND key = $2"

FINISH = """
INSERT INTO idempotency_keys (tenant_id, key, body_hash, status, response) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, key) DO UPDATE SET status = excluded.status, response = excluded.response
 WHERE idempotency_keys.tenant_id = $1 AND idempotency_keys.body_hash = excluded.body_hash
"""

RELEASE = """
DELETE FROM idempotency_keys WHERE tenant_id = $1 AND key = $2 AND body_hash = $3 AND status IS NULL
"""

# Operators' role: the sweeper's broom over all tenants.
PURGE = "DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(hours => $1)"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key stands at. `mine`: do the work. `busy`: somebody else does it now. `done`: here is its reply.
    `other`: the key was used for something else."""

    state: Literal["mine", "busy", "done", "other"]
    status: int = 0
    response: Any = None


async def claim(
    db: Connection, tenant_id: TenantId, key: str, body_hash: bytes, *, hours: int, take_over_s: float
) -> Claim:
    """Take a key for one piece of work, or learn what became of it."""
    if await db.fetchval(CLAIM, tenant_id, key, body_hash, hours, take_over_s) is not None:
        return Claim("mine")
    return await find(db, tenant_id, key, body_hash) or Claim("busy")


async def find(db: Connection, tenant_id: TenantId, key: str, body_hash: bytes) -> Claim | None:
    """What a key stands at, None if it was never used."""
    row = await db.fetchrow(FIND, tenant_id, key)
    if row is None:
        return None
    if bytes(row["body_hash"]) != body_hash:
        return Claim("other")
    if row["status"] is None:
        return Claim("busy")
    return Claim("done", row["status"], row["response"])


async def finish(
    db: Connection, tenant_id: TenantId, key: str, body_hash: bytes, *, status: int, response: Any
) -> None:
    """Keep the reply for whoever asks again."""
    await db.execute(FINISH, tenant_id, key, body_hash, status, response)


async def release(db: Connection, tenant_id: TenantId, key: str, body_hash: bytes) -> None:
    """Give a key back: the work failed and may be tried again."""
    await db.execute(RELEASE, tenant_id, key, body_hash)


async def purge(db: Connection, *, hours: int) -> None:
    """Forget keys older than `hours` (operators' role)."""
    await db.execute(PURGE, hours)
