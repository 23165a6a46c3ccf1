"""What a budget that holds a call back says: which one it is, until when, and how to mend it.

Read by `ledger.py` when a call is refused, and by `headroom.py` before a message is taken. A refusal is rare beside what is
let in: its words are looked up only then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chatwright.adapters.postgres import Database
from chatwright.adapters.postgres.pool import Row
from chatwright.domain.errors import BudgetExceeded, ChatwrightError
from chatwright.domain.money import format_usd
from chatwright.domain.times import rfc3339
from chatwright.features.budgets.rules import END

# Operators: budgets that refused, with their running periods. $1 ids.
DESCRIBE = """
SELECT b.id, b.scope, b.scope_id, b.period, b.limit_nano, b.set_by, b.action, p.ends_at
  FROM budgets b
  LEFT JOIN budget_periods p ON p.tenant_id = b.tenant_id AND p.budget_id = b.id
                            AND p.starts_at <= now() AND now() < p.ends_at
 WHERE b.id = ANY ($1::uuid[])
"""

_PERIODS = {"day": "daily", "month": "monthly", "total": "total"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuser:
    """A budget as its refusals name it. `ends_at`: of the running period; None for a total, or when there is none."""

    id: str
    scope: str
    period: str
    limit_nano: int
    set_by: str
    action: str
    ends_at: datetime | None

    def spent_up(self) -> BudgetExceeded:
        """Nothing is left of it."""
        return self._error(f"{self._name()} is spent: {self._mend()}")

    def too_little(self, need_nano: int | None) -> BudgetExceeded:
        """What is left does not hold a call that may cost `need_nano`."""
        cost = "" if need_nano is None else f" may cost up to {format_usd(need_nano)} USD and"
        return self._error(f"the call{cost} would pass {self._name()}: {self._mend()}, or allow shorter answers")

    def unpriced(self) -> BudgetExceeded:
        """It has to hold, and a call's price is not known."""
        return self._error(
            f"{self._name()} has to hold, and no price is known for this model: give it one in models.toml, or choose "
            "another model",
            waits=False,
        )

    def _name(self) -> str:
        return f"the {self.scope}'s {_PERIODS[self.period]} budget of {format_usd(self.limit_nano)} USD ({self.id})"

    def _mend(self) -> str:
        raised = "raise its limit" if self.set_by == "tenant" else "ask an operator to raise its limit"
        if self.ends_at is None:
            return raised
        return f"{raised}, or wait for its next period, from {rfc3339(self.ends_at)} on"

    def _error(self, message: str, *, waits: bool = True) -> BudgetExceeded:
        left_s = None
        if waits and self.ends_at is not None:
            left_s = max(1.0, (self.ends_at - datetime.now(UTC)).total_seconds())
        return BudgetExceeded(message, action=self.action, budget_id=self.id, scope=self.scope, retry_after_s=left_s)


def refuser_of(row: Row) -> Refuser:
    fields: dict[str, Any] = dict(row)
    ends_at = fields["ends_at"]
    return Refuser(
        id=fields["id"],
        scope=fields["scope"],
        period=fields["period"],
        limit_nano=fields["limit_nano"],
        set_by=fields["set_by"],
        action=fields["action"],
        ends_at=None if ends_at is None or ends_at >= END else ends_at,
    )


async def describe(db: Database, budget_ids: Sequence[str]) -> dict[str, Refuser]:
    """The budgets by id; those that are gone, or cannot be read just now, are missing."""
    if not budget_ids:
        return {}
    try:
        rows = await db.operator_fetch(DESCRIBE, list(budget_ids))
    except ChatwrightError:
        return {}  # the refusal itself stands: it only says less
    return {row["id"]: refuser_of(row) for row in rows}
