"""SQL over the answers of classes: one for each class and scope, served until it expires, kept until it is replaced.

Called by `pipeline/semantic.py` (`read_answer`), `cache_learning.py` and `cache_seeds.py`. Functions never commit.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.adapters.postgres import Connection, Database
from chatwright.domain.ids import is_id
from chatwright.domain.scope import Scope
from chatwright.features.cache.agreement import answer_digest
from chatwright.features.cache.entry import CachedAnswer, decode_entry, encode_entry
from chatwright.features.cache.store import Vector

SCOPES_PER_CLASS = 4
"""Answers kept of one class: its newest scopes."""

PUT_ANSWER = """
INSERT INTO cache_answers (tenant_id, chatbot_id, class_id, scope_digest, content, text_digest, vector, answer_id, document_ids,
                           expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7::real[]::halfvec, $8, $9, now() + make_interval(secs => $10))
ON CONFLICT (tenant_id, class_id, scope_digest) DO UPDATE
   SET content = excluded.content, text_digest = excluded.text_digest, vector = excluded.vector,
       answer_id = excluded.answer_id, document_ids = excluded.document_ids, created_at = now(), agreed = 0,
       expires_at = excluded.expires_at
"""

FIND_EQUAL = """
SELECT scope_digest, text_digest FROM cache_answers
 WHERE tenant_id = $1 AND chatbot_id = $2 AND text_digest = ANY($3::bytea[])
"""

CONFIRM_ANSWER = """
UPDATE cache_answers SET agreed = agreed + 1, expires_at = greatest(expires_at, now() + make_interval(secs => $4))
 WHERE tenant_id = $1 AND class_id = $2 AND scope_digest = $3
"""

TRIM_ANSWERS = """
DELETE FROM cache_answers WHERE tenant_id = $1 AND class_id = $2 AND scope_digest IN
    (SELECT scope_digest FROM cache_answers WHERE tenant_id = $1 AND class_id = $2 ORDER BY created_at DESC OFFSET $3)
"""

DROP_ANSWER = "DELETE FROM cache_answers WHERE tenant_id = $1 AND class_id = $2 AND scope_digest = $3"

READ_ANSWER = "SELECT * FROM cached_answer($1, $2, $3, $4)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyAnswer:
    """A class's answer that may be served. `agreed`: checks of this answer; `class_…`: of its class, under any answer."""

    class_id: str
    entry: CachedAnswer
    agreed: int
    class_agreed: int
    class_disagreed: int
    lasts_s: float


async def read_answer(db: Database, scope: Scope, label: int, scope_digest: bytes) -> ReadyAnswer | None:
    """A class's answer under a scope, unless it has expired. One round trip. Raises Unavailable."""
    row = await db.call(scope, READ_ANSWER, scope.chatbot_id, label, scope_digest)
    entry = None if row is None else decode_entry(row["content"])
    if row is None or entry is None:
        return None
    return ReadyAnswer(
        class_id=row["class_id"],
        entry=entry,
        agreed=row["agreed"],
        class_agreed=row["class_agreed"],
        class_disagreed=row["class_disagreed"],
        lasts_s=row["lasts_s"],
    )


async def count_equal(db: Connection, scope: Scope, answers: Sequence[tuple[bytes, str]]) -> list[int]:
    """For each (scope digest, text): how many classes have that very answer under that scope."""
    asked = [(scope_digest, answer_digest(text)) for scope_digest, text in answers]
    digests = list({text_digest for _, text_digest in asked})
    rows = await db.fetch(FIND_EQUAL, scope.tenant_id, scope.chatbot_id, digests)
    found = Counter((row["scope_digest"], row["text_digest"]) for row in rows)
    return [found[one] for one in asked]


async def put_answer(
    db: Connection,
    scope: Scope,
    class_id: str,
    scope_digest: bytes,
    entry: CachedAnswer,
    *,
    lifetime_s: float,
    vector: Vector | None = None,
) -> None:
    """Give a class its answer under a scope; older scopes' answers go when there are too many."""
    await db.execute(
        PUT_ANSWER,
        scope.tenant_id,
        scope.chatbot_id,
        class_id,
        scope_digest,
        encode_entry(entry),
        answer_digest(entry.text),
        None if vector is None else vector.tolist(),
        entry.answer_id if is_id(entry.answer_id) else None,
        [document for document in entry.document_ids if is_id(document)],
        lifetime_s,
    )
    await db.execute(TRIM_ANSWERS, scope.tenant_id, class_id, SCOPES_PER_CLASS)


async def confirm_answer(
    db: Connection, scope: Scope, class_id: str, scope_digest: bytes, *, lifetime_s: float
) -> None:
    """Note that a provider said the same again: the answer lasts on."""
    await db.execute(CONFIRM_ANSWER, scope.tenant_id, class_id, scope_digest, lifetime_s)


async def drop_answer(db: Connection, scope: Scope, class_id: str, scope_digest: bytes) -> None:
    await db.execute(DROP_ANSWER, scope.tenant_id, class_id, scope_digest)
