"""When a budget's period begins and ends, and what it comes to at the present pace. Pure; times are aware datetimes.

A period is half-open, [starts_at, ends_at), and its limits are the first moments of days in the tenant's time zone, so
a day has 23, 24 or 25 hours (half an hour more or less on Lord Howe). Called by `budgets.py` and `ledger.py`.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

ScopeKind = Literal["tenant", "chatbot", "visitor", "import"]
PeriodKind = Literal["day", "month", "total"]
Action = Literal["block", "downgrade", "extractive", "alert"]
SetBy = Literal["operator", "tenant"]

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 12, 31, tzinfo=UTC)
"""Where a total's only period begins and ends: before the first call and after the last."""
LEAST_PACE_S = 3600.0
"""A pace is known after an hour, or a twentieth of the period if that is less: one call at midnight forecasts nothing."""


@dataclass(frozen=True, slots=True)
class Period:
    """[starts_at, ends_at), both in UTC."""

    starts_at: datetime
    ends_at: datetime


def period_at(kind: PeriodKind, zone: ZoneInfo, now: datetime, *, not_before: datetime | None = None) -> Period:
    """The period of `kind` in which `now` lies, by the calendar of `zone`.

    `not_before`: the end of the budget's last period. A tenant's zone may be changed while a period runs: that one
    keeps its end, and what follows begins there, not earlier.
    """
    if kind == "total":
        return Period(BEGINNING, END)
    today = now.astimezone(zone).date()
    if kind == "day":
        first, following = today, today + timedelta(days=1)
    else:
        first = today.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
    starts_at, ends_at = _beginning(first, zone), _beginning(following, zone)
    if not_before is not None and starts_at < not_before <= now:
        starts_at = not_before
    return Period(starts_at, ends_at)


def forecast_nano(period: Period, spent_nano: int, now: datetime) -> int | None:
    """What will have been spent at the period's end if it goes on as it did so far; None for a total, which has none,
    and while the period is too young to tell."""
    if period.ends_at >= END:
        return None
    length_s = (period.ends_at - period.starts_at).total_seconds()
    elapsed_s = min(length_s, (now - period.starts_at).total_seconds())
    if elapsed_s < min(LEAST_PACE_S, length_s / 20):
        return None
    # In whole microseconds: floats would lose nanodollars.
    return -(-spent_nano * round(length_s * 1e6) // round(elapsed_s * 1e6))


def _beginning(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a local date. Where clocks skip midnight, or a whole date, it is the moment of the skip."""
    # fold=0 reads a skipped wall time by the offset before the skip, and a repeated one as its first occurrence.
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
