"""What was used and what was changed: the ledger's sums, the audit log, and the analysis of texts."""

from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast

import msgspec

from chatwright.domain.errors import BadRequest, PayloadTooLarge
from chatwright.entrypoints.auth import staff_of, tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.wire import AnalyzeReply, AnalyzeRequest, Page, UsageReply
from chatwright.features import budgets, tenancy
from chatwright.pipeline import submit

_analyze = msgspec.json.Decoder(AnalyzeRequest)
_GROUPS = ("day", "model", "chatbot", "provider")
_ANALYZE_AT_MOST_CHARS = 256_000
_FIRST_MONTH_END = datetime(1, 1, 31, tzinfo=UTC)  # thirty days before it is the first moment that there is


async def usage(call: Call) -> Reply:
    """Sums over [from, to); days are UTC days and `to` as a day is included."""
    scope = tenant_of(call).scope
    groups = [name for name in (call.query("group_by") or "").split(",") if name]
    if any(name not in _GROUPS for name in groups) or len(set(groups)) != len(groups):
        raise BadRequest(f"group_by is a list of {', '.join(_GROUPS)}", param="group_by")
    now = datetime.now(UTC)
    until = _moment(call, "to", is_end=True) or now + timedelta(seconds=1)
    since = _moment(call, "from", is_end=False) or max(until, _FIRST_MONTH_END) - timedelta(days=30)
    if since >= until:
        raise BadRequest("from must be before to", param="from")
    async with call.app.db.transaction(scope) as db:
        rows, total = await budgets.usage_report(db, scope, group_by=cast("Any", groups), since=since, until=until)
    return json_reply(UsageReply(rows, total))


async def audit(call: Call) -> Reply:
    tenant = staff_of(call)
    after, limit = call.page()
    scope = None if tenant is None else tenant.scope
    async with call.app.db.operator() if scope is None else call.app.db.transaction(scope) as db:
        entries = await tenancy.list_audit(db, scope, after=after, limit=limit + 1)
    items = [asdict(entry) for entry in entries[:limit]]
    return json_reply(Page(items, entries[limit - 1].id if len(entries) > limit else None))


async def analyze(call: Call) -> Reply:
    body = await call.json(_analyze)
    if sum(map(len, body.texts)) > _ANALYZE_AT_MOST_CHARS:
        raise PayloadTooLarge(f"the texts together have more than {_ANALYZE_AT_MOST_CHARS:,} characters", param="texts")
    return json_reply(AnalyzeReply(await submit.analyze(call.app, body.texts)))


def _moment(call: Call, name: str, *, is_end: bool) -> datetime | None:
    """A query parameter as a moment: an RFC 3339 time, or a day in UTC (its end if it is the end of a range)."""
    text = call.query(name)
    if not text:
        return None
    try:
        if len(text) == 10:
            day = date.fromisoformat(text) + timedelta(days=1 if is_end else 0)
            return datetime.combine(day, time(), UTC)
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that was not percent-encoded
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"{name} is a day (2026-01-31) or an RFC 3339 time", param=name) from None


ENDPOINTS = (
    Endpoint(
        method="GET", path="/api/v1/usage", handle=usage, access=Access.TENANT, summary="Sums over the ledger",
        tag="usage", response=UsageReply,
        query=(("group_by", "any of day, model, chatbot, provider, separated by commas"),
               ("from", "day or time, default 30 days before to"), ("to", "day or time, default now")),
    ),
    Endpoint(
        method="GET", path="/api/v1/audit", handle=audit, access=Access.STAFF,
        summary="Who changed what, newest first", tag="audit", response=Page,
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="POST", path="/api/v1/analyze", handle=analyze, access=Access.TENANT,
        summary="Sentiment, intent and injection signals of texts", tag="analyze", request=AnalyzeRequest,
        response=AnalyzeReply,
    ),
)  # fmt: skip
