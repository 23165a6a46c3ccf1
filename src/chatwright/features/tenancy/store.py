"""SQL over tenants and chatbots. Functions never commit; the caller's transaction decides.

Tenant rows are written under the operators' role (`Database.operator`), chatbots under their tenant's. A name that
already exists raises Conflict, an id that does not is None or False.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from chatwright.adapters.postgres import Connection
from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import Conflict, NotFound, Unprocessable
from chatwright.domain.ids import ChatbotId, KnowledgeBaseId, TenantId, is_id, new_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.features.tenancy.rules import (
    LIMIT_NAMES,
    VISITOR_LIMIT_NAMES,
    ChatbotChanges,
    NewChatbot,
    check_limits,
    check_slug,
    is_slug,
    normalize_origin,
)

EMBEDDER = "minilm-l6-v2-int8"
EMBEDDER_DIMENSION = 384

_TENANT_COLUMNS = "id, name, plan, time_zone, weight, disabled_at, created_at"
_CHATBOT_COLUMNS = """id, tenant_id, slug, name, widget_id, revision, providers, system_prompt, personality, temperature,
    max_tokens, knowledge_base_id, knowledge_enabled, languages, cache_policy, guard_policy, animation_set,
    allowed_origins, limits, greeting, suggested_questions, no_answer_text, answer_policy, relevance_threshold, apology_text, hedging,
    metadata_fields, persona, reading_policy, suggestion_policy, burst_window_ms, widget, created_at, updated_at, (SELECT plan FROM tenants WHERE tenants.id = chatbots.tenant_id) AS plan"""
# An empty knowledge base is known beforehand, so that no question is embedded for nothing. Under the tenants' role only:
# the operators' has no right to read chunks.
_OWN_COLUMNS = f"""{_CHATBOT_COLUMNS}, knowledge_enabled AND EXISTS (SELECT FROM chunks
    WHERE chunks.tenant_id = chatbots.tenant_id AND chunks.knowledge_base_id = chatbots.knowledge_base_id)
    AS has_knowledge, coalesce((SELECT version FROM knowledge_bases WHERE knowledge_bases.tenant_id = chatbots.tenant_id
    AND knowledge_bases.id = chatbots.knowledge_base_id AND deleted_at IS NULL), 0) AS knowledge_version"""

INSERT_TENANT = f"""
INSERT INTO tenants (id, name, plan, time_zone, weight) VALUES ($1, $2, $3, $4, $5)
RETURNING {_TENANT_COLUMNS}
"""

GET_TENANT = f"SELECT {_TENANT_COLUMNS} FROM tenants WHERE id = $1"

LIST_TENANTS = f"""
SELECT {_TENANT_COLUMNS} FROM tenants WHERE ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2
"""

UPDATE_TENANT = f"""
UPDATE tenants SET name = coalesce($2, name), plan = coalesce($3, plan), time_zone = coalesce($4, time_zone),
       weight = coalesce($5, weight)
 WHERE id = $1
RETURNING {_TENANT_COLUMNS}
"""

DISABLE_TENANT = """
UPDATE tenants SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE id = $1 RETURNING id
"""

INSERT_KNOWLEDGE_BASE = """
INSERT INTO knowledge_bases (id, tenant_id, name, embedder, dimension) VALUES ($1, $2, $3, $4, $5)
"""

KNOWLEDGE_BASE_EXISTS = "SELECT 1 FROM knowledge_bases WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL"

_INSERTED = ("id", "tenant_id", *NewChatbot.__slots__)
INSERT_CHATBOT = f"""
INSERT INTO chatbots ({", ".join(_INSERTED)})
VALUES ({", ".join(f"${place}" for place in range(1, len(_INSERTED) + 1))}) /* tenant_id = $2 */
RETURNING {_OWN_COLUMNS}
"""

GET_CHATBOT_BY_ID = f"SELECT {_OWN_COLUMNS} FROM chatbots WHERE tenant_id = $1 AND id = $2"
GET_CHATBOT_BY_SLUG = f"SELECT {_OWN_COLUMNS} FROM chatbots WHERE tenant_id = $1 AND slug = $2"

LIST_CHATBOTS = f"""
SELECT {_OWN_COLUMNS} FROM chatbots
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3
"""

COUNT_CHATBOTS = "SELECT count(*) FROM chatbots WHERE tenant_id = $1"

# Names only ever come from _PATCHABLE; values are parameters from $3 on.
PATCH_CHATBOT = """
UPDATE chatbots SET {assignments}, revision = revision + 1, updated_at = now()
 WHERE tenant_id = $1 AND id = $2
