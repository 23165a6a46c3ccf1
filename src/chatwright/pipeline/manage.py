"""Administration that touches more than one room: a tenant with its first key, a chatbot, keys that come and go.

Every change writes its audit row in the same transaction. `actor` says who: ``key:<id>``, ``cli`` or ``setup``.
Called by `entrypoints/admin_*.py` and by the command line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import BadRequest, Conflict, NotFound, Unavailable, Unprocessable
from chatwright.domain.ids import ApiKeyId, TenantId
from chatwright.domain.scope import Scope
from chatwright.features import credentials, tenancy
from chatwright.features.credentials import ApiKey
from chatwright.features.guard.store import touch
from chatwright.features.tenancy import NewChatbot, Tenant
from chatwright.pipeline.chatbot_fields import CHECKS, check_fields
from chatwright.pipeline.embedding import choose_embedder
from chatwright.pipeline.prompt_checking import TEXTS, refuse_keys
from chatwright.pipeline.services import Services

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key just made. `secret` can be shown now and never again."""

    key: ApiKey
    secret: str = field(repr=False)


async def create_tenant(
    app: Services,
    *,
    actor: str,
    name: str,
    plan: str = "standard",
    time_zone: str = "UTC",
    tenant_id: TenantId | None = None,
) -> tuple[Tenant, NewKey]:
    """Make a tenant and its first key. Raises Unprocessable for an unknown plan or zone, Conflict if the id is taken."""
    limits = tenancy.limits_of(plan)
    tenancy.check_time_zone(time_zone)
    async with app.db.operator() as db:
        tenant = await tenancy.create_tenant(
            db, name=name, plan=plan, time_zone=time_zone, weight=limits.weight, tenant_id=tenant_id
        )
        key = await _make_key(db, tenant_id=tenant.id, name="first key")
        await tenancy.record(
            db, tenant.id, actor=actor, action="tenant.created", target=tenant.id, detail={"key": key.key.id}
        )
    return tenant, key


async def update_tenant(
    app: Services,
    tenant_id: str,
    *,
    actor: str,
    name: str | None = None,
    plan: str | None = None,
    time_zone: str | None = None,
) -> Tenant:
    """Change the given fields; a new plan brings its weight along. Raises NotFound, Unprocessable."""
    weight = None if plan is None else tenancy.limits_of(plan).weight
    if time_zone is not None:
        tenancy.check_time_zone(time_zone)
    async with app.db.operator() as db:
        tenant = await tenancy.update_tenant(db, tenant_id, name=name, plan=plan, time_zone=time_zone, weight=weight)
        if tenant is None:
            raise NotFound("no such tenant")
        fields = {"name": name, "plan": plan, "time_zone": time_zone}
        changed = [field for field, value in fields.items() if value is not None]
        await tenancy.record(
            db, tenant.id, actor=actor, action="tenant.updated", target=tenant.id, detail={"fields": changed}
        )
    app.chatbots.invalidate(tenant.id)
    return tenant


async def set_tenant_disabled(app: Services, tenant_id: str, *, actor: str, disabled: bool) -> Tenant:
    """Shut a tenant out (its keys stop working within a second) or let it back in. Raises NotFound."""
    async with app.db.operator() as db:
        if not await tenancy.disable_tenant(db, tenant_id, disabled=disabled):
            raise NotFound("no such tenant")
        tenant = await tenancy.get_tenant(db, tenant_id)
        assert tenant is not None
        action = "tenant.disabled" if disabled else "tenant.enabled"
        await tenancy.record(db, tenant.id, actor=actor, action=action, target=tenant.id)
        keys = await credentials.list_keys(db, Scope(tenant_id=tenant.id), after=None, limit=1000)
    if disabled:
        for key in keys:
            await _tell_revoked(app, key.id)
    return tenant


async def create_chatbot(app: Services, scope: Scope, new: NewChatbot, *, actor: str) -> Chatbot:
    """Make a chatbot (and its knowledge base, unless one is named).

    Raises Conflict if the slug is taken or the plan allows no more chatbots, Unprocessable for malformed values.
    """
    _check_providers(app, new.providers)
    check_fields({name: getattr(new, name) for name in CHECKS})
    refuse_keys({name: getattr(new, name) for name in TEXTS})
    pinned = await choose_embedder(app, scope)
    async with app.db.transaction(scope) as db:
        tenant = await tenancy.get_tenant(db, scope.tenant_id)
        if tenant is None:
            raise NotFound("no such tenant")
        # Two at once may pass the limit by one: it protects against runaway scripts, no money hangs on it.
        at_most = tenancy.limits_of(tenant.plan).max_chatbots
        if await tenancy.count_chatbots(db, scope) >= at_most:
            raise Conflict(f"the plan {tenant.plan} allows at most {at_most} chatbots")
        chatbot = await tenancy.create_chatbot(db, scope, new, embedder=pinned.name, dimension=pinned.dimension)
        if new.guard_policy:
            await touch(db, scope)
        await tenancy.record(
            db,
            scope.tenant_id,
            actor=actor,
            action="chatbot.created",
            target=chatbot.id,
            detail={"slug": chatbot.slug, "knowledge_base_id": chatbot.knowledge_base_id},
        )
    app.chatbots.invalidate(scope.tenant_id)
    app.guard.directory.drop(scope.tenant_id)
    return chatbot


