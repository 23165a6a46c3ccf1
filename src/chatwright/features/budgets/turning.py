"""Periods begin: by whoever finds one missing when a call is opened, and ahead of that by the sweeper.

The sum that a new counter starts from is short when the period is young. A budget that nobody called under for weeks
would otherwise have its month begun by its first call, which would wait for the sum of all that its tenant did meanwhile.
"""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from chatwright.adapters.postgres import Database
from chatwright.features.budgets.budgets import BEGIN_PERIOD
from chatwright.features.budgets.rules import period_at
from chatwright.features.budgets.store import UNBEGUN, WITHOUT_PERIOD


async def begin_periods(db: Database, budget_ids: Iterable[str], at: datetime) -> None:
    """Begin the periods of these budgets in which `at` lies, each in a transaction of its own; those that run stay."""
    for row in await db.operator_fetch(UNBEGUN, list(budget_ids), at):
        period = period_at(row["period"], ZoneInfo(row["time_zone"]), at, not_before=row["last_end"])
        await db.operator_fetch(BEGIN_PERIOD, row["id"], period.starts_at, period.ends_at, at)


async def begin_due(db: Database, *, at_most: int) -> int:
    """Begin up to `at_most` periods that no budget should be without now. Returns how many."""
    rows = await db.operator_fetch(WITHOUT_PERIOD, at_most)
    if rows:
        await begin_periods(db, [row["id"] for row in rows], rows[0]["at"])
    return len(rows)
