"""SQL over what the semantic tier has learned: classes of questions and their phrasings. Functions never commit; those that
write are called under `lock`, so that one chatbot learns one thing at a time.

Called by `pipeline/cache_learning.py` and `cache_seeds.py`. `answer_store.py` holds the answers of the classes,
`router_store.py` routers and checks, `listing_store.py` what the console shows and purges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.features.cache.agreement import answer_digest
from chatwright.features.cache.entry import CachedAnswer, decode_entry
from chatwright.features.cache.key import digest

Vector = NDArray[np.float32]
Origin = Literal["miss", "check", "seed", "feedback", "operator"]

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 15))"

# $3 the question's vector, $4 the answers' scope, $5 labels that the router named, $6 how many classes near by, $7 a text
# digest: classes that have this very answer are candidates too; $8 the second since which phrasings are looked through: the
# router knows the older ones.
CANDIDATES = """
WITH wanted AS (
    (SELECT class_id FROM cache_phrasings
      WHERE tenant_id = $1 AND chatbot_id = $2 AND verdict = 'verified' AND created_at >= to_timestamp($8::float8)
      GROUP BY class_id ORDER BY min(vector <#> $3::real[]::halfvec) LIMIT $6)
    UNION
    SELECT id FROM cache_classes WHERE tenant_id = $1 AND chatbot_id = $2 AND label = ANY($5::integer[])
    UNION
    (SELECT class_id FROM cache_answers WHERE tenant_id = $1 AND chatbot_id = $2 AND scope_digest = $4
        AND text_digest = $7 LIMIT $6))
SELECT c.id, c.label, near.cosine, near.phrasings, coalesce(a.agreed, 0) AS agreed, a.content, a.text_digest,
       halfvec_send(a.vector) AS vector, a.expires_at > now() AS fresh
  FROM wanted JOIN cache_classes c ON c.tenant_id = $1 AND c.id = wanted.class_id
 CROSS JOIN LATERAL (SELECT max(-(p.vector <#> $3::real[]::halfvec)) AS cosine, count(*) AS phrasings
                       FROM cache_phrasings p
                      WHERE p.tenant_id = $1 AND p.class_id = c.id AND p.verdict = 'verified') AS near
  LEFT JOIN cache_answers a ON a.tenant_id = $1 AND a.class_id = c.id AND a.scope_digest = $4
 WHERE near.phrasings > 0
 ORDER BY near.cosine DESC, c.label
"""

# All that a lesson has to look at under the lock. $3 class ids: those that are still there; $4 scope, $5 a text digest:
# classes that have this very answer by now; $6 the question's digest: where it stands; $7 when it was asked.
LOOK = """
SELECT 'alive' AS what, c.id, c.label, NULL AS origin FROM cache_classes c
 WHERE c.tenant_id = $1 AND c.chatbot_id = $2 AND c.id = ANY($3::uuid[])
UNION ALL
(SELECT 'twin', c.id, c.label, NULL FROM cache_answers a JOIN cache_classes c ON c.tenant_id = $1 AND c.id = a.class_id
  WHERE a.tenant_id = $1 AND a.chatbot_id = $2 AND a.scope_digest = $4 AND a.text_digest = $5 ORDER BY c.label LIMIT 4)
UNION ALL
SELECT 'settled', p.class_id, c.label, p.origin FROM cache_phrasings p
  LEFT JOIN cache_classes c ON c.tenant_id = $1 AND c.id = p.class_id
 WHERE p.tenant_id = $1 AND p.chatbot_id = $2 AND p.digest = $6 AND p.verdict <> 'rejected'
UNION ALL
SELECT 'purged', NULL, NULL, NULL FROM cache_routers
 WHERE tenant_id = $1 AND chatbot_id = $2 AND purged_at > to_timestamp($7::float8)
"""

SETTLED = """
SELECT class_id, origin FROM cache_phrasings
 WHERE tenant_id = $1 AND chatbot_id = $2 AND digest = $3 AND verdict <> 'rejected'
"""

COUNT_LABELS = """
INSERT INTO cache_routers (tenant_id, chatbot_id, labels) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, chatbot_id) DO UPDATE SET labels = cache_routers.labels + excluded.labels
"""

FIND_CLASS = "SELECT id FROM cache_classes WHERE tenant_id = $1 AND chatbot_id = $2 AND label = $3"

NEXT_LABEL = """
INSERT INTO cache_routers (tenant_id, chatbot_id, next_label) VALUES ($1, $2, 1)
ON CONFLICT (tenant_id, chatbot_id) DO UPDATE SET next_label = cache_routers.next_label + 1
RETURNING next_label - 1
"""

INSERT_CLASS = "INSERT INTO cache_classes (id, tenant_id, chatbot_id, label) VALUES ($1, $2, $3, $4)"

# A question that was settled before moves to where it belongs by what is known now.
SETTLE = """
WITH unrejected AS (
    DELETE FROM cache_phrasings WHERE tenant_id = $2 AND class_id = $4 AND digest = $8 AND verdict = 'rejected'),
counted AS (
    INSERT INTO cache_routers (tenant_id, chatbot_id, labels) VALUES ($2, $3, 1)
    ON CONFLICT (tenant_id, chatbot_id) DO UPDATE SET labels = cache_routers.labels + 1)
INSERT INTO cache_phrasings (id, tenant_id, chatbot_id, class_id, verdict, origin, text, digest, vector, share)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::real[]::halfvec, $10)
ON CONFLICT (tenant_id, chatbot_id, digest) WHERE verdict <> 'rejected'
DO UPDATE SET class_id = excluded.class_id, verdict = excluded.verdict, origin = excluded.origin, share = excluded.share
 WHERE cache_phrasings.class_id IS DISTINCT FROM excluded.class_id
"""

REJECT = """
WITH counted AS (
    INSERT INTO cache_routers (tenant_id, chatbot_id, labels) VALUES ($2, $3, 1)
    ON CONFLICT (tenant_id, chatbot_id) DO UPDATE SET labels = cache_routers.labels + 1)
INSERT INTO cache_phrasings (id, tenant_id, chatbot_id, class_id, verdict, origin, text, digest, vector, share)
VALUES ($1, $2, $3, $4, 'rejected', $5, $6, $7, $8::real[]::halfvec, $9)
ON CONFLICT (tenant_id, class_id, digest) WHERE verdict = 'rejected' DO NOTHING
"""

UNSETTLE = """
DELETE FROM cache_phrasings WHERE tenant_id = $1 AND class_id = $2 AND digest = $3 AND verdict = 'verified'
"""

NOTE_CHECKED = """
UPDATE cache_classes SET agreed = agreed + $3, disagreed = disagreed + $4 WHERE tenant_id = $1 AND id = $2
"""

# Of two classes that turned out to be one, everything goes to the first; what both have stays the first one's.
MERGE_PHRASINGS = """
UPDATE cache_phrasings p SET class_id = $2
 WHERE p.tenant_id = $1 AND p.class_id = $3
   AND NOT EXISTS (SELECT FROM cache_phrasings q WHERE q.tenant_id = $1 AND q.class_id = $2 AND q.digest = p.digest
                      AND q.verdict = p.verdict)
"""

FORGET_WRONGED = """
DELETE FROM cache_phrasings r WHERE r.tenant_id = $1 AND r.class_id = $2 AND r.verdict = 'rejected'
   AND EXISTS (SELECT FROM cache_phrasings v WHERE v.tenant_id = $1 AND v.class_id = $2 AND v.digest = r.digest
                  AND v.verdict = 'verified')
"""

DROP_CLASS = "DELETE FROM cache_classes WHERE tenant_id = $1 AND id = $2"

DROP_IF_EMPTY = """
DELETE FROM cache_classes c WHERE c.tenant_id = $1 AND c.id = $2
   AND NOT EXISTS (SELECT FROM cache_phrasings p WHERE p.tenant_id = $1 AND p.class_id = c.id AND p.verdict = 'verified')
RETURNING c.id
"""

USE_CLASSES = """
UPDATE cache_classes c SET hits = c.hits + used.count, used_at = now()
  FROM unnest($3::integer[], $4::bigint[]) AS used (label, count)
 WHERE c.tenant_id = $1 AND c.chatbot_id = $2 AND c.label = used.label
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question as it is learned: its text, the digest of its normalised form, its vector."""

    text: str
    digest: bytes
    vector: Vector

    @classmethod
    def of(cls, text: str, normalised: str, vector: Vector) -> "Question":
        return cls(text=text, digest=phrasing_digest(normalised), vector=vector)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A class that a question may belong to. `entry`: its answer under the scope asked for, None where it has none or one
    that cannot be read; `fresh`: it has not expired. `cosine`: of the question and its nearest phrasing."""

    class_id: str
    label: int
    cosine: float
    phrasings: int
    entry: CachedAnswer | None
    text_digest: bytes | None
    answer_vector: Vector | None
    fresh: bool
    agreed: int
    """Checks that its answer stood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Where a question stands already; `class_id` None: it belongs to no class."""

    class_id: str | None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stand once the lock is had. `alive`: those of the classes asked for that are still there; `twins`: those
    that have the very answer by now (both id -> label). `class_id`, `label`: where the question is settled (None: in no
    class). `purged`: something was purged since the question was asked."""

    alive: dict[str, int]
    twins: dict[str, int]
    is_settled: bool
    class_id: str | None
    label: int | None
    purged: bool


def phrasing_digest(normalised: str) -> bytes:
    return digest((normalised,))


def decode_vector(raw: bytes) -> Vector:
    """A `halfvec` in its binary form: dimension, an unused number, then the values, all big-endian."""
    return np.frombuffer(raw, dtype=">f2", offset=4).astype(np.float32)


async def lock(db: Connection, scope: Scope) -> None:
    """Wait until nobody else learns for this chatbot, until the transaction ends."""
    await db.execute(LOCK, f"cache-{scope.chatbot_id}")


async def find_candidates(
    db: Connection,
    scope: Scope,
    question: Question,
    *,
    scope_digest: bytes,
    labels: Sequence[int],
    answer_text: str,
    near: int,
    since_s: float = 0.0,
) -> list[Candidate]:
    """Classes that may mean the same, nearest first: those with the `near` nearest phrasings since the second `since_s` of
    the epoch, those in `labels`, and those with this very answer."""
    rows = await db.fetch(
        CANDIDATES,
        scope.tenant_id,
        scope.chatbot_id,
        question.vector.tolist(),
        scope_digest,
        list(labels),
        near,
        answer_digest(answer_text),
        since_s,
    )
    return [_candidate(row) for row in rows]


async def look(
    db: Connection,
    scope: Scope,
    class_ids: Sequence[str],
    *,
    scope_digest: bytes,
    answer_text: str,
    question: Question,
    asked_at_s: float,
) -> Standing:
    """What a lesson finds under the lock."""
    rows = await db.fetch(
        LOOK,
        scope.tenant_id,
        scope.chatbot_id,
        list(class_ids),
        scope_digest,
        answer_digest(answer_text),
        question.digest,
        asked_at_s,
    )
    settled = next((row for row in rows if row["what"] == "settled"), None)
    return Standing(
        alive={row["id"]: row["label"] for row in rows if row["what"] == "alive"},
        twins={row["id"]: row["label"] for row in rows if row["what"] == "twin"},
        is_settled=settled is not None,
        class_id=None if settled is None else settled["id"],
        label=None if settled is None else settled["label"],
        purged=any(row["what"] == "purged" for row in rows),
    )


async def find_settled(db: Connection, scope: Scope, question_digest: bytes) -> Settled | None:
    """Where this very question stands, if it was learned before."""
    row = await db.fetchrow(SETTLED, scope.tenant_id, scope.chatbot_id, question_digest)
    return None if row is None else Settled(class_id=row["class_id"], origin=row["origin"])


async def find_class(db: Connection, scope: Scope, label: int) -> str | None:
    return await db.fetchval(FIND_CLASS, scope.tenant_id, scope.chatbot_id, label)


async def add_class(db: Connection, scope: Scope) -> tuple[str, int]:
    """A new class without a phrasing: (id, label)."""
    label = await db.fetchval(NEXT_LABEL, scope.tenant_id, scope.chatbot_id)
    class_id = new_id()
    await db.execute(INSERT_CLASS, class_id, scope.tenant_id, scope.chatbot_id, label)
    return class_id, label


async def settle(
    db: Connection,
    scope: Scope,
    question: Question,
    class_id: str | None,
    origin: Origin,
    *,
    share: float = 1.0,
    standing: Standing | None = None,
) -> None:
    """Make a question a verified phrasing of a class, or (None) one of no class; it leaves the class it was in.

    `share`: how probable it was that this was learned; what was drawn by lot stands for others that were not. `standing`:
    where it stands now, if the caller knows. The router is due once enough was settled or rejected.
    """
    before: str | None = None
    if standing is not None:
        before = standing.class_id
    elif (settled := await find_settled(db, scope, question.digest)) is not None:
        before = settled.class_id
    verdict = "nobody" if class_id is None else "verified"
    await db.execute(
        SETTLE,
        new_id(),
        scope.tenant_id,
        scope.chatbot_id,
        class_id,
        verdict,
        origin,
        question.text,
        question.digest,
        question.vector.tolist(),
        share,
    )
    if before is not None and before != class_id:
        await db.execute(DROP_IF_EMPTY, scope.tenant_id, before)


async def reject(
    db: Connection, scope: Scope, question: Question, class_id: str, origin: Origin, *, share: float = 1.0
) -> None:
    """Note that a question does not belong to a class that looked like its own."""
    await db.execute(
        REJECT,
        new_id(),
        scope.tenant_id,
        scope.chatbot_id,
        class_id,
        origin,
        question.text,
        question.digest,
        question.vector.tolist(),
        share,
    )


async def unsettle(db: Connection, scope: Scope, question: Question, class_id: str) -> bool:
    """Take a question out of a class. Returns False if that was its only phrasing: then the class went with it."""
    await db.execute(UNSETTLE, scope.tenant_id, class_id, question.digest)
    return await db.fetchval(DROP_IF_EMPTY, scope.tenant_id, class_id) is None


async def count_labels(db: Connection, scope: Scope, count: int = 1) -> None:
    """Make the router due sooner by so much, beside what `settle` and `reject` count: after seeds, say."""
    await db.execute(COUNT_LABELS, scope.tenant_id, scope.chatbot_id, count)


async def note_checked(db: Connection, scope: Scope, class_id: str, *, agreed: bool) -> None:
    await db.execute(NOTE_CHECKED, scope.tenant_id, class_id, int(agreed), int(not agreed))


async def merge_classes(db: Connection, scope: Scope, keep_id: str, other_id: str) -> None:
    """Make two classes one. The other one's answers go with it."""
    await db.execute(MERGE_PHRASINGS, scope.tenant_id, keep_id, other_id)
    await db.execute(FORGET_WRONGED, scope.tenant_id, keep_id)
    await db.execute(DROP_CLASS, scope.tenant_id, other_id)


async def use_classes(db: Connection, scope: Scope, uses: dict[int, int]) -> None:
    """Note hits by label."""
    await db.execute(USE_CLASSES, scope.tenant_id, scope.chatbot_id, list(uses), list(uses.values()))


def _candidate(row: Any) -> Candidate:
    entry = None if row["content"] is None else decode_entry(row["content"])
    return Candidate(
        class_id=row["id"],
        label=row["label"],
        cosine=float(row["cosine"]),
        phrasings=row["phrasings"],
        entry=entry,
        text_digest=row["text_digest"],
        answer_vector=None if row["vector"] is None else decode_vector(row["vector"]),
        fresh=bool(row["fresh"]),
        agreed=row["agreed"],
    )