RETURNING {columns}
"""

DELETE_CHATBOT = "DELETE FROM chatbots WHERE tenant_id = $1 AND id = $2 RETURNING id"

# Operators' role: a widget id or a demo page's slug names a chatbot before any tenant is known.
FIND_WIDGET = f"""
SELECT {_CHATBOT_COLUMNS} FROM chatbots
 WHERE widget_id = $1
   AND EXISTS (SELECT FROM tenants WHERE tenants.id = chatbots.tenant_id AND tenants.disabled_at IS NULL)
"""

FIND_BY_SLUG = f"""
SELECT {_CHATBOT_COLUMNS} FROM chatbots
 WHERE slug = $1 AND ($2::uuid IS NULL OR tenant_id = $2)
   AND EXISTS (SELECT FROM tenants WHERE tenants.id = chatbots.tenant_id AND tenants.disabled_at IS NULL)
 ORDER BY created_at, id LIMIT 1
"""

IS_SERVED = """
SELECT EXISTS (SELECT FROM chatbots JOIN tenants ON tenants.id = chatbots.tenant_id
                WHERE chatbots.tenant_id = $1 AND chatbots.id = $2 AND tenants.disabled_at IS NULL) AS served
"""

# Operators' role: what a tenant's messages may meet, before any of its chatbots is known.
GET_RATING = """
SELECT plan, EXISTS (SELECT FROM chatbots WHERE chatbots.tenant_id = tenants.id AND limits <> '{}')
             OR EXISTS (SELECT FROM api_keys WHERE api_keys.tenant_id = tenants.id AND limits <> '{}'
                           AND (revoked_at IS NULL OR revoked_at > now())) AS has_limits
  FROM tenants WHERE id = $1
"""

ORIGIN_KNOWN = "SELECT EXISTS (SELECT FROM chatbots WHERE $1 = ANY (allowed_origins)) AS known"

_PATCHABLE = frozenset(NewChatbot.__slots__) - {"widget_id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One customer of the platform. Times are RFC 3339 in UTC; `disabled_at` is None while the tenant may work."""

    id: TenantId
    name: str
    plan: str
    time_zone: str
    weight: float
    disabled_at: str | None
    created_at: str


async def create_tenant(
    db: Connection, *, name: str, plan: str, time_zone: str, weight: float, tenant_id: TenantId | None = None
) -> Tenant:
    """Insert a tenant (operators' role). Raises Conflict if `tenant_id` was given and is taken."""
    try:
        row = await db.fetchrow(INSERT_TENANT, tenant_id or new_id(), name, plan, time_zone, weight)
    except asyncpg.UniqueViolationError as error:
        raise Conflict("this tenant exists already") from error
    assert row is not None
    return _tenant(row)


async def get_tenant(db: Connection, tenant_id: str) -> Tenant | None:
    """One tenant under either role; the tenants' role sees its own only."""
    row = await db.fetchrow(GET_TENANT, tenant_id) if is_id(tenant_id) else None
    return None if row is None else _tenant(row)


async def list_tenants(db: Connection, *, after: str | None, limit: int) -> list[Tenant]:
    """Tenants in order of id, those behind `after` (operators' role)."""
    return [_tenant(row) for row in await db.fetch(LIST_TENANTS, after, limit)]


async def update_tenant(
    db: Connection,
    tenant_id: str,
    *,
    name: str | None = None,
    plan: str | None = None,
    time_zone: str | None = None,
    weight: float | None = None,
) -> Tenant | None:
    """Change the given fields (operators' role); None if there is no such tenant."""
    row = await db.fetchrow(UPDATE_TENANT, tenant_id, name, plan, time_zone, weight) if is_id(tenant_id) else None
    return None if row is None else _tenant(row)


async def disable_tenant(db: Connection, tenant_id: str, *, disabled: bool = True) -> bool:
    """Shut a tenant out, or let it back in (operators' role). Its keys stop working; nothing is deleted."""
    return is_id(tenant_id) and await db.fetchval(DISABLE_TENANT, tenant_id, disabled) is not None


