"""Chatbots of a tenant, and the visitor tokens that their widgets ask for."""

import time
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET

from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import Forbidden, NotFound
from chatwright.entrypoints.auth import TenantAdmin, credential_of, identify, tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire import (
    ChatbotCreate,
    ChatbotPage,
    ChatbotPatch,
    ChatbotReply,
    ProviderLinkBody,
    WidgetTokenReply,
    WidgetTokenRequest,
)
from chatwright.features import credentials, tenancy
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import manage
from chatwright.pipeline.prompt_checking import warnings_of

_create = msgspec.json.Decoder(ChatbotCreate)
_patch = msgspec.json.Decoder(ChatbotPatch)
_token = msgspec.json.Decoder(WidgetTokenRequest)


async def create(call: Call) -> Reply:
    tenant = tenant_of(call)
    call.require_json()
    raw = await call.body()
    body = decode(_create, raw)
    values = _values(body)
    values["slug"] = body.slug or tenancy.slug_from_name(body.name)
    new = NewChatbot(**values, widget_id=credentials.new_widget_id())

    async def work() -> Reply:
        chatbot = await manage.create_chatbot(call.app, tenant.scope, new, actor=tenant.actor)
        return json_reply(_with_warnings(call, chatbot), status=201)

    return await once(call, tenant.scope, raw, work)


async def list_all(call: Call) -> Reply:
    scope = tenant_of(call).scope
    after, limit = call.page()
    async with call.app.db.transaction(scope) as db:
        chatbots = await tenancy.list_chatbots(db, scope, after=after, limit=limit + 1)
    items = [chatbot_reply(chatbot) for chatbot in chatbots[:limit]]
    return json_reply(ChatbotPage(items, items[-1].id if len(chatbots) > limit else None))


async def get(call: Call) -> Reply:
    scope = tenant_of(call).scope
    async with call.app.db.transaction(scope) as db:
        chatbot = await tenancy.get_chatbot(db, scope, call.params["chatbot"])
    if chatbot is None:
        raise NotFound("no such chatbot")
    return json_reply(_with_warnings(call, chatbot))


async def patch(call: Call) -> Reply:
    tenant = tenant_of(call)
    changes = _values(await call.json(_patch))
    chatbot = await manage.patch_chatbot(call.app, tenant.scope, call.params["chatbot"], changes, actor=tenant.actor)
    return json_reply(_with_warnings(call, chatbot))


async def delete(call: Call) -> Reply:
    tenant = tenant_of(call)
    await manage.delete_chatbot(call.app, tenant.scope, call.params["chatbot"], actor=tenant.actor)
    return Reply(204)


async def widget_token(call: Call) -> Reply:
    """A visitor token for a page on an allowed origin; a tenant's key may ask for one for any visitor of its own."""
    body = await call.json(_token)
    chatbot = await call.app.chatbots.find_widget(body.widget_id)
    visitor_id = body.visitor_id
    if call.header(b"authorization") is not None or call.header(b"x-api-key") is not None:
        identity = await identify(call.app, credential_of(call))
        if not isinstance(identity, TenantAdmin) or identity.scope.tenant_id != chatbot.tenant_id:
            raise NotFound("no such widget")
    else:
        _check_origin(call, chatbot)
        visitor_id = None if visitor_id is None else credentials.visitor_id_for_widget(visitor_id)
    visitor_id = visitor_id or credentials.new_visitor_id()
    tokens = await call.app.keys.visitor_tokens()
    token, expires_at_s = tokens.issue(
        tenant_id=chatbot.tenant_id, chatbot_id=chatbot.id, visitor_id=visitor_id, now_s=time.time()
    )
    expires_at = datetime.fromtimestamp(expires_at_s, UTC).isoformat().replace("+00:00", "Z")
    return json_reply(
        WidgetTokenReply(token, expires_at, credentials.visitor_id_shown(visitor_id)),
        headers=((b"cache-control", b"no-store"),),
    )


def _check_origin(call: Call, chatbot: Chatbot) -> None:
    """The page's origin must be on the chatbot's list, exactly; our own demo page counts while it is served."""
    origin = call.header(b"origin")
    if origin is None:
        raise Forbidden(
            "no Origin header: visitor tokens are for web pages; a server sends its API key", param="origin"
        )
    if origin.lower() in chatbot.allowed_origins:
        return
    settings = call.settings
    served = settings.demo and settings.demo_tenant_id in (None, chatbot.tenant_id)
    # The page itself names its origin, and only a page that came from this host can have this host's origin.
    host = (call.header(b"host") or "").lower()
    if served and host and origin.lower() in (f"http://{host}", f"https://{host}"):
        return
    raise Forbidden("this origin is not on the chatbot's allow-list (allowed_origins)", param="origin")


def chatbot_reply(chatbot: Chatbot) -> ChatbotReply:
    return msgspec.convert(asdict(chatbot), ChatbotReply)


def _with_warnings(call: Call, chatbot: Chatbot) -> ChatbotReply:
    warnings = [asdict(warning) for warning in warnings_of(call.app, chatbot)]
    return msgspec.structs.replace(chatbot_reply(chatbot), warnings=warnings)


def _values(body: ChatbotCreate | ChatbotPatch) -> dict[str, Any]:
    """The given fields as the rooms take them: tuples for lists, links for bodies."""
    values: dict[str, Any] = {}
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if value is UNSET:
            continue
        if name == "providers":
            values[name] = tuple(_link(link) for link in value)
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return values


def _link(body: ProviderLinkBody) -> ProviderLink:
    return ProviderLink(provider=body.provider, model=body.model, base_url=body.base_url, key_id=body.key_id)


# The three must agree on names; a field forgotten in one of them fails here, at import.
assert {field.name for field in fields(NewChatbot)} - {"widget_id"} == set(ChatbotCreate.__struct_fields__)
assert set(ChatbotPatch.__struct_fields__) == set(ChatbotCreate.__struct_fields__)
assert {field.name for field in fields(Chatbot)} | {"warnings"} == set(ChatbotReply.__struct_fields__)

_ID = "/api/v1/chatbots/{chatbot}"
ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/chatbots", handle=create, access=Access.TENANT, summary="Make a chatbot",
        tag="chatbots", status=201, request=ChatbotCreate, response=ChatbotReply, creates=True,
    ),
    Endpoint(
        method="GET", path="/api/v1/chatbots", handle=list_all, access=Access.TENANT, summary="List chatbots",
        tag="chatbots", response=ChatbotPage,
    ),
    Endpoint(
        method="GET", path=_ID, handle=get, access=Access.TENANT, summary="Read a chatbot, by id or slug",
        tag="chatbots", response=ChatbotReply,
    ),
    Endpoint(
        method="PATCH", path=_ID, handle=patch, access=Access.TENANT,
        summary="Change the given fields of a chatbot; its revision goes up by one", tag="chatbots",
        request=ChatbotPatch, response=ChatbotReply,
    ),
    Endpoint(
        method="DELETE", path=_ID, handle=delete, access=Access.TENANT,
        summary="Delete a chatbot with its conversations; its knowledge base stays", tag="chatbots", status=204,
    ),
    Endpoint(
        method="POST", path="/api/v1/widget/token", handle=widget_token, access=Access.NONE,
        summary="A visitor token for a page on an allowed origin, good for 15 minutes", tag="widget",
        request=WidgetTokenRequest, response=WidgetTokenReply, widget=True,
    ),
)  # fmt: skip
