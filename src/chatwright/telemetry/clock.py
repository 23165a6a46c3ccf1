"""Wall-clock time for people and records. Durations inside the program use `time.monotonic`."""

from datetime import UTC, datetime


def rfc3339(seconds: float | None = None) -> str:
    """Write a point in time (Unix seconds; None: now) as RFC 3339 in UTC with milliseconds, e.g. for a log or a file."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