async def patch_chatbot(
    app: Services, scope: Scope, id_or_slug: str, changes: Mapping[str, Any], *, actor: str
) -> Chatbot:
    """Change the given fields and raise the revision. Raises NotFound, Conflict, Unprocessable."""
    _check_providers(app, changes.get("providers", ()))
    check_fields(changes)
    refuse_keys(changes)
    async with app.db.transaction(scope) as db:
        chatbot = await tenancy.patch_chatbot(db, scope, id_or_slug, changes)
        if chatbot is None:
            raise NotFound("no such chatbot")
        if "guard_policy" in changes:
            await touch(db, scope)
        if changes:
            await tenancy.record(
                db,
                scope.tenant_id,
                actor=actor,
                action="chatbot.updated",
                target=chatbot.id,
                detail={"fields": sorted(changes), "revision": chatbot.revision},
            )
    app.chatbots.invalidate(scope.tenant_id)
    app.guard.directory.drop(scope.tenant_id)
    return chatbot


async def delete_chatbot(app: Services, scope: Scope, id_or_slug: str, *, actor: str) -> None:
    """Delete a chatbot with its conversations; its knowledge base stays. Raises NotFound."""
    async with app.db.transaction(scope) as db:
        chatbot = await tenancy.get_chatbot(db, scope, id_or_slug)
        if chatbot is None or not await tenancy.delete_chatbot(db, scope, chatbot.id):
            raise NotFound("no such chatbot")
        await tenancy.record(
            db,
            scope.tenant_id,
            actor=actor,
            action="chatbot.deleted",
            target=chatbot.id,
            detail={"slug": chatbot.slug},
        )
    app.chatbots.invalidate(scope.tenant_id)


async def create_key(
    app: Services, scope: Scope | None, *, actor: str, name: str = "", limits: Mapping[str, Any] | None = None
) -> NewKey:
    """Make another key for a tenant, or a platform key for scope None. `limits`: rate limits of this key alone.

    Raises NotFound for an unknown tenant, Unprocessable for limits that there are not.
    """
    tenant_id = None if scope is None else scope.tenant_id
    limits = tenancy.check_limits(limits or {})
    if limits and tenant_id is None:
        raise Unprocessable("a platform key asks for no answers: it has no rate limits", param="limits")
    async with app.db.operator() as db:
        key = await _make_key(db, tenant_id=tenant_id, name=name, limits=limits)
        await tenancy.record(db, tenant_id, actor=actor, action="key.created", target=key.key.id)
    if limits and tenant_id is not None:
        app.chatbots.invalidate(tenant_id)
    return key


async def revoke_key(app: Services, scope: Scope | None, key_id: str, *, actor: str) -> ApiKey:
    """End a key now, everywhere within a second. Raises NotFound; revoking twice is fine."""
    async with app.db.operator() as db:
        key = await credentials.revoke_key(db, scope, key_id)
        if key is None:
            raise NotFound("no such key")
        await tenancy.record(db, key.tenant_id, actor=actor, action="key.revoked", target=key.id)
    await _tell_revoked(app, key.id)
    return key


async def rotate_key(app: Services, scope: Scope | None, key_id: str, *, actor: str, overlap_s: float = 0.0) -> NewKey:
    """Make a successor of a key; the old one ends in `overlap_s` seconds. Raises NotFound, Conflict if it has ended."""
    async with app.db.operator() as db:
        old = await credentials.get_key(db, scope, key_id)
        if old is None:
            raise NotFound("no such key")
        if old.revoked_at is not None:
            raise Conflict("this key has been revoked or rotated already")
        fresh = await _make_key(db, tenant_id=old.tenant_id, name=old.name, limits=old.limits)
        await credentials.revoke_key(db, scope, key_id, after_s=overlap_s)
        await tenancy.record(
            db, old.tenant_id, actor=actor, action="key.rotated", target=old.id, detail={"successor": fresh.key.id}
        )
    # The old key's cached entries do not know their end yet: drop them everywhere, and the next use learns it.
    await _tell_revoked(app, old.id)
    return fresh


async def _make_key(
    db: Any, *, tenant_id: TenantId | None, name: str, limits: Mapping[str, Any] | None = None
) -> NewKey:
    kind = "admin" if tenant_id is None else "tenant"
    secret = credentials.new_secret(kind)
    key = await credentials.create_key(db, kind=kind, tenant_id=tenant_id, name=name, secret=secret, limits=limits)
    return NewKey(key=key, secret=secret.text)


async def _tell_revoked(app: Services, key_id: ApiKeyId) -> None:
    app.keys.drop(key_id)
    try:
        await app.channel.publish_revoked(key_id)
    except Unavailable as error:
        # Other processes learn it from PostgreSQL within a second (KeyDirectory.watch).
        log.warning("keys.notice_failed", key_id=key_id, error=error.message)


def _check_providers(app: Services, links: tuple[ProviderLink, ...]) -> None:
    for place, link in enumerate(links):
        platform = app.platform_providers.get(link.provider)
        if not link.model and (platform is None or not platform.default_model):
            raise Unprocessable(
                f"name a model of {link.provider}: it has no default one here", param=f"providers[{place}].model"
            )
        if link.base_url is None:
            if app.catalogue.provider(link.provider) is None and link.key_id is None:
                raise Unprocessable(
                    f"no such provider: {link.provider!r}; a server of your own needs a base_url, or a key that has one",
                    param=f"providers[{place}].provider",
                )
            continue
        try:
            app.http.guard.check_url(link.base_url)
        except BadRequest as error:
            raise Unprocessable(error.message, param=f"providers[{place}].base_url") from error
