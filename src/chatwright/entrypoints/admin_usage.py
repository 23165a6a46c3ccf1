"""What was used and what was changed: the ledger's sums, the audit log, and the analysis of texts."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import BadRequest
from chatwright.domain.money import format_usd
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.entrypoints.auth import staff_of, tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.csv_rows import CSV_TYPE, to_csv
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.periods import period_of, zone_of
from chatwright.entrypoints.wire import AnalyzeReply, AnalyzeRequest, Page, UsageReply
from chatwright.features import budgets, tenancy
from chatwright.features.budgets import GROUPS, GroupBy
from chatwright.pipeline import analysing
from chatwright.pipeline.services import Services

_analyze = msgspec.json.Decoder(AnalyzeRequest)
_ROWS_AT_MOST = 50_000
_ROWS_A_PIECE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """What is asked for: sums over [since, until), whose, in which groups; days are those of `zone`."""

    scope: Scope | None
    group_by: Sequence[GroupBy]
    since: datetime
    until: datetime
    zone: ZoneInfo


async def usage(call: Call) -> Reply | None:
    """Sums over [from, to); `to` as a day is included. Days are those of the tenant's time zone, or of the one named."""
    tenant = staff_of(call)
    scope = None if tenant is None else tenant.scope
    groups = [name for name in (call.query("group_by") or "").split(",") if name]
    if any(name not in GROUPS for name in groups) or len(set(groups)) != len(groups):
        raise BadRequest(f"group_by is a list of {', '.join(GROUPS)}", param="group_by")
    zone = await zone_of(call, scope)
    since, until = period_of(call, zone)
    report = _Report(scope=scope, group_by=cast("list[GroupBy]", groups), since=since, until=until, zone=zone)
    match call.query("format") or "json":
        case "json":
            async with _reading(call.app, scope) as db:
                rows = await _rows(db, report, since, until)
            # Of the rows, not by a second look at the ledger: what came in between would not add up.
            figures = budgets.columns_of(())
            total = {figure: sum(row[figure] for row in rows) for figure in figures}
            return json_reply(UsageReply(rows, total, rfc3339(since), rfc3339(until), zone.key))
        case "csv":
            return await _send_csv(call, report)
        case _:
            raise BadRequest("format is json or csv", param="format")


def _reading(app: Services, scope: Scope | None) -> AbstractAsyncContextManager[Connection]:
    return app.db.operator() if scope is None else app.db.transaction(scope)


async def _rows(db: Connection, report: _Report, since: datetime, until: datetime) -> list[dict[str, Any]]:
    rows = await budgets.usage_rows(
        db,
        report.scope,
        group_by=report.group_by,
        since=since,
        until=until,
        time_zone=report.zone.key,
        limit=_ROWS_AT_MOST + 1,
    )
    if len(rows) > _ROWS_AT_MOST:
        raise BadRequest(
            f"that would be more than {_ROWS_AT_MOST:,} rows; group by less, choose a shorter time, or read it "
            "as CSV grouped by day",
            param="group_by",
        )
    return rows


async def _send_csv(call: Call, report: _Report) -> None:
    """Send the rows as CSV in pieces. Grouped by day, each day is read when the ones before it are sent: by day first,
    however the groups are ordered."""
    columns = budgets.columns_of(report.group_by)
    async with aclosing(_pieces(call.app, report)) as pieces:
        first = await anext(pieces, [])  # a refusal comes before the headers
        disposition = f'attachment; filename="usage-{report.since:%Y%m%d}-{report.until:%Y%m%d}.csv"'.encode()
        await call.start(200, ((b"content-type", CSV_TYPE), (b"content-disposition", disposition)))
        await call.write(to_csv([_heading(columns), *(_cells(columns, row) for row in first)]))
        async for rows in pieces:
            await call.write(to_csv(_cells(columns, row) for row in rows))
    await call.write(b"", last=True)


async def _pieces(app: Services, report: _Report) -> AsyncGenerator[list[dict[str, Any]]]:
    for start, end in await _ranges(app, report):
        async with _reading(app, report.scope) as db:
            rows = await _rows(db, report, start, end)
        for place in range(0, len(rows), _ROWS_A_PIECE):
            yield rows[place : place + _ROWS_A_PIECE]


async def _ranges(app: Services, report: _Report) -> list[tuple[datetime, datetime]]:
    """The time cut where its days begin, which changes no row: from the first call of the ledger to its latest."""
    since, until = report.since, report.until
    if "day" not in report.group_by:
        return [(since, until)]
    async with _reading(app, report.scope) as db:
        span = await budgets.ledger_span(db, report.scope)
    if span is None:
        return []
    since, until = max(since, span.first), min(until, span.last + timedelta(microseconds=1))
    ranges: list[tuple[datetime, datetime]] = []
    while since < until:
        end = budgets.period_at("day", report.zone, since).ends_at
        ranges.append((since, min(end, until)))
        since = end
    return ranges


def _heading(columns: Sequence[str]) -> list[str]:
    return [name for column in columns for name in _both(column)]


def _cells(columns: Sequence[str], row: dict[str, Any]) -> list[Any]:
    """A row's values; money twice, as a decimal string in USD and in nanodollars."""
    cells: list[Any] = []
    for column in columns:
        if column.endswith("_nano"):
            cells.append(format_usd(row[column]))
        cells.append(row[column])
    return cells


def _both(column: str) -> tuple[str, ...]:
    return (f"{column.removesuffix('_nano')}_usd", column) if column.endswith("_nano") else (column,)


async def audit(call: Call) -> Reply:
    tenant = staff_of(call)
    after, limit = call.page()
    scope = None if tenant is None else tenant.scope
    async with call.app.db.operator() if scope is None else call.app.db.transaction(scope) as db:
        entries = await tenancy.list_audit(db, scope, after=after, limit=limit + 1)
    items = [asdict(entry) for entry in entries[:limit]]
    return json_reply(Page(items, entries[limit - 1].id if len(entries) > limit else None))


async def analyze(call: Call) -> Reply:
    scope = tenant_of(call).scope
    body = await call.json(_analyze)
    analysing.check_length(body.texts, param="texts")
    chatbot = None if body.chatbot is None else await call.app.chatbots.get(scope, body.chatbot)
    return json_reply(AnalyzeReply(await analysing.analyze(call.app, scope, body.texts, chatbot)))


ENDPOINTS = (
    Endpoint(
        method="GET", path="/api/v1/usage", handle=usage, access=Access.STAFF, summary="Sums over the ledger",
        tag="usage", response=UsageReply,
        query=(("group_by", f"any of {', '.join(GROUPS)}, separated by commas"),
               ("from", "day or time, default 30 days before to"), ("to", "day or time, default now"),
               ("days", "1 to 366: the last days, today among them, in the place of from"),
               ("time_zone", "IANA name whose days are meant, default the tenant's"),
               ("format", "json (default) or csv, which is streamed and has money in USD too")),
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
