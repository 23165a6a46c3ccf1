"""Tenants, by the platform's operators."""

import asyncio
import hashlib
from dataclasses import asdict, dataclass

import msgspec

from chatwright.domain.errors import Conflict, NotFound
from chatwright.domain.ids import TenantId
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import admin_of, tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import fingerprint, idempotency_key, kept, replayed
from chatwright.entrypoints.wire import (
    KeyReply,
    NewKeyReply,
    NewTenantReply,
    TenantCreate,
    TenantPage,
    TenantPatch,
    TenantReply,
)
from chatwright.features import idempotency, tenancy
from chatwright.features.credentials import ApiKey
from chatwright.features.tenancy import Tenant
from chatwright.pipeline import manage

_create = msgspec.json.Decoder(TenantCreate)
_patch = msgspec.json.Decoder(TenantPatch)
_WAIT_S = 5.0
NO_STORE = ((b"cache-control", b"no-store"),)


@dataclass(frozen=True, slots=True)
class _Once:
    """An Idempotency-Key before there is a tenant to keep it under: the key decides the tenant's id, and that id's
    uniqueness decides who creates it."""

    tenant_id: TenantId
    key: str
    digest: bytes


async def create(call: Call) -> Reply:
    admin = admin_of(call)
    call.require_json()
    raw = await call.body()
    body = decode(_create, raw)
    header = idempotency_key(call)
    only = None
    if header is not None:
        only = _Once(_id_from_key(admin.key_id, header), f"request:{header}", fingerprint(call, raw))
        known = await _find(call, only, wait_s=0)
        if known is not None:
            return known
    try:
        tenant, fresh = await manage.create_tenant(
            call.app,
            actor=admin.actor,
            name=body.name,
            plan=body.plan,
            time_zone=body.time_zone,
            tenant_id=None if only is None else only.tenant_id,
        )
    except Conflict:
        known = None if only is None else await _find(call, only, wait_s=_WAIT_S)
        if known is None:
            raise
        return known
    reply = json_reply(NewTenantReply(**asdict(tenant), key=new_key_reply(fresh)), status=201, headers=NO_STORE)
    if only is not None:
        stored = kept(call, reply, secret=True)
        async with call.app.db.operator() as db:
            await idempotency.finish(db, only.tenant_id, only.key, only.digest, status=reply.status, response=stored)
    return reply


async def list_all(call: Call) -> Reply:
    after, limit = call.page()
    async with call.app.db.operator() as db:
        tenants = await tenancy.list_tenants(db, after=after, limit=limit + 1)
    items = [_reply(tenant) for tenant in tenants[:limit]]
    return json_reply(TenantPage(items, items[-1].id if len(tenants) > limit else None))


async def get(call: Call) -> Reply:
    async with call.app.db.operator() as db:
        tenant = await tenancy.get_tenant(db, call.params["tenant_id"])
    if tenant is None:
        raise NotFound("no such tenant")
    return json_reply(_reply(tenant))


async def patch(call: Call) -> Reply:
    admin = admin_of(call)
    body = await call.json(_patch)
    tenant_id = call.params["tenant_id"]
    tenant = await manage.update_tenant(
        call.app, tenant_id, actor=admin.actor, name=body.name, plan=body.plan, time_zone=body.time_zone
    )
    if body.disabled is not None:
        tenant = await manage.set_tenant_disabled(call.app, tenant_id, actor=admin.actor, disabled=body.disabled)
    return json_reply(_reply(tenant))


async def disable(call: Call) -> Reply:
    tenant = await manage.set_tenant_disabled(
        call.app, call.params["tenant_id"], actor=admin_of(call).actor, disabled=True
    )
    return json_reply(_reply(tenant))


async def own(call: Call) -> Reply:
    scope = tenant_of(call).scope
    async with call.app.db.transaction(scope) as db:
        tenant = await tenancy.get_tenant(db, scope.tenant_id)
    if tenant is None:
        raise NotFound("no such tenant")
    return json_reply(_reply(tenant))


def key_reply(key: ApiKey) -> KeyReply:
    return KeyReply(
        id=key.id,
        kind=key.kind,
        name=key.name,
        prefix=key.prefix,
        limits=dict(key.limits),
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )


def new_key_reply(fresh: manage.NewKey) -> NewKeyReply:
    return NewKeyReply(**msgspec.structs.asdict(key_reply(fresh.key)), secret=fresh.secret)


def _reply(tenant: Tenant) -> TenantReply:
    return TenantReply(**asdict(tenant))


def _id_from_key(admin_key_id: str, header: str) -> TenantId:
    digest = hashlib.sha256(f"tenant:{admin_key_id}:{header}".encode()).hexdigest()
    return TenantId(f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}")


async def _find(call: Call, only: _Once, *, wait_s: float) -> Reply | None:
    """The reply of an earlier equal request, waiting for one that is under way. Raises Conflict for another request."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        async with call.app.db.transaction(Scope(tenant_id=only.tenant_id)) as db:
            claim = await idempotency.find(db, only.tenant_id, only.key, only.digest)
        if claim is not None:
            return replayed(call, claim, secret=True)
        if asyncio.get_running_loop().time() >= deadline:
            return None
        await asyncio.sleep(0.05)


_ID = "/api/v1/tenants/{tenant_id}"
ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/tenants",
        handle=create,
        access=Access.ADMIN,
        summary="Make a tenant and its first key",
        tag="tenants",
        status=201,
        request=TenantCreate,
        response=NewTenantReply,
        creates=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/tenants",
        handle=list_all,
        access=Access.ADMIN,
        summary="List tenants",
        tag="tenants",
        response=TenantPage,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/tenants/self",
        handle=own,
        access=Access.TENANT,
        summary="The tenant of this key",
        tag="tenants",
        response=TenantReply,
    ),
    Endpoint(
        method="GET", path=_ID, handle=get, access=Access.ADMIN, summary="Read a tenant", tag="tenants",
        response=TenantReply,
    ),
    Endpoint(
        method="PATCH", path=_ID, handle=patch, access=Access.ADMIN, summary="Change or disable a tenant",
        tag="tenants", request=TenantPatch, response=TenantReply,
    ),
    Endpoint(
        method="DELETE", path=_ID, handle=disable, access=Access.ADMIN,
        summary="Disable a tenant: its keys stop working, nothing is deleted", tag="tenants", response=TenantReply,
    ),
)  # fmt: skip
