"""When budgets' periods begin and end, on the days when clocks change and when a tenant moves; and what they will come to."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.features.budgets.rules import Period, PeriodKind, forecast_nano, period_at

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Havana",
    "Atlantic/Azores",
    "Pacific/Apia",
    "Asia/Kolkata",
]
KINDS: list[PeriodKind] = ["day", "month", "total"]
MOMENTS = st.datetimes(datetime(2005, 1, 1), datetime(2037, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@pytest.fixture(params=["UTC", "Asia/Kathmandu"])
def process_zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The zone that the process itself lives in: it must not matter."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# zone, kind, now, first moment, end: in UTC, from the tables of the zones.
DAYS = [
    ("Europe/Berlin", "day", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00", 23.0),
    ("Europe/Berlin", "day", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00", 25.0),
    ("America/New_York", "day", "2026-03-08T12:00", "2026-03-08T05:00", "2026-03-09T04:00", 23.0),
    ("America/New_York", "day", "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00", 25.0),
    ("Australia/Lord_Howe", "day", "2026-04-04T16:00", "2026-04-04T13:00", "2026-04-05T13:30", 24.5),
    ("Australia/Lord_Howe", "day", "2026-10-03T20:00", "2026-10-03T13:30", "2026-10-04T13:00", 23.5),
    ("Pacific/Chatham", "day", "2026-04-04T20:00", "2026-04-04T10:15", "2026-04-05T11:15", 25.0),
    ("Pacific/Chatham", "day", "2026-09-27T00:00", "2026-09-26T11:15", "2026-09-27T10:15", 23.0),
    # Clocks skip midnight itself: the day begins at one o'clock.
    ("America/Santiago", "day", "2026-09-06T12:00", "2026-09-06T04:00", "2026-09-07T03:00", 23.0),
    # Clocks repeat the hour before midnight: it belongs to the old day.
    ("America/Santiago", "day", "2026-04-05T03:30", "2026-04-04T03:00", "2026-04-05T04:00", 25.0),
    # A date that was never: 30 December 2011.
    ("Pacific/Apia", "day", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00", 24.0),
    ("Pacific/Apia", "day", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00", 24.0),
    ("Europe/Berlin", "month", "2026-03-31T21:59", "2026-02-28T23:00", "2026-03-31T22:00", 30 * 24 + 23.0),
    ("Europe/Berlin", "month", "2026-03-31T22:00", "2026-03-31T22:00", "2026-04-30T22:00", 30 * 24.0),
    ("UTC", "month", "2024-02-29T23:59:59", "2024-02-01T00:00", "2024-03-01T00:00", 29 * 24.0),
    ("UTC", "month", "2026-12-31T23:59:59", "2026-12-01T00:00", "2027-01-01T00:00", 31 * 24.0),
    ("Pacific/Chatham", "month", "2026-09-30T10:15", "2026-09-30T10:15", "2026-10-31T10:15", 31 * 24.0),
]


@pytest.mark.parametrize(("zone", "kind", "now", "starts", "ends", "hours"), DAYS)
def test_days_and_months_are_those_of_the_zone(
    zone: str, kind: PeriodKind, now: str, starts: str, ends: str, hours: float, process_zone: str
) -> None:
    period = period_at(kind, ZoneInfo(zone), utc(now))
    assert period == Period(utc(starts), utc(ends)), process_zone
    assert period.ends_at - period.starts_at == timedelta(hours=hours)


@given(zone=st.sampled_from(ZONES), kind=st.sampled_from(KINDS), now=MOMENTS)
def test_periods_are_half_open_and_leave_no_gap(zone: str, kind: PeriodKind, now: datetime) -> None:
    where = ZoneInfo(zone)
    period = period_at(kind, where, now)
    assert period.starts_at <= now < period.ends_at
    assert period_at(kind, where, period.starts_at) == period
    assert period_at(kind, where, period.ends_at - timedelta(microseconds=1)) == period
    if kind == "total":
        return
    assert period_at(kind, where, period.ends_at).starts_at == period.ends_at
    first, last = period.starts_at.astimezone(where), (period.ends_at - timedelta(microseconds=1)).astimezone(where)
    assert (first.year, first.month) == (last.year, last.month)
    if kind == "day":
        assert first.date() == last.date() == now.astimezone(where).date()
    else:
        assert first.day == 1


@given(old=st.sampled_from(ZONES), new=st.sampled_from(ZONES), now=MOMENTS, later_s=st.integers(0, 400_000))
def test_a_tenant_that_moves_keeps_the_running_period_and_nothing_overlaps(
    old: str, new: str, now: datetime, later_s: int
) -> None:
    running = period_at("day", ZoneInfo(old), now)
    then = running.ends_at + timedelta(seconds=later_s)
    following = period_at("day", ZoneInfo(new), then, not_before=running.ends_at)
    assert running.ends_at <= following.starts_at <= then < following.ends_at
    assert following.ends_at == period_at("day", ZoneInfo(new), then).ends_at


def test_a_tenant_moves_from_auckland_to_honolulu_in_the_middle_of_a_day() -> None:
    running = period_at("day", ZoneInfo("Pacific/Auckland"), utc("2026-06-10T01:00"))
    assert running == Period(utc("2026-06-09T12:00"), utc("2026-06-10T12:00"))
    following = period_at("day", ZoneInfo("Pacific/Honolulu"), utc("2026-06-10T12:00"), not_before=running.ends_at)
    # Honolulu's 10 June began at 10:00 UTC: what is left of it counts for itself.
    assert following == Period(utc("2026-06-10T12:00"), utc("2026-06-11T10:00"))


def test_a_forecast_goes_on_at_the_present_pace() -> None:
    month = Period(utc("2026-04-01T00:00"), utc("2026-05-01T00:00"))
    assert forecast_nano(month, 10_000_000_001, utc("2026-04-11T00:00")) == 30_000_000_003
    assert forecast_nano(month, 7, utc("2026-05-01T00:00")) == 7
    assert forecast_nano(month, 7, utc("2026-04-01T00:30")) is None
    assert (
        forecast_nano(Period(utc("1970-01-01"), datetime(9999, 12, 31, tzinfo=UTC)), 7, utc("2026-04-11T00:00")) is None
    )


@given(spent_nano=st.integers(0, 10**18), elapsed_s=st.integers(3600, 86_400))
def test_a_forecast_is_never_below_what_is_spent(spent_nano: int, elapsed_s: int) -> None:
    day = Period(utc("2026-04-01T00:00"), utc("2026-04-02T00:00"))
    forecast = forecast_nano(day, spent_nano, day.starts_at + timedelta(seconds=elapsed_s))
    assert forecast is not None
    assert spent_nano <= forecast <= spent_nano * 24 + 1
