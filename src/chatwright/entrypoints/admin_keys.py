"""API keys: a tenant's own, and the platform's for operators."""

import msgspec

from chatwright.domain.scope import Scope
from chatwright.entrypoints.admin_tenants import NO_STORE, key_reply, new_key_reply
from chatwright.entrypoints.auth import admin_of, staff_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire import KeyCreate, KeyPage, KeyReply, KeyRotate, NewKeyReply
from chatwright.features import credentials
from chatwright.pipeline import manage

_create = msgspec.json.Decoder(KeyCreate)
_rotate = msgspec.json.Decoder(KeyRotate)


def _owner(call: Call) -> tuple[Scope | None, str]:
    """(scope, actor): the tenant's keys, or the platform's (scope None) for an operator who names no tenant."""
    tenant = staff_of(call)
    return (None, admin_of(call).actor) if tenant is None else (tenant.scope, tenant.actor)


async def create(call: Call) -> Reply:
    scope, actor = _owner(call)
    call.require_json()
    raw = await call.body()
    body = decode(_create, raw)

    async def work() -> Reply:
        fresh = await manage.create_key(call.app, scope, actor=actor, name=body.name, limits=body.limits)
        return json_reply(new_key_reply(fresh), status=201, headers=NO_STORE)

    # The platform's own keys belong to no tenant under which an Idempotency-Key could be kept.
    return await work() if scope is None else await once(call, scope, raw, work, secret=True)


async def list_all(call: Call) -> Reply:
    scope, _ = _owner(call)
    after, limit = call.page()
    async with call.app.db.operator() as db:
        keys = await credentials.list_keys(db, scope, after=after, limit=limit + 1)
    items = [key_reply(key) for key in keys[:limit]]
    return json_reply(KeyPage(items, items[-1].id if len(keys) > limit else None))


async def revoke(call: Call) -> Reply:
    scope, actor = _owner(call)
    return json_reply(key_reply(await manage.revoke_key(call.app, scope, call.params["key_id"], actor=actor)))


async def rotate(call: Call) -> Reply:
    scope, actor = _owner(call)
    raw = await call.body()
    body = KeyRotate()
    if raw:
        call.require_json()
        body = decode(_rotate, raw)

    async def work() -> Reply:
        fresh = await manage.rotate_key(call.app, scope, call.params["key_id"], actor=actor, overlap_s=body.overlap_s)
        return json_reply(new_key_reply(fresh), status=201, headers=NO_STORE)

    return await work() if scope is None else await once(call, scope, raw, work, secret=True)


ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/keys", handle=create, access=Access.STAFF, summary="Make an API key", tag="keys",
        status=201, request=KeyCreate, response=NewKeyReply, creates=True,
    ),
    Endpoint(
        method="GET", path="/api/v1/keys", handle=list_all, access=Access.STAFF, summary="List API keys", tag="keys",
        response=KeyPage,
    ),
    Endpoint(
        method="DELETE", path="/api/v1/keys/{key_id}", handle=revoke, access=Access.STAFF,
        summary="Revoke an API key; it stops working everywhere within a second", tag="keys", response=KeyReply,
    ),
    Endpoint(
        method="POST", path="/api/v1/keys/{key_id}/rotate", handle=rotate, access=Access.STAFF,
        summary="Make a successor of a key and end the old one", tag="keys", status=201, request=KeyRotate,
        response=NewKeyReply, creates=True,
    ),
)  # fmt: skip
