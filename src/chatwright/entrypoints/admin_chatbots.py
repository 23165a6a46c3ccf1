"""Chatbots of a tenant."""

from dataclasses import asdict, fields
from typing import Any

import msgspec
from msgspec import UNSET

from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import NotFound
from chatwright.entrypoints.auth import tenant_of
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
)
from chatwright.features import credentials, tenancy
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import manage
from chatwright.pipeline.prompt_checking import warnings_of

_create = msgspec.json.Decoder(ChatbotCreate)
_patch = msgspec.json.Decoder(ChatbotPatch)


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
)  # fmt: skip
