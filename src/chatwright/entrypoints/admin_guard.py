"""The guard for its tenant: what it found, what of it was wrong, how much, and under which rules."""

from dataclasses import asdict
from typing import Any, cast, get_args

import msgspec

from chatwright.domain.errors import BadRequest, NotFound, Unavailable
from chatwright.domain.ids import is_id
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire import JsonObject
from chatwright.entrypoints.wire_guard import (
    AllowedPage,
    AllowedReply,
    AllowRequest,
    FindingBody,
    GuardEventPage,
    GuardEventReply,
    GuardPolicyReply,
    GuardStatsReply,
    TryReply,
    TryRequest,
    WrongRequest,
)
from chatwright.features.guard.events import Direction, EventVerdict, excerpt_of
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.guard.store import AllowedEntry, EventFilter, LoggedEvent, shown_time
from chatwright.pipeline import guard_admin, guarding

_wrong = msgspec.json.Decoder(WrongRequest)
_allow = msgspec.json.Decoder(AllowRequest)
_try = msgspec.json.Decoder(TryRequest)
_policy = msgspec.json.Decoder(dict[str, Any])
_DAYS_AT_MOST = 90


async def list_events(call: Call) -> Reply:
    scope = tenant_of(call).scope
    after, limit = call.page()
    wanted = EventFilter(
        chatbot_id=await _chatbot_id(call),
        direction=_one_of(call, "direction", get_args(Direction)),
        rule=call.query("rule"),
        verdict=_one_of(call, "verdict", get_args(EventVerdict)),
        document_id=_id(call, "document_id"),
    )
    found = await guard_admin.list_events(call.app, scope, wanted, before=after, limit=limit + 1)
    items = [_event(event) for event in found[:limit]]
    return json_reply(GuardEventPage(items, items[-1].id if len(found) > limit else None))


async def get_event(call: Call) -> Reply:
    return json_reply(_event(await guard_admin.get_event(call.app, tenant_of(call).scope, call.params["event_id"])))


async def mark_wrong(call: Call) -> Reply:
    tenant = tenant_of(call)
    raw = await call.body()
    body = decode(_wrong, raw) if raw.strip() else WrongRequest()
    event = await guard_admin.mark_wrong(
        call.app, tenant.scope, call.params["event_id"], span_only=body.covers == "span", actor=tenant.actor
    )
    return json_reply(_event(event))


async def list_allowed(call: Call) -> Reply:
    after, limit = call.page()
    found = await guard_admin.list_allowed(call.app, tenant_of(call).scope, before=after, limit=limit + 1)
    items = [_entry(entry) for entry in found[:limit]]
    return json_reply(AllowedPage(items, items[-1].id if len(found) > limit else None))


async def add_allowed(call: Call) -> Reply:
    tenant = tenant_of(call)
    call.require_json()
    raw = await call.body()
    body = decode(_allow, raw)

    async def work() -> Reply:
        entry = await guard_admin.allow(call.app, tenant.scope, body.text, rule=body.rule, actor=tenant.actor)
        return json_reply(_entry(entry), status=201)

    return await once(call, tenant.scope, raw, work)


async def remove_allowed(call: Call) -> Reply:
    tenant = tenant_of(call)
    await guard_admin.remove_allowed(call.app, tenant.scope, call.params["entry_id"], actor=tenant.actor)
    return Reply(204)


async def show_stats(call: Call) -> Reply:
    scope = tenant_of(call).scope
    days = call.query_int("days", 7, low=1, high=_DAYS_AT_MOST)
    rows = await guard_admin.count_events(call.app, scope, days=days, chatbot_id=await _chatbot_id(call))
    try:
        wave: JsonObject | None = await guard_admin.read_wave(call.app, scope)
    except Unavailable:
        wave = None
    return json_reply(
        GuardStatsReply(
            days=days,
            events=sum(row["events"] for row in rows),
            wrong=sum(row["wrong"] for row in rows),
            rows=[dict(row) for row in rows],
            wave=wave,
        )
    )


async def get_policy(call: Call) -> Reply:
    return json_reply(_policy_shown(await guard_admin.get_policy(call.app, tenant_of(call).scope)))


async def put_policy(call: Call) -> Reply:
    tenant = tenant_of(call)
    policy = await call.json(_policy)
    await guard_admin.put_policy(call.app, tenant.scope, policy, actor=tenant.actor)
    return json_reply(_policy_shown(policy))


