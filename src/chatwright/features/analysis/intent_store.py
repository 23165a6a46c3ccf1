"""SQL over custom intents: a chatbot's examples, and the model that a worker made of them.

Called by `pipeline/intents.py` and `pipeline/intent_training.py`. Functions never commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import ChatbotId, TenantId
from chatwright.domain.scope import Scope

LIST_INTENTS = """
SELECT name, examples FROM custom_intents WHERE tenant_id = $1 AND chatbot_id = $2 ORDER BY name
"""

PUT_INTENT = """
INSERT INTO custom_intents (tenant_id, chatbot_id, name, examples) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, chatbot_id, name) DO UPDATE SET examples = excluded.examples, updated_at = now()
"""

REMOVE_INTENT = """
DELETE FROM custom_intents WHERE tenant_id = $1 AND chatbot_id = $2 AND name = $3
"""

REMOVE_OTHERS = """
DELETE FROM custom_intents WHERE tenant_id = $1 AND chatbot_id = $2 AND name <> ALL($3::text[])
"""

# The row is locked until the transaction ends: changes of one chatbot's intents come one after another.
RAISE_VERSION = """
INSERT INTO intent_models (tenant_id, chatbot_id, version) VALUES ($1, $2, 1)
ON CONFLICT (tenant_id, chatbot_id) DO UPDATE SET version = intent_models.version + 1
"""

READ_MODEL = """
SELECT model, version, trained_version, figures, trained_at FROM intent_models WHERE tenant_id = $1 AND chatbot_id = $2
"""

READ_STATE = """
SELECT NULL::bytea AS model, version, trained_version, figures, trained_at FROM intent_models
 WHERE tenant_id = $1 AND chatbot_id = $2
"""

# Operators' role: whose turn is it?
LIST_DUE = """
SELECT tenant_id, chatbot_id FROM intent_models WHERE version > trained_version AND lease_until < now() LIMIT $1
"""

TAKE = """
UPDATE intent_models SET lease_until = now() + make_interval(secs => $3)
 WHERE tenant_id = $1 AND chatbot_id = $2 AND version > trained_version AND lease_until < now() RETURNING version
"""

KEEP_MODEL = """
UPDATE intent_models SET model = $3, trained_version = $4, figures = $5, trained_at = now(), lease_until = '-infinity'
 WHERE tenant_id = $1 AND chatbot_id = $2 AND trained_version < $4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomIntent:
    """An intent of a chatbot's own, with what visitors say who have it."""

    name: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A chatbot's model as it is kept. `model` None: there is none (or it was not asked for)."""

    model: bytes | None = None
    version: int = 0
    trained_version: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])
    trained_at: datetime | None = None


async def list_intents(db: Connection, scope: Scope) -> list[CustomIntent]:
    """All of a chatbot's intents, by name."""
    rows = await db.fetch(LIST_INTENTS, scope.tenant_id, scope.chatbot_id)
    return [CustomIntent(name=row["name"], examples=tuple(row["examples"])) for row in rows]


async def raise_version(db: Connection, scope: Scope) -> None:
    """The first step of every change: the model is due to be trained anew."""
    await db.execute(RAISE_VERSION, scope.tenant_id, scope.chatbot_id)


async def put_intents(db: Connection, scope: Scope, intents: Sequence[CustomIntent]) -> None:
    """Add these, or give them other examples."""
    for intent in intents:
        await db.execute(PUT_INTENT, scope.tenant_id, scope.chatbot_id, intent.name, list(intent.examples))


async def remove_intent(db: Connection, scope: Scope, name: str) -> bool:
    """Returns False if there is none of that name."""
    return await db.execute(REMOVE_INTENT, scope.tenant_id, scope.chatbot_id, name) != "DELETE 0"


async def remove_others(db: Connection, scope: Scope, names: Sequence[str]) -> None:
    """Remove every intent whose name is not among these."""
    await db.execute(REMOVE_OTHERS, scope.tenant_id, scope.chatbot_id, list(names))


async def read_model(db: Connection, scope: Scope, *, whole: bool = True) -> StoredModel:
    """A chatbot's model; without its bytes unless `whole`."""
    row = await db.fetchrow(READ_MODEL if whole else READ_STATE, scope.tenant_id, scope.chatbot_id)
    if row is None:
        return StoredModel()
    return StoredModel(
        model=row["model"],
        version=row["version"],
        trained_version=row["trained_version"],
        figures=row["figures"],
        trained_at=row["trained_at"],
    )


async def list_due(db: Connection, *, limit: int) -> list[Scope]:
    """Chatbots whose model should be trained. Operators' role."""
    rows = await db.fetch(LIST_DUE, limit)
    return [Scope(tenant_id=TenantId(row["tenant_id"]), chatbot_id=ChatbotId(row["chatbot_id"])) for row in rows]


async def take(db: Connection, scope: Scope, *, lease_s: float) -> int | None:
    """Take a chatbot's training for a while. Returns the version to train, None if somebody else has it."""
    return await db.fetchval(TAKE, scope.tenant_id, scope.chatbot_id, lease_s)


async def keep_model(
    db: Connection, scope: Scope, model: bytes | None, *, version: int, figures: Mapping[str, Any]
) -> None:
    """Keep a model of the examples as of `version` (None: there are none) and end the lease. An older one changes nothing."""
    await db.execute(KEEP_MODEL, scope.tenant_id, scope.chatbot_id, model, version, dict(figures))
