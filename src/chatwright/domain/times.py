"""Points in time as people and programs read them. Durations inside the program use `time.monotonic`. Pure."""

from datetime import UTC, datetime
from typing import Literal


def rfc3339(moment: datetime | float, *, timespec: Literal["auto", "seconds", "milliseconds"] = "auto") -> str:
    """A moment (with its zone, or Unix seconds) as RFC 3339 in UTC: 2026-01-31T12:00:00Z. `timespec`: how fine; "auto" shows
    microseconds where there are any."""
    at = moment.astimezone(UTC) if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")
