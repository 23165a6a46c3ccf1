"""Provider keys: a tenant's own, and the platform's for operators. A secret goes in and never comes out."""

import hmac

import msgspec

from chatwright.domain.errors import NotFound
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import admin_of, credential_of, staff_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire_providers import (
    ProviderKeyCreate,
    ProviderKeyPage,
    ProviderKeyReply,
    ProviderKeyRotate,
)
from chatwright.features import provider_keys
from chatwright.features.provider_keys import KeyRecord
from chatwright.pipeline import provider_keys as flows

_create = msgspec.json.Decoder(ProviderKeyCreate)
_rotate = msgspec.json.Decoder(ProviderKeyRotate)


async def create(call: Call) -> Reply:
    scope, actor = _owner(call)
    call.require_json()
    raw = await call.body()
    body = decode(_create, raw)

    async def work() -> Reply:
        key = await flows.add_key(
            call.app,
            scope,
            actor=actor,
            provider=body.provider,
            secret=body.secret,
            name=body.name,
            base_url=body.base_url,
            request_limit=body.request_limit,
            token_limit=body.token_limit,
        )
        return json_reply(_reply(key), status=201)

    # The platform's own keys belong to no tenant under which an Idempotency-Key could be kept.
    return await work() if scope is None else await once(call, scope, _fingerprint_of(call, raw), work, secret=True)


async def list_all(call: Call) -> Reply:
    scope, _ = _owner(call)
    after, limit = call.page()
    async with call.app.db.operator() if scope is None else call.app.db.transaction(scope) as db:
        keys = await provider_keys.list_keys(db, scope, after=after, limit=limit + 1)
    items = [_reply(key) for key in keys[:limit]]
    return json_reply(ProviderKeyPage(items, items[-1].id if len(keys) > limit else None))


async def get(call: Call) -> Reply:
    scope, _ = _owner(call)
    async with call.app.db.operator() if scope is None else call.app.db.transaction(scope) as db:
        key = await provider_keys.get_key(db, scope, call.params["key_id"])
    if key is None:
        raise NotFound("no such provider key")
    return json_reply(_reply(key))


async def revoke(call: Call) -> Reply:
    scope, actor = _owner(call)
    return json_reply(_reply(await flows.revoke_key(call.app, scope, call.params["key_id"], actor=actor)))


async def rotate(call: Call) -> Reply:
    scope, actor = _owner(call)
    call.require_json()
    raw = await call.body()
    body = decode(_rotate, raw)

    async def work() -> Reply:
        key = await flows.rotate_key(
            call.app, scope, call.params["key_id"], actor=actor, secret=body.secret, overlap_s=body.overlap_s
        )
        return json_reply(_reply(key), status=201)

    return await work() if scope is None else await once(call, scope, _fingerprint_of(call, raw), work, secret=True)


def _owner(call: Call) -> tuple[Scope | None, str]:
    """(scope, actor): the tenant's keys, or the platform's (scope None) for an operator who names no tenant."""
    tenant = staff_of(call)
    return (None, admin_of(call).actor) if tenant is None else (tenant.scope, tenant.actor)


def _fingerprint_of(call: Call, raw: bytes) -> bytes:
    """What stands for the body in the idempotency table. A plain hash would let a reader of the table try guesses at a
    weak secret; this one can only be made with the caller's API key."""
    return hmac.digest(credential_of(call).encode("latin-1", "replace"), b"provider key body:" + raw, "sha256")


def _reply(key: KeyRecord) -> ProviderKeyReply:
    return ProviderKeyReply(
        id=key.id,
        provider=key.provider,
        name=key.name,
        hint=key.hint,
        base_url=key.base_url,
        request_limit=key.request_limit,
        token_limit=key.token_limit,
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        ends_at=key.ends_at,
        successor_id=key.successor_id,
    )


_PATH = "/api/v1/provider-keys"
_TAG = "provider-keys"
ENDPOINTS = (
    Endpoint(
        method="POST", path=_PATH, handle=create, access=Access.STAFF, tag=_TAG, status=201,
        summary="Store a key for a provider, sealed; its secret is never shown again", request=ProviderKeyCreate,
        response=ProviderKeyReply, creates=True,
    ),
    Endpoint(
        method="GET", path=_PATH, handle=list_all, access=Access.STAFF, summary="List provider keys", tag=_TAG,
        response=ProviderKeyPage,
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="GET", path=f"{_PATH}/{{key_id}}", handle=get, access=Access.STAFF, summary="Read a provider key",
        tag=_TAG, response=ProviderKeyReply,
    ),
    Endpoint(
        method="DELETE", path=f"{_PATH}/{{key_id}}", handle=revoke, access=Access.STAFF, tag=_TAG,
        summary="Revoke a provider key; no call is made with it a second later", response=ProviderKeyReply,
    ),
    Endpoint(
        method="POST", path=f"{_PATH}/{{key_id}}/rotate", handle=rotate, access=Access.STAFF, tag=_TAG, status=201,
        summary="Put a new secret in a key's place and end the old one", request=ProviderKeyRotate,
        response=ProviderKeyReply, creates=True,
    ),
)  # fmt: skip