async def try_text(call: Call) -> Reply:
    scope = tenant_of(call).scope
    body = await call.json(_try)
    chatbot = None if body.chatbot is None else await call.app.chatbots.get(scope, body.chatbot)
    found = await guarding.examine(call.app, scope, body.text, chatbot)
    return json_reply(
        TryReply(
            verdict=found.verdict.action,
            by_rules=found.by_rules.action,
            score=found.verdict.score,
            findings=[
                FindingBody(one.rule, (one.start, one.end), excerpt_of(found.looked[one.start : one.end]), one.score)
                for one in found.findings
            ],
            allowed=found.allowed,
            text=found.text,
            input=found.policy.input,
        )
    )


def _event(event: LoggedEvent) -> GuardEventReply:
    fields = asdict(event)
    span = (fields.pop("span_start"), fields.pop("span_end"))
    fields["wrong_at"] = None if event.wrong_at is None else shown_time(event.wrong_at)
    fields["created_at"] = shown_time(event.created_at)
    fields["score"] = None if event.score is None else round(event.score, 4)
    return GuardEventReply(**fields, span=span)


def _entry(entry: AllowedEntry) -> AllowedReply:
    return AllowedReply(entry.id, entry.rule, entry.excerpt, entry.event_id, shown_time(entry.created_at))


def _policy_shown(policy: dict[str, Any]) -> GuardPolicyReply:
    return GuardPolicyReply(policy, cast("JsonObject", msgspec.to_builtins(GuardPolicy.of(policy))))


async def _chatbot_id(call: Call) -> str | None:
    name = call.query("chatbot")
    return None if name is None else (await call.app.chatbots.get(tenant_of(call).scope, name)).id


def _one_of(call: Call, name: str, values: tuple[str, ...]) -> str | None:
    value = call.query(name)
    if value is not None and value not in values:
        raise BadRequest(f"{name} is one of {', '.join(values)}", param=name)
    return value


def _id(call: Call, name: str) -> str | None:
    value = call.query(name)
    if value is not None and not is_id(value):
        raise NotFound("no such document")
    return value


_GUARD = "/api/v1/guard"
_PAGE = (("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50"))
ENDPOINTS = (
    Endpoint(
        method="GET", path=_GUARD + "/events", handle=list_events, access=Access.TENANT,
        summary="What the guard found, newest first", tag="guard", response=GuardEventPage,
        query=(
            ("chatbot", "id or slug"), ("direction", "input, metadata, document, output or leak"),
            ("rule", "one of its rules"), ("verdict", "flag, advise, block, mask or stop"),
            ("document_id", "in this document"), *_PAGE,
        ),
    ),
    Endpoint(
        method="GET", path=_GUARD + "/events/{event_id}", handle=get_event, access=Access.TENANT,
        summary="One finding", tag="guard", response=GuardEventReply,
    ),
    Endpoint(
        method="POST", path=_GUARD + "/events/{event_id}/wrong", handle=mark_wrong, access=Access.TENANT,
        summary="Say that it was no attack, and allow the like", tag="guard", request=WrongRequest,
        response=GuardEventReply,
    ),
    Endpoint(
        method="GET", path=_GUARD + "/allow", handle=list_allowed, access=Access.TENANT,
        summary="What is no attack in this tenant's trade", tag="guard", response=AllowedPage, query=_PAGE,
    ),
    Endpoint(
        method="POST", path=_GUARD + "/allow", handle=add_allowed, access=Access.TENANT,
        summary="Allow a text, or words under one rule", tag="guard", status=201, request=AllowRequest,
        response=AllowedReply, creates=True,
    ),
    Endpoint(
        method="DELETE", path=_GUARD + "/allow/{entry_id}", handle=remove_allowed, access=Access.TENANT,
        summary="Take an entry off the allow list", tag="guard", status=204,
    ),
    Endpoint(
        method="GET", path=_GUARD + "/stats", handle=show_stats, access=Access.TENANT,
        summary="Findings by day, rule and verdict, and whether an attack wave is under way", tag="guard",
        response=GuardStatsReply, query=(("days", "1 to 90, default 7"), ("chatbot", "id or slug")),
    ),
    Endpoint(
        method="GET", path=_GUARD + "/policy", handle=get_policy, access=Access.TENANT,
        summary="What all chatbots of the tenant inherit", tag="guard", response=GuardPolicyReply,
    ),
    Endpoint(
        method="PUT", path=_GUARD + "/policy", handle=put_policy, access=Access.TENANT,
        summary="Set it, whole; every chatbot's revision goes up by one", tag="guard", request=JsonObject,
        response=GuardPolicyReply,
    ),
    Endpoint(
        method="POST", path=_GUARD + "/test", handle=try_text, access=Access.TENANT,
        summary="Try a text: what each rule and the model say. Nothing is kept", tag="guard", request=TryRequest,
        response=TryReply,
    ),
)  # fmt: skip
