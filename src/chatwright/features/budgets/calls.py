"""Reading the ledger call by call: what was tried for a message, and what one message cost over all its attempts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatwright.adapters.postgres.pool import Connection
from chatwright.domain.ids import MessageId
from chatwright.domain.providers import Usage
from chatwright.domain.scope import Scope

LIST_CALLS = """
SELECT id, chatbot_id, conversation_id, message_id, kind, purpose, provider, model, key_id, state, error_class,
       upstream_status, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, reserved_nano,
       cost_nano, saved_nano, estimated, price_book, opened_at, closed_at
  FROM calls
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR message_id = $2) AND ($3::uuid IS NULL OR conversation_id = $3)
   AND ($4::uuid IS NULL OR id < $4)
 ORDER BY id DESC LIMIT $5
"""

MESSAGE_COST = """
SELECT coalesce(sum(input_tokens), 0)::bigint AS input_tokens, coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens,
       coalesce(sum(cache_write_tokens), 0)::bigint AS cache_write_tokens,
       coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
       coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens,
       coalesce(bool_or(estimated), false) AS estimated,
       CASE WHEN bool_and(cost_nano IS NOT NULL) IS NOT FALSE THEN coalesce(sum(cost_nano), 0)::bigint END AS cost_nano
  FROM calls WHERE tenant_id = $1 AND message_id = $2 AND state <> 'open'
"""

IMPORT_COST = """
SELECT count(*) FILTER (WHERE kind = 'call') AS calls,
       CASE WHEN bool_and(cost_nano IS NOT NULL) IS NOT FALSE THEN coalesce(sum(cost_nano), 0)::bigint END AS cost_nano
  FROM calls WHERE tenant_id = $1 AND import_id = $2 AND opened_at >= $3 AND state <> 'open'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCall:
    """One row of the ledger. `cost_nano` is None while the call runs, and where no price is known."""

    id: str
    chatbot_id: str | None
    conversation_id: str | None
    message_id: str | None
    kind: str
    purpose: str
    provider: str
    model: str
    key_id: str | None
    state: str
    error_class: str | None
    upstream_status: int | None
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    reserved_nano: int | None
    cost_nano: int | None
    saved_nano: int
    estimated: bool
    price_book: str | None
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What the closed calls of a message add up to; `cost_nano` is None as soon as one has no known price."""

    usage: Usage
    cost_nano: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCost:
    """What an import's closed calls add up to; `cost_nano` is None as soon as one has no known price."""

    calls: int
    cost_nano: int | None


async def list_calls(
    db: Connection,
    scope: Scope,
    *,
    message_id: str | None = None,
    conversation_id: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[LedgerCall]:
    """One page, newest first."""
    rows = await db.fetch(LIST_CALLS, scope.tenant_id, message_id, conversation_id, before, limit)
    return [LedgerCall(**row) for row in rows]


async def message_cost(db: Connection, scope: Scope, message_id: MessageId) -> Spent:
    """Sum a message's calls that have ended; one that is still being written is not in it."""
    row: dict[str, Any] = dict(await db.fetchrow(MESSAGE_COST, scope.tenant_id, message_id) or {})
    cost_nano = row.pop("cost_nano", 0)
    return Spent(Usage(**row), cost_nano)


async def import_cost(db: Connection, scope: Scope, import_id: str, *, since: datetime) -> ImportCost:
    """Sum an import's calls that have ended. `since`: when it was made; no earlier call is looked at."""
    row = await db.fetchrow(IMPORT_COST, scope.tenant_id, import_id, since)
    assert row is not None
    return ImportCost(calls=row["calls"], cost_nano=row["cost_nano"])
