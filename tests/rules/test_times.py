"""Points in time as people read them."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.times import rfc3339


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(1_700_000_000.25, timespec="milliseconds") == "2023-11-14T22:13:20.250Z"
    vienna = timezone(timedelta(hours=1))
    assert rfc3339(datetime(2026, 1, 31, 12, 30, tzinfo=vienna)) == "2026-01-31T11:30:00Z"
    assert (
        rfc3339(datetime(2026, 1, 31, 0, 0, 59, 999_999, tzinfo=vienna), timespec="seconds") == "2026-01-30T23:00:59Z"
    )


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))
def test_a_moment_is_the_same_read_again(moment: datetime) -> None:
    assert datetime.fromisoformat(rfc3339(moment)) == moment.astimezone(UTC)