async def create_chatbot(
    db: Connection, scope: Scope, new: NewChatbot, *, embedder: str = EMBEDDER, dimension: int = EMBEDDER_DIMENSION
) -> Chatbot:
    """Insert a chatbot, and a knowledge base for it unless one is named; the new base is pinned to `embedder`.

    Raises Conflict if the slug is taken, Unprocessable for a malformed slug or origin or an unknown knowledge base.
    """
    knowledge_base_id = new.knowledge_base_id
    if knowledge_base_id is None:
        knowledge_base_id = new_id()
        await db.execute(INSERT_KNOWLEDGE_BASE, knowledge_base_id, scope.tenant_id, new.name, embedder, dimension)
    else:
        await _check_knowledge_base(db, scope, knowledge_base_id)
    try:
        values = {name: getattr(new, name) for name in NewChatbot.__slots__} | {"knowledge_base_id": knowledge_base_id}
        columns = [_column_value(name, value) for name, value in values.items()]
        row = await db.fetchrow(INSERT_CHATBOT, new_id(), scope.tenant_id, *columns)
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"this tenant already has a chatbot with slug {new.slug!r}", param="slug") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound("no such tenant") from error
    assert row is not None
    return _chatbot(row)


async def count_chatbots(db: Connection, scope: Scope) -> int:
    return int(await db.fetchval(COUNT_CHATBOTS, scope.tenant_id))


async def get_chatbot(db: Connection, scope: Scope, id_or_slug: str) -> Chatbot | None:
    """One chatbot of the scope's tenant. A scope bound to another chatbot sees none."""
    if is_id(id_or_slug):
        row = await db.fetchrow(GET_CHATBOT_BY_ID, scope.tenant_id, id_or_slug)
    elif is_slug(id_or_slug):
        row = await db.fetchrow(GET_CHATBOT_BY_SLUG, scope.tenant_id, id_or_slug)
    else:
        row = None
    if row is None or (scope.chatbot_id is not None and row["id"] != scope.chatbot_id):
        return None
    return _chatbot(row)


async def list_chatbots(db: Connection, scope: Scope, *, after: str | None, limit: int) -> list[Chatbot]:
    """Chatbots of the tenant in order of id, those behind `after`."""
    return [_chatbot(row) for row in await db.fetch(LIST_CHATBOTS, scope.tenant_id, after, limit)]


async def patch_chatbot(db: Connection, scope: Scope, id_or_slug: str, changes: ChatbotChanges) -> Chatbot | None:
    """Set the given fields and raise the revision; None if there is no such chatbot.

    No changes at all leave the revision as it is. Raises Conflict if a new slug is taken, Unprocessable for a
    malformed value, ValueError for a field that cannot be changed.
    """
    unknown = set(changes) - _PATCHABLE
    if unknown:
        raise ValueError(f"not fields of a chatbot that can be changed: {sorted(unknown)}")
    chatbot = await get_chatbot(db, scope, id_or_slug)
    if chatbot is None or not changes:
        return chatbot
    if changes.get("knowledge_base_id") is not None:
        await _check_knowledge_base(db, scope, changes["knowledge_base_id"])
    values = {name: _column_value(name, value) for name, value in changes.items()}
    assignments = ", ".join(f"{name} = ${place}" for place, name in enumerate(values, start=3))
    query = PATCH_CHATBOT.format(assignments=assignments, columns=_OWN_COLUMNS)
    try:
        row = await db.fetchrow(query, scope.tenant_id, chatbot.id, *values.values())
    except asyncpg.UniqueViolationError as error:
        raise Conflict("this tenant already has a chatbot with that slug", param="slug") from error
    return None if row is None else _chatbot(row)


async def delete_chatbot(db: Connection, scope: Scope, chatbot_id: str) -> bool:
    """Delete a chatbot with its conversations; its knowledge base stays, another chatbot may use it."""
    return is_id(chatbot_id) and await db.fetchval(DELETE_CHATBOT, scope.tenant_id, chatbot_id) is not None


async def find_widget(db: Connection, widget_id: str) -> Chatbot | None:
    """The chatbot behind a publishable widget id (operators' role)."""
    row = await db.fetchrow(FIND_WIDGET, widget_id)
    return None if row is None else _chatbot(row)


