"""Webhooks: where alerts are delivered, for a tenant its own, for operators the platform's."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chatwright.domain.errors import NotFound
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import admin_of, staff_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire import Request
from chatwright.features import alerts
from chatwright.features.alerts import Webhook
from chatwright.pipeline import webhooks as flows

Events = Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(min_length=1, max_length=50)]


class WebhookCreate(Request, frozen=True):
    """`target`: a URL, or a mail address. `events`: kinds of alerts, prefixes such as ``budget.*``, or ``*``."""

    target: Annotated[str, Meta(min_length=1, max_length=1000)]
    kind: Literal["webhook", "slack", "email"] = "webhook"
    events: Events = msgspec.field(default_factory=lambda: ["*"])

    def __repr__(self) -> str:
        return f"WebhookCreate(kind={self.kind!r}, …)"


class WebhookPatch(Request, frozen=True):
    """What is left out stays."""

    events: Events | None = None
    enabled: bool | None = None


class WebhookReply(msgspec.Struct, frozen=True):
    """Never the secret; of a Slack address only its host. `failures`: attempts that failed in a row."""

    id: str
    kind: str
    target: str
    events: list[str]
    enabled: bool
    created_at: str
    last_ok_at: str | None
    last_error: str | None
    failures: int


class WebhookCreated(WebhookReply, frozen=True):
    """`secret` verifies signatures, shown this once; null for the kinds that sign nothing."""

    secret: str | None

    def __repr__(self) -> str:
        return f"WebhookCreated(id={self.id!r}, …)"


class WebhookPage(msgspec.Struct, frozen=True):
    items: list[WebhookReply]
    next_cursor: str | None


class WebhookSample(msgspec.Struct, frozen=True):
    """What came back: `status` of HTTP or SMTP, null when none came."""

    ok: bool
    status: int | None
    error: str | None
    took_s: float


_create = msgspec.json.Decoder(WebhookCreate)
_patch = msgspec.json.Decoder(WebhookPatch)


async def create(call: Call) -> Reply:
    scope, actor = _owner(call)
    call.require_json()
    raw = await call.body()
    body = decode(_create, raw)

    async def work() -> Reply:
        added = await flows.add_webhook(
            call.app, scope, actor=actor, kind=body.kind, target=body.target, events=body.events
        )
        shown = msgspec.structs.asdict(_reply(added.webhook))
        return json_reply(WebhookCreated(**shown, secret=added.secret or None), status=201)

    # The platform's own belong to no tenant under which an Idempotency-Key could be kept.
    return await work() if scope is None else await once(call, scope, raw, work, secret=True)


async def list_all(call: Call) -> Reply:
    scope, _ = _owner(call)
    after, limit = call.page()
    async with flows.rows_of(call.app, scope) as db:
        found = await alerts.list_webhooks(db, scope, after=after, limit=limit + 1)
    items = [_reply(webhook) for webhook in found[:limit]]
    return json_reply(WebhookPage(items, items[-1].id if len(found) > limit else None))


async def get(call: Call) -> Reply:
    scope, _ = _owner(call)
    async with flows.rows_of(call.app, scope) as db:
        webhook = await alerts.get_webhook(db, scope, call.params["webhook_id"])
    if webhook is None:
        raise NotFound("no such webhook")
    return json_reply(_reply(webhook))


async def change(call: Call) -> Reply:
    scope, actor = _owner(call)
    call.require_json()
    body = decode(_patch, await call.body())
    webhook = await flows.change_webhook(
        call.app, scope, call.params["webhook_id"], actor=actor, events=body.events, enabled=body.enabled
    )
    return json_reply(_reply(webhook))


async def remove(call: Call) -> Reply:
    scope, actor = _owner(call)
    await flows.remove_webhook(call.app, scope, call.params["webhook_id"], actor=actor)
    return Reply(204)


async def test(call: Call) -> Reply:
    scope, _ = _owner(call)
    sampled = await flows.send_sample(call.app, scope, call.params["webhook_id"])
    outcome = sampled.outcome
    return json_reply(WebhookSample(outcome.ok, outcome.status, outcome.error or None, round(sampled.took_s, 3)))


def _owner(call: Call) -> tuple[Scope | None, str]:
    """(scope, actor): the tenant's webhooks, or the platform's (scope None) for an operator who names no tenant."""
    tenant = staff_of(call)
    return (None, admin_of(call).actor) if tenant is None else (tenant.scope, tenant.actor)


def _reply(webhook: Webhook) -> WebhookReply:
    return WebhookReply(
        id=webhook.id,
        kind=webhook.kind,
        target=webhook.target,
        events=list(webhook.events),
        enabled=webhook.enabled,
        created_at=webhook.created_at,
        last_ok_at=webhook.last_ok_at,
        last_error=webhook.last_error,
        failures=webhook.failures,
    )


_PATH = "/api/v1/webhooks"
_ONE = f"{_PATH}/{{webhook_id}}"
_TAG = "webhooks"
ENDPOINTS = (
    Endpoint(
        method="POST", path=_PATH, handle=create, access=Access.STAFF, tag=_TAG, status=201, creates=True,
        summary="Have alerts delivered: a signed webhook, Slack or e-mail", request=WebhookCreate, response=WebhookCreated,
    ),
    Endpoint(
        method="GET", path=_PATH, handle=list_all, access=Access.STAFF, summary="List webhooks", tag=_TAG,
        response=WebhookPage,
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="GET", path=_ONE, handle=get, access=Access.STAFF, summary="Read a webhook", tag=_TAG,
        response=WebhookReply,
    ),
    Endpoint(
        method="PATCH", path=_ONE, handle=change, access=Access.STAFF, summary="Change what it hears, or switch it off",
        tag=_TAG, request=WebhookPatch, response=WebhookReply,
    ),
    Endpoint(
        method="DELETE", path=_ONE, handle=remove, access=Access.STAFF, tag=_TAG, status=204,
        summary="Remove a webhook and what it still had to hear",
    ),
    Endpoint(
        method="POST", path=f"{_ONE}/test", handle=test, access=Access.STAFF, tag=_TAG,
        summary="Send a sample now and say what came back", response=WebhookSample,
    ),
)  # fmt: skip
