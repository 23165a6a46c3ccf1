"""SQL of the ledger. Opening and closing run under the operators' role, grouped over tenants in one statement."""

from datetime import datetime
from typing import Any, Literal

from chatwright.adapters.postgres.pool import Connection, Row
from chatwright.domain.ids import MessageId
from chatwright.domain.scope import Scope

OPEN_CALLS = """
-- operators: one row per call that is about to be made, many calls in one commit. tenant_id = the call's own. No row
-- for an attempt ($12) that another one has taken over from: it may call nobody any more.
INSERT INTO calls (id, tenant_id, chatbot_id, conversation_id, message_id, kind, purpose, provider, model, key_id,
                   reserved_nano)
SELECT call.id, call.tenant_id, chatbot_id, conversation_id, call.message_id, kind, purpose, provider, model, key_id,
       reserved_nano
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[],
              $9::text[], $10::text[], $11::bigint[], $12::int[])
    AS call (id, tenant_id, chatbot_id, conversation_id, message_id, kind, purpose, provider, model, key_id,
             reserved_nano, attempt)
 WHERE call.message_id IS NULL
    OR NOT EXISTS (SELECT FROM jobs WHERE jobs.tenant_id = call.tenant_id AND jobs.message_id = call.message_id
                      AND jobs.attempt > call.attempt)
ON CONFLICT (id) DO NOTHING
RETURNING id
"""

CLOSE_CALLS = """
-- operators: a row is closed once; what the sweeper settled in the meantime stays settled. tenant_id is in the id's row.
UPDATE calls
   SET state = ended.state, error_class = ended.error_class, upstream_status = ended.upstream_status,
       model = coalesce(ended.model, calls.model),
       input_tokens = ended.input_tokens, cached_tokens = ended.cached_tokens,
       cache_write_tokens = ended.cache_write_tokens, output_tokens = ended.output_tokens,
       reasoning_tokens = ended.reasoning_tokens, cost_nano = ended.cost_nano, estimated = ended.estimated,
       price_book = ended.price_book, closed_at = now()
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
              $9::bigint[], $10::bigint[], $11::bigint[], $12::bool[], $13::text[])
    AS ended (id, state, error_class, upstream_status, model, input_tokens, cached_tokens, cache_write_tokens,
              output_tokens, reasoning_tokens, cost_nano, estimated, price_book)
 WHERE calls.id = ended.id AND calls.state IN ('open', 'abandoned')
"""

ABANDON_CALLS = """
-- operators: rows that a crash left open are settled at their reservation and flagged. $1 age in seconds.
UPDATE calls SET state = 'abandoned', estimated = true, cost_nano = reserved_nano, closed_at = now()
 WHERE state = 'open' AND opened_at < now() - make_interval(secs => $1)
"""

COUNT_CALLS = """
SELECT count(*) FROM calls WHERE tenant_id = $1 AND message_id = $2 AND kind = 'call' AND provider <> 'extractive'
"""

_GROUPS: dict[str, str] = {
    "day": "to_char(opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "model": "model",
    "provider": "provider",
    "chatbot": "coalesce(chatbot_id::text, '')",
}

USAGE = """
SELECT {columns} count(*) FILTER (WHERE kind = 'call') AS calls,
       coalesce(sum(input_tokens), 0)::bigint AS input_tokens, coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
       coalesce(sum(cost_nano), 0)::bigint AS cost_nano, coalesce(sum(saved_nano), 0)::bigint AS saved_nano,
       count(*) FILTER (WHERE cost_nano IS NULL AND state <> 'open') AS unpriced_calls
  FROM calls WHERE tenant_id = $1 AND opened_at >= $2 AND opened_at < $3
"""

GroupBy = Literal["day", "model", "provider", "chatbot"]


async def count_calls(db: Connection, scope: Scope, message_id: MessageId) -> int:
    """Provider calls made so far for one message, over all attempts."""
    return int(await db.fetchval(COUNT_CALLS, scope.tenant_id, message_id))


async def abandon_open_calls(db: Connection, *, older_than_s: float) -> int:
    """Settle rows that a crash left open. Returns how many."""
    status = await db.execute(ABANDON_CALLS, older_than_s)
    return int(status.rsplit(" ", 1)[-1])


async def usage_report(
    db: Connection, scope: Scope, *, group_by: list[GroupBy], since: datetime, until: datetime
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Sum the ledger over `since` <= opened < `until`. Returns (rows, total); a row has one key per group."""
    columns = "".join(f"{_GROUPS[name]} AS {name}, " for name in group_by)
    query = USAGE.format(columns=columns)
    if group_by:
        positions = ", ".join(str(i + 1) for i in range(len(group_by)))
        query += f" GROUP BY {positions} ORDER BY {positions}"
    rows = [dict(row) for row in await db.fetch(query, scope.tenant_id, since, until)]
    totals = await db.fetchrow(USAGE.format(columns=""), scope.tenant_id, since, until)
    return rows, dict(totals or _no_row())


def _no_row() -> Row:
    return {}
