"""Times as exports write them. Pure."""

from datetime import UTC, datetime, tzinfo

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_DATE_DIGITS = len("20240131")
_DAY_FIRST = ("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y")
_MONTH_FIRST = (
    "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%m/%d/%Y",
    "%m/%d/%y %H:%M", "%m/%d/%y",
)  # fmt: skip
_ANY = (
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y",
    "%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %z %Y", "%d %b %Y %H:%M", "%d %b %Y", "%b %d, %Y %I:%M %p",
    "%b %d, %Y %H:%M", "%b %d, %Y", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S UTC",
)  # fmt: skip


def read_time(text: str, *, zone: tzinfo = UTC, day_first: bool = False) -> datetime | None:
    """The moment that `text` means, in UTC: ISO 8601, Unix seconds, milliseconds or microseconds, or a usual date.

    `zone` is that of times that name none. None for what is no time, or none between 1990 and 2100.
    """
    text = text.strip()
    if not text or len(text) > 64:
        return None
    # Before ISO 8601, which would take 1712010212345 for the second of January 1712, 23:45; eight digits are a date.
    if text[0].isdigit() and len(text) != _DATE_DIGITS and text.replace(".", "", 1).isdecimal() and text.isascii():
        return _from_number(float(text))
    try:
        return _bounded(datetime.fromisoformat(text), zone)
    except ValueError:
        pass
    except OverflowError:
        return None
    for form in (_DAY_FIRST if day_first else _MONTH_FIRST) + _ANY:
        try:
            return _bounded(datetime.strptime(text, form), zone)  # noqa: DTZ007 - the zone is added below
        except (ValueError, OverflowError):
            continue
    return None


def _from_number(number: float) -> datetime | None:
    while number > 1e11:  # milliseconds, microseconds, nanoseconds
        number /= 1000
    try:
        return _bounded(datetime.fromtimestamp(number, UTC), UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _bounded(moment: datetime, zone: tzinfo) -> datetime | None:
    moment = (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC)
    return moment if _EARLIEST <= moment < _LATEST else None
