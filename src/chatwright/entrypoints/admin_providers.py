"""Providers as a tenant sees them: which there are, whether they answer, and every call that was made."""

from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatwright.domain.errors import BadRequest
from chatwright.domain.ids import is_id
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.wire import Page, Request
from chatwright.features import budgets
from chatwright.pipeline import providers


class ProviderTest(Request, frozen=True):
    """Which to try: the named providers, or those of a chatbot's chain; neither: all that are set up."""

    chatbot: Annotated[str, Meta(max_length=100)] | None = None
    providers: Annotated[list[Annotated[str, Meta(max_length=63)]], Meta(max_length=32)] = msgspec.field(
        default_factory=list[str]
    )


class ProviderRow(msgspec.Struct, frozen=True):
    """`keys` is tenant, platform or none; `state` closed, open, half_open, limited or key_refused."""

    provider: str
    wire: str
    keys: str
    key_count: int
    default_model: str
    state: str
    retry_in_s: float | None
    first_delta_p95_ms: float | None


class ProviderList(msgspec.Struct, frozen=True):
    items: list[ProviderRow]


class TriedRow(msgspec.Struct, frozen=True):
    provider: str
    model: str
    key_id: str | None
    ok: bool
    text: str
    first_delta_ms: float | None
    took_ms: float | None
    input_tokens: int
    output_tokens: int
    cost_nano: int | None
    error_class: str | None
    message: str
    mend: str


class ProviderTestReply(msgspec.Struct, frozen=True):
    items: list[TriedRow]


_test = msgspec.json.Decoder(ProviderTest)


async def list_all(call: Call) -> Reply:
    views = await providers.list_providers(call.app, tenant_of(call).scope)
    return json_reply(ProviderList([msgspec.convert(asdict(view), ProviderRow) for view in views]))


async def test(call: Call) -> Reply:
    scope = tenant_of(call).scope
    raw = await call.body()
    body = ProviderTest()
    if raw:
        call.require_json()
        body = decode(_test, raw)
    chatbot = None if body.chatbot is None else await call.app.chatbots.get(scope, body.chatbot)
    tried = await providers.try_providers(call.app, scope, chatbot=chatbot, providers=body.providers)
    return json_reply(ProviderTestReply([msgspec.convert(asdict(one), TriedRow) for one in tried]))


async def calls(call: Call) -> Reply:
    """Every provider call, newest first: attempts that failed, were cut or cancelled are in it."""
    scope = tenant_of(call).scope
    before, limit = call.page()
    wanted: dict[str, Any] = {}
    for name in ("message_id", "conversation_id"):
        value = call.query(name)
        if value is not None and not is_id(value):
            raise BadRequest(f"{name} is an id", param=name)
        wanted[name] = value
    async with call.app.db.transaction(scope) as db:
        found = await budgets.list_calls(db, scope, before=before, limit=limit + 1, **wanted)
    items = [asdict(one) for one in found[:limit]]
    return json_reply(Page(items, found[limit - 1].id if len(found) > limit else None))


ENDPOINTS = (
    Endpoint(
        method="GET", path="/api/v1/providers", handle=list_all, access=Access.TENANT,
        summary="Providers that a chain can name, with the state of the platform's keys", tag="providers",
        response=ProviderList,
    ),
    Endpoint(
        method="POST", path="/api/v1/providers/test", handle=test, access=Access.TENANT,
        summary="Call each provider once with a tiny prompt and say what works", tag="providers", request=ProviderTest,
        response=ProviderTestReply,
    ),
    Endpoint(
        method="GET", path="/api/v1/calls", handle=calls, access=Access.TENANT,
        summary="Every provider call, newest first", tag="usage", response=Page,
        query=(("message_id", "only this message's"), ("conversation_id", "only this conversation's"),
               ("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
)  # fmt: skip