async def find_by_slug(db: Connection, slug: str, *, tenant_id: str | None = None) -> Chatbot | None:
    """The oldest chatbot of that slug, of any tenant or of one (operators' role); for demo pages only."""
    row = await db.fetchrow(FIND_BY_SLUG, slug, tenant_id) if is_slug(slug) else None
    return None if row is None else _chatbot(row)


async def is_served(db: Connection, scope: Scope) -> bool:
    """Whether the scope's chatbot exists and its tenant is not shut out (operators' role)."""
    return bool(await db.fetchval(IS_SERVED, scope.tenant_id, scope.chatbot_id))


async def get_rating(db: Connection, tenant_id: TenantId) -> tuple[str, bool] | None:
    """A tenant's plan, and whether any chatbot or key of it has rate limits of its own (operators' role)."""
    row = await db.fetchrow(GET_RATING, tenant_id)
    return None if row is None else (row["plan"], row["has_limits"])


async def origin_known(db: Connection, origin: str) -> bool:
    """Whether any chatbot at all allows this origin (operators' role); answers CORS preflights, which name nobody."""
    return bool(await db.fetchval(ORIGIN_KNOWN, origin))


async def _check_knowledge_base(db: Connection, scope: Scope, knowledge_base_id: str) -> None:
    known = is_id(knowledge_base_id) and await db.fetchval(KNOWLEDGE_BASE_EXISTS, scope.tenant_id, knowledge_base_id)
    if not known:
        raise Unprocessable("no such knowledge base", param="knowledge_base_id")


def _column_value(name: str, value: Any) -> Any:
    if name == "slug":
        return check_slug(value)
    if name == "providers":
        return _links(value)
    if name == "allowed_origins":
        return _origins(value)
    if name == "limits":
        return _limits(value)
    return list(value) if isinstance(value, tuple) else value


def _limits(limits: Mapping[str, Any]) -> Mapping[str, Any]:
    return check_limits(limits, names=(*LIMIT_NAMES, *VISITOR_LIMIT_NAMES))


def _origins(origins: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(normalize_origin(origin) for origin in origins))


def _links(links: Sequence[ProviderLink]) -> list[dict[str, Any]]:
    return [asdict(link) for link in links]


def _tenant(row: Mapping[str, Any]) -> Tenant:
    return Tenant(
        id=TenantId(row["id"]),
        name=row["name"],
        plan=row["plan"],
        time_zone=row["time_zone"],
        weight=row["weight"],
        disabled_at=None if row["disabled_at"] is None else rfc3339(row["disabled_at"]),
        created_at=rfc3339(row["created_at"]),
    )


def _chatbot(row: Mapping[str, Any]) -> Chatbot:
    knowledge_base_id = row["knowledge_base_id"]
    return Chatbot(
        id=ChatbotId(row["id"]),
        tenant_id=TenantId(row["tenant_id"]),
        slug=row["slug"],
        name=row["name"],
        widget_id=row["widget_id"],
        revision=row["revision"],
        plan=row["plan"],
        providers=tuple(ProviderLink(**link) for link in row["providers"]),
        system_prompt=row["system_prompt"],
        personality=row["personality"],
        temperature=row["temperature"],
        max_tokens=row["max_tokens"],
        knowledge_base_id=None if knowledge_base_id is None else KnowledgeBaseId(knowledge_base_id),
        knowledge_enabled=row["knowledge_enabled"],
        has_knowledge=row["has_knowledge"] if "has_knowledge" in row else row["knowledge_enabled"],
        knowledge_version=row.get("knowledge_version", 0),
        languages=tuple(row["languages"]),
        cache_policy=row["cache_policy"],
        guard_policy=row["guard_policy"],
        animation_set=row["animation_set"],
        allowed_origins=tuple(row["allowed_origins"]),
        limits=row["limits"],
        greeting=row["greeting"],
        suggested_questions=tuple(row["suggested_questions"]),
        no_answer_text=row["no_answer_text"],
        answer_policy=row["answer_policy"],
        relevance_threshold=row["relevance_threshold"],
        apology_text=row["apology_text"],
        hedging=row["hedging"],
        metadata_fields=tuple(row["metadata_fields"]),
        persona=row["persona"],
        reading_policy=row["reading_policy"],
        suggestion_policy=row["suggestion_policy"],
        burst_window_ms=row["burst_window_ms"],
        widget=row["widget"],
        created_at=rfc3339(row["created_at"]),
        updated_at=rfc3339(row["updated_at"]),
    )
