"""Budgets of a tenant: set, listed with what is spent of them, removed. Functions never commit.

What a budget holds back is decided by SQL functions in the transaction that opens a call (`ledger.py`); here the same
functions begin a new budget's first period, which counts what the ledger has already spent in it. Most of that sum is
made before any call is held up, so that a large ledger does not stop its tenant.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from chatwright.adapters.postgres import Connection
from chatwright.adapters.postgres.pool import Row
from chatwright.domain.errors import Forbidden, NotFound, Unprocessable
from chatwright.domain.ids import is_id, new_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.features.budgets.rules import (
    END,
    Action,
    Period,
    PeriodKind,
    ScopeKind,
    SetBy,
    forecast_nano,
    period_at,
)

MOST_NANO = 10**18
"""A billion dollars: what a column of 64 bits holds with room for sums."""
_MOST_BUDGETS = 1000

GET_ZONE = "SELECT now() AS now, time_zone FROM tenants WHERE id = $1"

FIND_CHATBOT = "SELECT id FROM chatbots WHERE tenant_id = $1 AND (id::text = $2 OR slug = $2)"

COUNT_BUDGETS = "SELECT count(*) FROM budgets WHERE tenant_id = $1"

PUT_BUDGET = """
INSERT INTO budgets (id, tenant_id, scope, scope_id, period, limit_nano, action, set_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, scope, scope_id, period, set_by)
DO UPDATE SET limit_nano = excluded.limit_nano, action = excluded.action, updated_at = now()
RETURNING id, tenant_id, scope, scope_id, period, limit_nano, action, set_by, created_at, updated_at
"""

LAST_END = "SELECT max(ends_at) FROM budget_periods WHERE tenant_id = $1 AND budget_id = $2"

BEGIN_PERIOD = "SELECT begin_budget_period($1, $2, $3, $4)"

LIST_BUDGETS = """
SELECT b.id, b.tenant_id, b.scope, b.scope_id, b.period, b.limit_nano, b.action, b.set_by, b.created_at, b.updated_at,
       p.starts_at, p.ends_at, p.spent_nano, p.reserved_nano, p.refused, t.time_zone, now() AS now,
       (SELECT max(e.ends_at) FROM budget_periods e
         WHERE e.tenant_id = b.tenant_id AND e.budget_id = b.id AND e.ends_at <= now()) AS last_end
  FROM budgets b JOIN tenants t ON t.id = b.tenant_id
  LEFT JOIN budget_periods p ON p.tenant_id = b.tenant_id AND p.budget_id = b.id
                            AND p.starts_at <= now() AND now() < p.ends_at
 WHERE b.tenant_id = $1 ORDER BY b.scope = 'tenant' DESC, b.scope, b.scope_id, b.period, b.set_by
"""

LOCK_BUDGET = "SELECT set_by FROM budgets WHERE tenant_id = $1 AND id = $2 FOR UPDATE"

# In the order in which closes take them; the deletion then finds them its own.
LOCK_COUNTERS_OF = "SELECT id FROM budget_periods WHERE tenant_id = $1 AND budget_id = $2 ORDER BY id FOR UPDATE"

DELETE_BUDGET = "DELETE FROM budgets WHERE tenant_id = $1 AND id = $2 RETURNING id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be spent in each period by a tenant, one of its chatbots, one visitor or one import.

    `scope_id` is the id of what `scope_kind` says. `action`: what follows when a call would pass the limit: `block`
    (402), `downgrade` (the cheap model goes on, past the limit), `extractive` (only what costs nothing answers),
    `alert` (nothing: it is only told). `set_by`: what an operator set only operators change, and a tenant's own of the
    same scope and period stands beside it; both hold. Times are RFC 3339 in UTC.
    """

    id: str
    tenant_id: str
    scope_kind: ScopeKind
    scope_id: str
    period: PeriodKind
    limit_nano: int
    action: Action
    set_by: SetBy
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """A budget and its running period. `refused` counts the calls that it has held back.

    `forecast_nano`: what the period's end will see at this pace, None where that cannot be told. `ends_at` is None for
    a total. Times are RFC 3339 in UTC.
    """

    budget: Budget
    starts_at: str
    ends_at: str | None
    spent_nano: int
    reserved_nano: int
    refused: int
    forecast_nano: int | None


