"""The ledger against the counters: what each period's calls add up to, what its counter says, and the repair.

The ledger is the truth. Functions never commit.
"""

from dataclasses import dataclass
from typing import Any

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.features.budgets.budgets import LOCK, text_of
from chatwright.features.budgets.rules import END, PeriodKind, ScopeKind

# The counters first, so that no close is under way between the counter and the ledger's rows that are added up next.
LOCK_COUNTERS = "SELECT id FROM budget_periods WHERE tenant_id = $1 ORDER BY id FOR NO KEY UPDATE"

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
    repaired: bool


async def reconcile(db: Connection, scope: Scope, *, repair: bool, actor: str = "system") -> list[Drift]:
    """Compare every period's counter with the ledger, running and past ones; empty: all agree.

    With `repair` the counters are set to what the ledger says, with an audit entry for each by `actor`. No call of the
    tenant is opened or settled until the caller's transaction ends.
    """
    await db.execute(LOCK, scope.tenant_id)
    await db.fetch(LOCK_COUNTERS, scope.tenant_id)
    found = [dict(row) for row in await db.fetch(COMPARE, scope.tenant_id)]
    drifts = [_drift(row, repaired=repair) for row in found]
    if repair:
        for drift in drifts:
            await db.execute(RECOUNT, scope.tenant_id, drift.period_id)
            detail = {
                "starts_at": drift.starts_at,
                "spent_nano": [drift.spent_nano, drift.ledger_spent_nano],
                "reserved_nano": [drift.reserved_nano, drift.ledger_reserved_nano],
            }
            await db.execute(NOTE_REPAIR, new_id(), scope.tenant_id, actor, drift.budget_id, detail)
    return drifts


def _drift(row: dict[str, Any], *, repaired: bool) -> Drift:
    return Drift(
        period_id=row["id"],
        budget_id=row["budget_id"],
        scope_kind=row["scope"],
        scope_id=row["scope_id"],
        period=row["period"],
        starts_at=text_of(row["starts_at"]),
        ends_at=None if row["ends_at"] >= END else text_of(row["ends_at"]),
        spent_nano=row["spent_nano"],
        reserved_nano=row["reserved_nano"],
        ledger_spent_nano=row["ledger_spent_nano"],
        ledger_reserved_nano=row["ledger_reserved_nano"],
        repaired=repaired,
    )
