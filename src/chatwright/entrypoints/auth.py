"""Credential -> who is calling. The only maker of a `Scope` on the way in.

A key or token comes as ``Authorization: Bearer …`` or ``x-api-key``; on a socket in its first frame.
"""

import time
from dataclasses import dataclass

from chatwright.domain.errors import Forbidden, NotFound, Unauthenticated
from chatwright.domain.ids import ApiKeyId, TenantId
from chatwright.domain.limits import LimitedKey
from chatwright.domain.scope import Scope
from chatwright.entrypoints.call import Call
from chatwright.entrypoints.endpoint import Access
from chatwright.features import tenancy
from chatwright.pipeline.services import Services

_TOKEN_START = "cw_vt_"  # noqa: S105 - marks the kind, is no secret


@dataclass(frozen=True, slots=True)
class Admin:
    """An operator of the platform."""

    key_id: ApiKeyId

    @property
    def actor(self) -> str:
        return f"key:{self.key_id}"


@dataclass(frozen=True, slots=True)
class TenantAdmin:
    """A tenant's key, or an operator acting for that tenant (`operator`). The scope is tenant-wide. `limited`: a key with
    limits."""

    scope: Scope
    key_id: ApiKeyId
    limited: LimitedKey | None = None
    operator: bool = False

    @property
    def actor(self) -> str:
        return f"key:{self.key_id}"


@dataclass(frozen=True, slots=True)
class Visitor:
    """One visitor of one chatbot; sees own conversations only. `expires_at_s`: Unix time of the token's end."""

    scope: Scope
    visitor_id: str
    expires_at_s: int


Identity = Admin | TenantAdmin | Visitor


async def identify(app: Services, credential: str) -> Identity:
    """Who holds this key or token. Raises Unauthenticated, Unavailable."""
    if credential.startswith(_TOKEN_START):
        claims = (await app.keys.visitor_tokens()).verify(credential, now_s=time.time())
        scope = Scope(tenant_id=claims.tenant_id, chatbot_id=claims.chatbot_id)
        visitor = Visitor(scope, claims.visitor_id, claims.expires_at_s)
        await _check_visitor(app, visitor)
        return visitor
    key = await app.keys.authenticate(credential)
    if key.tenant_id is None:
        return Admin(key.key_id)
    return TenantAdmin(Scope(tenant_id=key.tenant_id), key.key_id, key.limited)


async def check_still(app: Services, identity: Identity, credential: str) -> None:
    """Whether who opened a connection may go on using it. Raises Unauthenticated, Unavailable; costs no round trip."""
    if isinstance(identity, Visitor):
        await _check_visitor(app, identity)
    else:
        await app.keys.authenticate(credential)


async def _check_visitor(app: Services, visitor: Visitor) -> None:
    if time.time() >= visitor.expires_at_s:
        raise Unauthenticated("the visitor token has expired; ask for a new one")
    if not await app.chatbots.is_served(visitor.scope):
        raise Unauthenticated("this chatbot is not served any more")


def credential_of(call: Call) -> str:
    """The key or token of a request. Raises Unauthenticated if there is none."""
    header = call.header(b"authorization")
    if header is None:
        header = call.header(b"x-api-key")
        if header is None:
            raise Unauthenticated("send an API key or visitor token: Authorization: Bearer …")
        return header.strip()
    kind, _, credential = header.partition(" ")
    if kind.lower() != "bearer":
        raise Unauthenticated("the Authorization header must be: Bearer <API key or visitor token>")
    return credential.strip()


async def authorize(call: Call, access: Access) -> Identity | None:
    """Check a request's credential against what the endpoint asks for.

    Raises Unauthenticated, Forbidden for a credential of the wrong kind, NotFound for an operator's unknown tenant.
    """
    if access is Access.NONE:
        return None
    identity = await identify(call.app, credential_of(call))
    match identity:
        case TenantAdmin():
            allowed = access is not Access.ADMIN
        case Visitor():
            allowed = access is Access.VISITOR
        case Admin():
            if access is not Access.ADMIN:
                tenant_id = call.header(b"x-chatwright-tenant")
                if tenant_id is not None:
                    return await _act_for(call.app, identity, tenant_id)
            allowed = access in (Access.ADMIN, Access.STAFF)
            if not allowed:
                raise Forbidden("an operator names the tenant to act for: x-chatwright-tenant: <tenant id>")
    if not allowed:
        raise Forbidden("this key may not do that")
    return identity


async def _act_for(app: Services, admin: Admin, tenant_id: str) -> TenantAdmin:
    async with app.db.operator() as db:
        tenant = await tenancy.get_tenant(db, tenant_id)
    if tenant is None:
        raise NotFound("no such tenant", param="x-chatwright-tenant")
    return TenantAdmin(Scope(tenant_id=TenantId(tenant.id)), admin.key_id, operator=True)


def admin_of(call: Call) -> Admin:
    """The operator behind a call to an endpoint of `Access.ADMIN`."""
    assert isinstance(call.identity, Admin)
    return call.identity


def tenant_of(call: Call) -> TenantAdmin:
    """The tenant behind a call to an endpoint of `Access.TENANT`."""
    assert isinstance(call.identity, TenantAdmin)
    return call.identity


def staff_of(call: Call) -> TenantAdmin | None:
    """The tenant behind a call to an endpoint of `Access.STAFF`; None for an operator who looks at all tenants."""
    return call.identity if isinstance(call.identity, TenantAdmin) else None


def speaker_of(call: Call) -> tuple[Scope, str | None]:
    """(scope, visitor) behind a call to an endpoint of `Access.VISITOR`; visitor None is the tenant itself."""
    identity = call.identity
    if isinstance(identity, Visitor):
        return identity.scope, identity.visitor_id
    assert isinstance(identity, TenantAdmin)
    return identity.scope, None
