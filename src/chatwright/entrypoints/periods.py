"""From, to and time zone of a report's query."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from chatwright.domain.errors import BadRequest, Unprocessable
from chatwright.domain.scope import Scope
from chatwright.entrypoints.call import Call
from chatwright.features import tenancy

_FIRST_MONTH_END = datetime(1, 1, 31, tzinfo=UTC)  # thirty days before it is the first moment that there is
_DAYS = 30
_DAYS_AT_MOST = 366


async def zone_of(call: Call, scope: Scope | None) -> ZoneInfo:
    """The time zone of the report's days: the one asked for, else the tenant's, else UTC. Raises BadRequest."""
    name = call.query("time_zone")
    if name:
        try:
            return ZoneInfo(tenancy.check_time_zone(name))
        except Unprocessable as error:
            raise BadRequest(error.message, param="time_zone") from None
    if scope is None:
        return ZoneInfo("UTC")
    async with call.app.db.transaction(scope) as db:
        tenant = await tenancy.get_tenant(db, scope.tenant_id)
    return ZoneInfo("UTC" if tenant is None else tenant.time_zone)


def period_of(call: Call, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """[from, to) of a query, the last thirty days where it does not say; `to` as a day is included. Raises BadRequest."""
    until = moment(call, "to", zone, is_end=True) or datetime.now(UTC) + timedelta(seconds=1)
    since = since_of(call, zone) or max(until, _FIRST_MONTH_END) - timedelta(days=_DAYS)
    if since >= until:
        raise BadRequest("from must be before to", param="from")
    return since, until


def since_of(call: Call, zone: ZoneInfo) -> datetime | None:
    """From when on: `from`, or the beginning of the last `days` days of `zone`, today among them. Raises BadRequest."""
    days = call.query_int("days", 0, low=1, high=_DAYS_AT_MOST)
    if not days:
        return moment(call, "from", zone, is_end=False)
    if call.query("from"):
        raise BadRequest("give days or from, not both", param="days")
    first = datetime.now(zone).date() - timedelta(days=days - 1)
    return datetime.combine(first, time(), zone).astimezone(UTC)


def moment(call: Call, name: str, zone: ZoneInfo, *, is_end: bool) -> datetime | None:
    """A query parameter as a moment: an RFC 3339 time, or a day in `zone` (its end if it is the end of a range)."""
    text = call.query(name)
    if not text:
        return None
    try:
        if len(text) == 10:
            day = date.fromisoformat(text) + timedelta(days=1 if is_end else 0)
            return datetime.combine(day, time(), zone).astimezone(UTC)
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that was not percent-encoded
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"{name} is a day (2026-01-31) or an RFC 3339 time", param=name) from None
