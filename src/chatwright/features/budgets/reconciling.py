"""The ledger against the counters: what each period's calls add up to, what its counter says, and the repair.

The ledger is the truth. Looking locks nothing: a counter and the rows that it counts change in the same transactions,
so in any one snapshot they agree, or something is wrong. Functions never commit.
"""

from dataclasses import dataclass, replace
from typing import Any

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.features.budgets.rules import END, PeriodKind, ScopeKind

COMPARE = """
SELECT p.id, p.budget_id, b.scope, b.scope_id, b.period, p.starts_at, p.ends_at, p.spent_nano, p.reserved_nano,
       ledger.spent_nano AS ledger_spent_nano, ledger.reserved_nano AS ledger_reserved_nano
  FROM budget_periods p
  JOIN budgets b ON b.tenant_id = p.tenant_id AND b.id = p.budget_id
 CROSS JOIN LATERAL ledger_of_budget(p.tenant_id, b.scope, b.scope_id, p.starts_at, p.ends_at) AS ledger
 WHERE p.tenant_id = $1
   AND (p.spent_nano, p.reserved_nano) IS DISTINCT FROM (ledger.spent_nano, ledger.reserved_nano)
 ORDER BY p.id
"""

RECOUNT = "SELECT recount_budget_period(id) FROM budget_periods WHERE tenant_id = $1 AND id = $2"

NOTE_REPAIR = """
INSERT INTO audit_log (id, tenant_id, actor, action, target, detail) VALUES ($1, $2, $3, 'budget.repaired', $4, $5)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A period whose counter does not say what the ledger says. `repaired`: it does now. Times are RFC 3339 in UTC,
    `ends_at` is None for a total."""

    period_id: str
    budget_id: str
    scope_kind: ScopeKind
    scope_id: str
    period: PeriodKind
    starts_at: str
    ends_at: str | None
    spent_nano: int
    reserved_nano: int
    ledger_spent_nano: int
    ledger_reserved_nano: int
    repaired: bool = False


async def reconcile(db: Connection, scope: Scope) -> list[Drift]:
    """Compare every period's counter with the ledger, running and past ones; empty: all agree. Holds up no call."""
    return [_drift(dict(row)) for row in await db.fetch(COMPARE, scope.tenant_id)]


async def repair(db: Connection, scope: Scope, drift: Drift, *, actor: str = "system") -> Drift:
    """Set one counter to what the ledger says, with an audit entry by `actor`. One in a transaction: the tenant's calls
    wait from here to its end."""
    await db.execute(RECOUNT, scope.tenant_id, drift.period_id)
    detail = {
        "starts_at": drift.starts_at,
        "spent_nano": [drift.spent_nano, drift.ledger_spent_nano],
        "reserved_nano": [drift.reserved_nano, drift.ledger_reserved_nano],
    }
    await db.execute(NOTE_REPAIR, new_id(), scope.tenant_id, actor, drift.budget_id, detail)
    return replace(drift, repaired=True)


def _drift(row: dict[str, Any]) -> Drift:
    return Drift(
        period_id=row["id"],
        budget_id=row["budget_id"],
        scope_kind=row["scope"],
        scope_id=row["scope_id"],
        period=row["period"],
        starts_at=rfc3339(row["starts_at"]),
        ends_at=None if row["ends_at"] >= END else rfc3339(row["ends_at"]),
        spent_nano=row["spent_nano"],
        reserved_nano=row["reserved_nano"],
        ledger_spent_nano=row["ledger_spent_nano"],
        ledger_reserved_nano=row["ledger_reserved_nano"],
    )