async def put_budget(
    db: Connection,
    scope: Scope,
    *,
    scope_kind: ScopeKind,
    scope_id: str,
    period: PeriodKind,
    limit_nano: int,
    action: Action,
    set_by: SetBy = "tenant",
) -> Budget:
    """Set a budget: a new one, or another limit and action for the one of the same scope, period and `set_by`.

    `scope_id` is a chatbot's id or slug, a visitor's or an import's id; for the tenant it is not looked at. A new
    budget counts from the start what the ledger has spent in the running period. Raises NotFound for an unknown
    tenant or chatbot, Unprocessable for a limit out of range, an empty id or too many budgets.
    """
    if not 0 <= limit_nano <= MOST_NANO:
        raise Unprocessable("a limit lies between 0 and a billion dollars", param="limit_usd")
    tenant = await db.fetchrow(GET_ZONE, scope.tenant_id)
    if tenant is None:
        raise NotFound("no such tenant")
    subject = await _subject(db, scope, scope_kind, scope_id)
    fresh_id = new_id()
    row = await db.fetchrow(
        PUT_BUDGET, fresh_id, scope.tenant_id, scope_kind, subject, period, limit_nano, action, set_by
    )
    assert row is not None
    if row["id"] == fresh_id and int(await db.fetchval(COUNT_BUDGETS, scope.tenant_id)) > _MOST_BUDGETS:
        raise Unprocessable(f"a tenant has at most {_MOST_BUDGETS} budgets; remove one first")
    last_end = await db.fetchval(LAST_END, scope.tenant_id, row["id"])
    now: datetime = tenant["now"]
    running = period_at(period, ZoneInfo(tenant["time_zone"]), now, not_before=last_end)
    # Nobody sees the new budget before its counter: both are committed together, with the tenant's calls held up only
    # while the latest of them are added.
    await db.execute(BEGIN_PERIOD, row["id"], running.starts_at, running.ends_at, now)
    return _budget(row)


async def list_budgets(db: Connection, scope: Scope) -> list[BudgetStatus]:
    """The tenant's budgets with their running periods: its own first, then by scope and period."""
    return [_status(row) for row in await db.fetch(LIST_BUDGETS, scope.tenant_id)]


async def delete_budget(db: Connection, scope: Scope, budget_id: str, *, by: SetBy = "operator") -> bool:
    """Remove a budget and its counters; what was spent stays in the ledger. Returns False if there is none.

    Raises Forbidden when a tenant (`by`) would remove what an operator set.
    """
    if not is_id(budget_id):
        return False
    row = await db.fetchrow(LOCK_BUDGET, scope.tenant_id, budget_id)
    if row is None:
        return False
    if row["set_by"] == "operator" and by != "operator":
        raise Forbidden("an operator set this budget: only an operator can change or remove it")
    await db.fetch(LOCK_COUNTERS_OF, scope.tenant_id, budget_id)
    return await db.fetchval(DELETE_BUDGET, scope.tenant_id, budget_id) is not None


async def _subject(db: Connection, scope: Scope, scope_kind: ScopeKind, scope_id: str) -> str:
    if scope_kind == "tenant":
        return scope.tenant_id
    if scope_kind == "chatbot":
        found = await db.fetchval(FIND_CHATBOT, scope.tenant_id, scope_id)
        if found is None:
            raise NotFound("no such chatbot", param="scope_id")
        return str(found)
    if not 0 < len(scope_id) <= 200:
        raise Unprocessable(f"name the {scope_kind}, in at most 200 characters", param="scope_id")
    return scope_id


def _status(row: Row) -> BudgetStatus:
    now: datetime = row["now"]
    if row["starts_at"] is None:  # no call since it began: nothing was spent
        zone = ZoneInfo(row["time_zone"])
        period = period_at(cast("PeriodKind", row["period"]), zone, now, not_before=row["last_end"])
    else:
        period = Period(row["starts_at"], row["ends_at"])
    spent_nano = row["spent_nano"] or 0
    return BudgetStatus(
        budget=_budget(row),
        starts_at=rfc3339(period.starts_at),
        ends_at=None if period.ends_at >= END else rfc3339(period.ends_at),
        spent_nano=spent_nano,
        reserved_nano=row["reserved_nano"] or 0,
        refused=row["refused"] or 0,
        forecast_nano=forecast_nano(period, spent_nano, now),
    )


def _budget(row: Row) -> Budget:
    fields: dict[str, Any] = dict(row)
    return Budget(
        id=fields["id"],
        tenant_id=fields["tenant_id"],
        scope_kind=fields["scope"],
        scope_id=fields["scope_id"],
        period=fields["period"],
        limit_nano=fields["limit_nano"],
        action=fields["action"],
        set_by=fields["set_by"],
        created_at=rfc3339(fields["created_at"]),
        updated_at=rfc3339(fields["updated_at"]),
    )
