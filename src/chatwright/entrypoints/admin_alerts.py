"""Alerts, for a tenant about its own, for operators about everybody's."""

from dataclasses import asdict

from chatwright.entrypoints.auth import staff_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.wire_providers import AlertPage, AlertReply
from chatwright.features import alerts


async def list_all(call: Call) -> Reply:
    tenant = staff_of(call)
    after, limit = call.page()
    scope = None if tenant is None else tenant.scope
    async with call.app.db.operator() if scope is None else call.app.db.transaction(scope) as db:
        found = await alerts.list_alerts(db, scope, after=after, limit=limit + 1)
    items = [AlertReply(**asdict(alert)) for alert in found[:limit]]
    return json_reply(AlertPage(items, items[-1].id if len(found) > limit else None))


ENDPOINTS = (
    Endpoint(
        method="GET", path="/api/v1/alerts", handle=list_all, access=Access.STAFF,
        summary="What was told to watch out for, newest first", tag="alerts", response=AlertPage,
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
)  # fmt: skip
