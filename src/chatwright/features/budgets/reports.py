"""Sums over the ledger, in groups: the usage report of a tenant, or of all tenants for operators. And what is left of
budgets, for the gauge.

Read by `entrypoints/admin_usage.py` and `pipeline/budgeting.py`. A report is one statement over a range of time; one that is too long for that is
read day by day with `ledger_span` and `usage_rows`, so that neither memory nor a transaction grows with the range.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from chatwright.adapters.postgres.pool import Connection
from chatwright.domain.scope import Scope

GroupBy = Literal["day", "model", "provider", "chatbot", "tenant", "purpose", "kind", "key", "visitor", "import"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)

_COLUMNS: dict[GroupBy, str] = {
    "day": "to_char(opened_at AT TIME ZONE $3, 'YYYY-MM-DD')",
    "model": "model",
    "provider": "provider",
    "chatbot": "coalesce(chatbot_id::text, '')",
    "tenant": "calls.tenant_id::text",
    "purpose": "purpose",
    "kind": "kind",
    "key": "coalesce(key_id, '')",
    "visitor": "coalesce(visitor_id, '')",
    "import": "coalesce(import_id, '')",
}

# Looked up once per row of the report, not once per call.
_NAMES: dict[GroupBy, str] = {
    "chatbot": "(SELECT slug FROM chatbots WHERE chatbots.id = nullif(summed.chatbot, '')::uuid) AS chatbot_slug, ",
    "tenant": "(SELECT name FROM tenants WHERE tenants.id = summed.tenant::uuid) AS tenant_name, ",
}

_SUMS = """
count(*) FILTER (WHERE kind = 'call') AS calls,
count(*) FILTER (WHERE kind = 'cache_hit') AS cache_hits,
coalesce(sum(input_tokens), 0)::bigint AS input_tokens, coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens,
coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
coalesce(sum(cost_nano), 0)::bigint AS cost_nano, coalesce(sum(saved_nano), 0)::bigint AS saved_nano,
count(*) FILTER (WHERE cost_nano IS NULL AND state <> 'open') AS unpriced_calls,
count(*) FILTER (WHERE estimated) AS estimated_calls
"""

_FIGURES = "calls, cache_hits, input_tokens, cached_tokens, output_tokens, cost_nano, saved_nano, unpriced_calls, estimated_calls"

# `$3::text <> ''` says what the third argument is in a report that is not grouped by day.
USAGE = f"""
SELECT {{groups}} {{names}} {_FIGURES}
  FROM (SELECT {{columns}} {_SUMS} FROM calls
         WHERE tenant_id = $4 AND opened_at >= $1 AND opened_at < $2 AND $3::text <> '' {{grouping}}) AS summed {{ordering}}
"""

# By way of `tenants`, because the ledger's index on time begins with the tenant.
USAGE_OF_ALL = f"""
SELECT {{groups}} {{names}} {_FIGURES}
  FROM (SELECT {{columns}} {_SUMS} FROM tenants JOIN calls ON calls.tenant_id = tenants.id
         WHERE opened_at >= $1 AND opened_at < $2 AND $3::text <> '' {{grouping}}) AS summed {{ordering}}
"""

SPAN = "SELECT min(opened_at) AS first, max(opened_at) AS last FROM calls WHERE tenant_id = $1"

SPAN_OF_ALL = """
SELECT min(one.first) AS first, max(one.last) AS last
  FROM tenants CROSS JOIN LATERAL
       (SELECT min(opened_at) AS first, max(opened_at) AS last FROM calls WHERE calls.tenant_id = tenants.id) AS one
"""

CHATBOT_SLUGS = """
SELECT DISTINCT chatbots.id, chatbots.slug
  FROM budgets JOIN chatbots ON chatbots.tenant_id = budgets.tenant_id AND chatbots.id::text = budgets.scope_id
 WHERE budgets.tenant_id = $1 AND budgets.scope = 'chatbot'
"""

REMAINING = """
-- operators: the gauge of all tenants, the tightest first. A period that nobody has spent in yet has no row. The latest
-- row only: a budget of years has one for each of its days.
SELECT budgets.tenant_id, budgets.scope, budgets.period,
       min(budgets.limit_nano - coalesce(latest.spent_nano, 0) - coalesce(latest.reserved_nano, 0))::bigint
           AS remaining_nano
  FROM budgets LEFT JOIN LATERAL
       (SELECT ends_at, spent_nano, reserved_nano FROM budget_periods
         WHERE budget_periods.tenant_id = budgets.tenant_id AND budget_id = budgets.id AND starts_at <= now()
         ORDER BY starts_at DESC LIMIT 1) AS latest ON now() < latest.ends_at
 GROUP BY 1, 2, 3 ORDER BY 4
"""


@dataclass(frozen=True, slots=True)
class Remaining:
    """What the tightest of a tenant's budgets of one scope and period has left; negative where more was spent."""

    tenant_id: str
    scope_kind: str
    period: str
    remaining_nano: int


@dataclass(frozen=True, slots=True)
class Span:
    """When the first and the latest call of a ledger were opened, in UTC."""

    first: datetime
    last: datetime


def columns_of(group_by: Sequence[GroupBy]) -> list[str]:
    """The names of a report's columns in their order: groups, what names them, figures."""
    names = [f"{name}_{'slug' if name == 'chatbot' else 'name'}" for name in group_by if name in _NAMES]
    return [*group_by, *names, *_FIGURES.split(", ")]


async def usage_rows(
    db: Connection,
    scope: Scope | None,
    *,
    group_by: Sequence[GroupBy],
    since: datetime,
    until: datetime,
    time_zone: str = "UTC",
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Sum the ledger over `since` <= opened < `until`, one row per group, in the order of the groups. Days are those of
    `time_zone`, an IANA name. Calls without a key, visitor, import or chatbot are grouped under "".

    Scope None: over all tenants (operators' role). Without groups there is exactly one row, the total.
    """
    positions = ", ".join(str(place + 1) for place in range(len(group_by)))
    statement = (USAGE_OF_ALL if scope is None else USAGE).format(
        groups="".join(f'"{name}", ' for name in group_by),
        names="".join(_NAMES.get(name, "") for name in group_by),
        columns="".join(f'{_COLUMNS[name]} AS "{name}", ' for name in group_by),
        grouping=f"GROUP BY {positions}" if group_by else "",
        ordering=(f"ORDER BY {positions}" if group_by else "") + (f" LIMIT {int(limit)}" if limit else ""),
    )
    arguments = (since, until, time_zone) if scope is None else (since, until, time_zone, scope.tenant_id)
    return [dict(row) for row in await db.fetch(statement, *arguments)]


async def ledger_span(db: Connection, scope: Scope | None) -> Span | None:
    """From when to when there are calls at all; None for an empty ledger. Scope None: of all tenants."""
    row = await (db.fetchrow(SPAN_OF_ALL) if scope is None else db.fetchrow(SPAN, scope.tenant_id))
    return None if row is None or row["first"] is None else Span(row["first"], row["last"])


async def chatbot_slugs(db: Connection, scope: Scope) -> dict[str, str]:
    """The slugs of the chatbots that have budgets, by id."""
    return {row["id"]: row["slug"] for row in await db.fetch(CHATBOT_SLUGS, scope.tenant_id)}


async def list_remaining(db: Connection) -> list[Remaining]:
    """What is left in the running periods of all tenants' budgets (operators' role)."""
    rows = await db.fetch(REMAINING)
    return [Remaining(row["tenant_id"], row["scope"], row["period"], row["remaining_nano"]) for row in rows]
