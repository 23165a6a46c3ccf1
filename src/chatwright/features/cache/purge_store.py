"""SQL for purges of the semantic tier: every answer of a chatbot with where it came from, and the end of some of them.

Called by `pipeline/cache_admin.py`, under `store.lock`. Functions never commit. Answers are compared in memory, because
what a poisoned one shares with its kin stands inside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.adapters.postgres import Connection
from chatwright.domain.scope import Scope
from chatwright.features.cache.entry import CachedAnswer, decode_entry

KEPT_ANSWERS = """
SELECT class_id, scope_digest, content FROM cache_answers WHERE tenant_id = $1 AND chatbot_id = $2
 ORDER BY class_id, scope_digest
"""

DROP_ANSWERS = """
DELETE FROM cache_answers a USING unnest($3::uuid[], $4::bytea[]) AS gone (class_id, scope_digest)
 WHERE a.tenant_id = $1 AND a.chatbot_id = $2 AND a.class_id = gone.class_id AND a.scope_digest = gone.scope_digest
"""

DROP_CLASSES = "DELETE FROM cache_classes WHERE tenant_id = $1 AND chatbot_id = $2 AND id = ANY($3::uuid[])"

COUNT_CLASSES = "SELECT count(*) FROM cache_classes WHERE tenant_id = $1 AND chatbot_id = $2 AND id = ANY($3::uuid[])"

EVERY_CLASS = "SELECT id FROM cache_classes WHERE tenant_id = $1 AND chatbot_id = $2"

# $3 part of a phrasing, in any case, whatever the spaces; without runs of them itself.
CLASSES_ASKED = """
SELECT DISTINCT class_id FROM cache_phrasings
 WHERE tenant_id = $1 AND chatbot_id = $2 AND verdict = 'verified'
   AND strpos(lower(regexp_replace(text, '\\s+', ' ', 'g')), lower($3)) > 0
"""

PHRASED = """
SELECT digest FROM cache_phrasings
 WHERE tenant_id = $1 AND chatbot_id = $2 AND class_id = ANY($3::uuid[]) AND verdict = 'verified'
"""

SAID = "SELECT text FROM answers WHERE tenant_id = $1 AND chatbot_id = $2 AND id = $3"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An answer of a class under one scope; `entry` None: another release wrote it, and nobody can tell what it says."""

    class_id: str
    scope_digest: bytes
    entry: CachedAnswer | None


async def list_answers(db: Connection, scope: Scope) -> list[KeptAnswer]:
    """All answers of a chatbot: a few thousand at most."""
    return [
        KeptAnswer(class_id=row["class_id"], scope_digest=row["scope_digest"], entry=decode_entry(row["content"]))
        for row in await db.fetch(KEPT_ANSWERS, scope.tenant_id, scope.chatbot_id)
    ]


async def drop_answers(db: Connection, scope: Scope, gone: Sequence[KeptAnswer]) -> None:
    """Remove answers; the classes stay, and the next question of one is answered anew."""
    await db.execute(
        DROP_ANSWERS,
        scope.tenant_id,
        scope.chatbot_id,
        [one.class_id for one in gone],
        [one.scope_digest for one in gone],
    )


async def drop_classes(db: Connection, scope: Scope, class_ids: Sequence[str]) -> int:
    """Remove classes with all that was learned of them. Returns how many there were."""
    count = await db.fetchval(COUNT_CLASSES, scope.tenant_id, scope.chatbot_id, list(class_ids))
    await db.execute(DROP_CLASSES, scope.tenant_id, scope.chatbot_id, list(class_ids))
    return int(count)


async def every_class(db: Connection, scope: Scope) -> list[str]:
    return [row["id"] for row in await db.fetch(EVERY_CLASS, scope.tenant_id, scope.chatbot_id)]


async def classes_asked(db: Connection, scope: Scope, text: str) -> set[str]:
    """Classes with a verified phrasing that holds `text`, in any case. `text` has no runs of spaces."""
    return {row["class_id"] for row in await db.fetch(CLASSES_ASKED, scope.tenant_id, scope.chatbot_id, text)}


async def phrased(db: Connection, scope: Scope, class_ids: Sequence[str]) -> set[bytes]:
    """Digests of the verified phrasings of some classes."""
    rows = await db.fetch(PHRASED, scope.tenant_id, scope.chatbot_id, list(class_ids))
    return {row["digest"] for row in rows}


async def said(db: Connection, scope: Scope, answer_id: str) -> str | None:
    """The text of an answer in a conversation: a cached one has an id of its own there."""
    return await db.fetchval(SAID, scope.tenant_id, scope.chatbot_id, answer_id)
