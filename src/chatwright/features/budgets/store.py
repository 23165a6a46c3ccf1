"""SQL of the ledger. Opening and closing run under the operators' role, grouped over tenants in one statement."""

from chatwright.adapters.postgres.pool import Connection

# Operators: one row and one reservation per call that is about to be made, many calls in one commit. A row comes back for
# each call that was not opened.
OPEN_CALLS = """
SELECT call_id, verdict, budget_id, budget_scope, budget_action, at
  FROM open_calls($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
"""

# Operators: rows are closed once, and settled with the budgets that they are reserved in.
CLOSE_CALLS = "SELECT close_calls($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"

# Operators: what reading from the provider's own prompt cache saved, of the few calls that did.
NOTE_SAVED = """
UPDATE calls SET saved_nano = told.saved_nano
  FROM unnest($1::uuid[], $2::bigint[]) AS told (id, saved_nano) WHERE calls.id = told.id
"""

# Operators: rows that a crash left open are settled at their reservation and flagged. $1 age in seconds.
ABANDON_CALLS = "SELECT abandon_calls($1)"

# Operators: rows of what caches gave, many in one commit; a group that is written again after a lost reply adds nothing.
NOTE_HITS = """
INSERT INTO calls (id, tenant_id, chatbot_id, conversation_id, message_id, visitor_id, import_id, kind, purpose, provider,
                   model, state, cost_nano, saved_nano, price_book, closed_at)
SELECT id, tenant_id, chatbot_id, conversation_id, message_id, visitor_id, import_id, 'cache_hit', purpose, provider, model,
       'ok', 0, saved_nano, price_book, now()
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[],
              $10::text[], $11::bigint[], $12::text[])
    AS hit (id, tenant_id, chatbot_id, conversation_id, message_id, visitor_id, import_id, purpose, provider, model,
            saved_nano, price_book)
ON CONFLICT (id) DO NOTHING
"""

# Operators: budgets without a running period, of everybody. $1 how many.
WITHOUT_PERIOD = """
SELECT b.id, now() AS at FROM budgets b
 WHERE NOT EXISTS (SELECT FROM budget_periods p WHERE p.tenant_id = b.tenant_id AND p.budget_id = b.id
                                    AND p.starts_at <= now() AND now() < p.ends_at)
 LIMIT $1
"""

# Operators: what is needed to begin a budget's next period. $1 budgets, $2 the moment.
UNBEGUN = """
SELECT b.id, b.period, t.time_zone,
       (SELECT max(p.ends_at) FROM budget_periods p
         WHERE p.tenant_id = b.tenant_id AND p.budget_id = b.id AND p.ends_at <= $2) AS last_end
  FROM budgets b JOIN tenants t ON t.id = b.tenant_id
 WHERE b.id = ANY ($1::uuid[]) ORDER BY b.tenant_id, b.id
"""


async def abandon_open_calls(db: Connection, *, older_than_s: float) -> int:
    """Settle rows that a crash left open. Returns how many."""
    return int(await db.fetchval(ABANDON_CALLS, older_than_s))
