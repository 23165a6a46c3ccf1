"""SQL over what keys were used for: windows of ten minutes, and the comparison of now with the week before.

All under the operators' role, once a minute over all processes. The ledger's ids are in order of time, so its primary
key finds the latest calls: watching costs the calls themselves no index.
"""

from chatwright.adapters.postgres import Connection
from chatwright.features.provider_keys.anomaly import WINDOW_S, Activity

CLAIM_CHORE = """
INSERT INTO chores (name) VALUES ($1)
ON CONFLICT (name) DO UPDATE SET done_at = now() WHERE chores.done_at < now() - make_interval(secs => $2)
RETURNING name
"""

# This window and the one before it, as they stand now: calls end a while after they began. The text made of now is the
# first ledger id that can be of that time; clocks of two machines may differ by five minutes.
ROLL_UP = """
WITH counted AS (
    SELECT key_id, provider, date_bin(make_interval(secs => $1::int), opened_at, 'epoch'::timestamptz) AS opened_at,
           count(*) AS calls, count(*) FILTER (WHERE state IN ('failed', 'cut')) AS failures,
           coalesce(sum(cost_nano), 0)::bigint AS cost_nano
      FROM calls
     WHERE key_id IS NOT NULL AND state <> 'open'
       AND id >= (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - (2 * $1::int + 300) * 1000), 12, '0')
                  || '70008000000000000000')::uuid
       AND opened_at >= date_bin(make_interval(secs => $1::int), now(), 'epoch'::timestamptz)
                        - make_interval(secs => $1::int)
     GROUP BY 1, 2, 3
)
INSERT INTO key_usage (key_id, provider, tenant_id, opened_at, calls, failures, cost_nano)
SELECT counted.key_id, counted.provider, provider_keys.tenant_id, counted.opened_at, counted.calls, counted.failures,
       counted.cost_nano
  FROM counted LEFT JOIN provider_keys ON provider_keys.id::text = counted.key_id
ON CONFLICT (key_id, provider, opened_at) DO UPDATE
   SET calls = excluded.calls, failures = excluded.failures, cost_nano = excluded.cost_nano
"""

COMPARE = """
WITH lately AS (
    SELECT key_id, provider, count(*) AS calls, count(*) FILTER (WHERE state IN ('failed', 'cut')) AS failures,
           coalesce(sum(cost_nano), 0)::bigint AS cost_nano
      FROM calls
     WHERE key_id IS NOT NULL AND state <> 'open'
       AND id >= (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - ($1::int + 300) * 1000), 12, '0')
                  || '70008000000000000000')::uuid
       AND opened_at >= now() - make_interval(secs => $1::int)
     GROUP BY 1, 2
), usual AS (
    SELECT key_id, provider, count(*) AS windows, sum(key_usage.calls)::bigint AS calls,
           sum(key_usage.failures)::bigint AS failures,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY key_usage.cost_nano)::bigint AS cost_nano
      FROM key_usage JOIN lately USING (key_id, provider)
     WHERE key_usage.opened_at >= now() - interval '7 days'
       AND key_usage.opened_at < now() - make_interval(secs => 2 * $1::int)
     GROUP BY 1, 2
)
SELECT lately.key_id, lately.provider, provider_keys.tenant_id,
       coalesce(nullif(provider_keys.name, ''), provider_keys.hint, '') AS label,
       lately.calls, lately.failures, lately.cost_nano,
       coalesce(usual.windows, 0) AS usual_windows, coalesce(usual.calls, 0) AS usual_calls,
       coalesce(usual.failures, 0) AS usual_failures, coalesce(usual.cost_nano, 0) AS usual_cost_nano
  FROM lately LEFT JOIN usual USING (key_id, provider)
  LEFT JOIN provider_keys ON provider_keys.id::text = lately.key_id
"""

TRIM = "DELETE FROM key_usage WHERE opened_at < now() - interval '8 days'"


async def claim_chore(db: Connection, name: str, *, every_s: float) -> bool:
    """Whether this process does the work of that name for this period; all others are told no."""
    return await db.fetchval(CLAIM_CHORE, name, every_s) is not None


async def roll_up(db: Connection) -> None:
    """Write the latest windows of all keys, and forget those past a week."""
    await db.execute(ROLL_UP, WINDOW_S)
    await db.execute(TRIM)


async def compare(db: Connection) -> list[Activity]:
    """Every key used in the last ten minutes, beside its usual."""
    return [Activity(**row) for row in await db.fetch(COMPARE, WINDOW_S)]
