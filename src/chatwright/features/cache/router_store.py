"""SQL over routers and checks: what a router is trained on and kept as, what processes read of it, what checks came to.

Called by `pipeline/semantic.py`, `cache_checks.py` and `cache_training.py`. Functions never commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import ChatbotId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features.cache.checks import FIGURE_CHECKS, Check
from chatwright.features.cache.store import Vector, decode_vector

_NO_SAMPLE = ("feedback", "operator")
"""Phrasings that were not asked just so, or are known because something went wrong."""
CLASSES_AT_MOST = 2_000
PHRASINGS_AT_MOST = 6_000
"""Of one chatbot, those of no class included: what a router is trained on, and a process holds in memory."""
PER_CLASS_AT_MOST = 60
NOBODY_AT_MOST = 1_500
CHECKS_KEPT = 5_000
CHECKS_LAST_DAYS = 30
FIRST_LABELS = 4
"""A chatbot's first router is due after so much was learned, …"""
MORE_LABELS = 10
MORE_LABELS_SHARE = 0.08
"""… the next one after so much more, and so much of what the last one was trained on, …"""
SETTLE_S = 30.0
"""… or for anything new once it is so old; a large one takes long, and then waits longer."""

# Operators' role: whose turn is it?
LIST_DUE = """
SELECT tenant_id, chatbot_id FROM cache_routers
 WHERE labels > trained_labels AND lease_until < now()
   AND (labels - trained_labels >= CASE WHEN trained_at IS NULL THEN $1::float8
                                        ELSE greatest($2::float8, $3::float8 * examples) END
        OR trained_at < now() - make_interval(secs => $4 + examples::float8 * examples / 10000))
 ORDER BY trained_at NULLS FIRST LIMIT $5
"""

TAKE = """
UPDATE cache_routers SET lease_until = now() + make_interval(secs => $3), taken_at = now()
 WHERE tenant_id = $1 AND chatbot_id = $2 AND lease_until < now()
RETURNING labels, strictness
"""

EXAMPLES = """
SELECT p.text, p.verdict, p.origin, p.share, halfvec_send(p.vector) AS vector, c.label
  FROM cache_phrasings p LEFT JOIN cache_classes c ON c.tenant_id = $1 AND c.id = p.class_id
 WHERE p.tenant_id = $1 AND p.chatbot_id = $2
   AND (p.verdict <> 'rejected'
        OR NOT EXISTS (SELECT FROM cache_phrasings s WHERE s.tenant_id = $1 AND s.chatbot_id = $2
                          AND s.digest = p.digest AND s.verdict <> 'rejected'))
 ORDER BY p.id DESC LIMIT $3
"""

KEEP_ROUTER = """
UPDATE cache_routers
   SET router = $3, trained_labels = greatest(trained_labels, $4), examples = $5, max_error = $6, threshold = $7,
       figures = $8, trained_at = now(), began_at = taken_at, lease_until = '-infinity', version = version + 1
 WHERE tenant_id = $1 AND chatbot_id = $2
"""

GIVE_BACK = """
UPDATE cache_routers SET lease_until = '-infinity', trained_labels = greatest(trained_labels, $3)
 WHERE tenant_id = $1 AND chatbot_id = $2
"""

READ_VERSION = "SELECT version FROM cache_routers WHERE tenant_id = $1 AND chatbot_id = $2"

RAISE_VERSION = "UPDATE cache_routers SET version = version + 1 WHERE tenant_id = $1 AND chatbot_id = $2"

NOTE_PURGED = """
INSERT INTO cache_routers (tenant_id, chatbot_id, version, purged_at) VALUES ($1, $2, 1, now())
ON CONFLICT (tenant_id, chatbot_id) DO UPDATE SET version = cache_routers.version + 1, purged_at = now()
"""

READ_ROUTER = """
SELECT router, version, strictness, extract(epoch FROM began_at)::float8 AS trained_at_s FROM cache_routers
 WHERE tenant_id = $1 AND chatbot_id = $2
"""

READ_PHRASINGS = """
SELECT p.text, p.digest, p.verdict, c.label FROM cache_phrasings p
  JOIN cache_classes c ON c.tenant_id = $1 AND c.id = p.class_id
 WHERE p.tenant_id = $1 AND p.chatbot_id = $2 ORDER BY p.id DESC LIMIT $3
"""

INSERT_CHECK = """
INSERT INTO cache_checks (id, tenant_id, chatbot_id, class_id, drawn, outcome, judge, share, confidence)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""

LIST_CHECKS = """
SELECT drawn, outcome, share, extract(epoch FROM now() - created_at)::float8 AS age_s FROM cache_checks
 WHERE tenant_id = $1 AND chatbot_id = $2 AND created_at > now() - make_interval(days => $4)
 ORDER BY id DESC LIMIT $3
"""

READ_STRICTNESS = """
SELECT strictness, extract(epoch FROM now() - greatest(strict_since, now() - interval '1 year'))::float8 AS since_s
  FROM cache_routers WHERE tenant_id = $1 AND chatbot_id = $2 FOR UPDATE
"""

# The next training is due at once: it holds another bound.
SET_STRICTNESS = """
UPDATE cache_routers SET strictness = $3, strict_since = now(), version = version + 1, labels = labels + 1,
                         trained_at = coalesce(trained_at - interval '1 day', trained_at)
 WHERE tenant_id = $1 AND chatbot_id = $2
"""

COUNT_CLASSES = "SELECT count(*) FROM cache_classes WHERE tenant_id = $1 AND chatbot_id = $2"

# What nobody asks goes first: single questions that never were a hit, oldest use first. They stay as phrasings of no class.
EVICT = """
WITH gone AS (
    SELECT c.id FROM cache_classes c WHERE c.tenant_id = $1 AND c.chatbot_id = $2
     ORDER BY c.hits > 0, (SELECT count(*) > 1 FROM cache_phrasings p WHERE p.tenant_id = $1 AND p.class_id = c.id
                              AND p.verdict = 'verified'), c.used_at LIMIT $3),
freed AS (
    UPDATE cache_phrasings p SET class_id = NULL, verdict = 'nobody' FROM gone
     WHERE p.tenant_id = $1 AND p.class_id = gone.id AND p.verdict = 'verified')
SELECT id FROM gone
"""

DROP_CLASSES = "DELETE FROM cache_classes WHERE tenant_id = $1 AND id = ANY($2::uuid[])"

TRIM_PHRASINGS = """
WITH ranked AS (
    SELECT id, row_number() OVER (PARTITION BY class_id, verdict ORDER BY origin IN ('seed', 'operator') DESC, id DESC)
               AS place, class_id IS NULL AS nobody, verdict
      FROM cache_phrasings WHERE tenant_id = $1 AND chatbot_id = $2)
DELETE FROM cache_phrasings p USING ranked
 WHERE p.tenant_id = $1 AND p.id = ranked.id
   AND ranked.place > CASE WHEN ranked.nobody THEN $4 WHEN ranked.verdict = 'rejected' THEN $3 / 2 ELSE $3 END
"""

# Whatever is still too much: the oldest rejections, then the oldest of no class, then the oldest of the largest classes.
CUT_PHRASINGS = """
WITH ranked AS (
    SELECT id, verdict, row_number() OVER (PARTITION BY class_id, verdict ORDER BY id DESC) AS place
      FROM cache_phrasings WHERE tenant_id = $1 AND chatbot_id = $2)
DELETE FROM cache_phrasings p USING
    (SELECT id FROM ranked ORDER BY verdict = 'rejected', verdict = 'nobody', place, id DESC OFFSET $3) AS surplus
 WHERE p.tenant_id = $1 AND p.id = surplus.id
"""

TRIM_CHECKS = """
DELETE FROM cache_checks WHERE tenant_id = $1 AND chatbot_id = $2 AND id IN
    (SELECT id FROM cache_checks WHERE tenant_id = $1 AND chatbot_id = $2 ORDER BY id DESC OFFSET $3)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A router to train: how much had been learned by then, and how strict it has to be."""

    labels: int
    strictness: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedText:
    """A phrasing as a router is trained on it. `label` None: of no class. `weight`: how many visitors' questions it stands
    for; `given`: a person vouches for it."""

    text: str
    vector: Vector
    label: int | None
    weight: float
    given: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a process keeps of one chatbot: the router's bytes, verified phrasings and rejections by digest, and the texts
    of each class, newest first."""

    router: bytes | None = None
    version: int = 0
    strictness: int = 0
    trained_at_s: float = 0.0
    """Of the epoch: the router knows what had been learned by then."""
    labels: Mapping[bytes, int] = field(default_factory=dict[bytes, int])
    rejected: frozenset[tuple[bytes, int]] = frozenset()
    texts: Mapping[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])


async def list_due(db: Connection, *, limit: int) -> list[Scope]:
    """Chatbots whose router should be trained, longest waiting first. Operators' role."""
    rows = await db.fetch(LIST_DUE, float(FIRST_LABELS), float(MORE_LABELS), MORE_LABELS_SHARE, SETTLE_S, limit)
    return [Scope(tenant_id=TenantId(row["tenant_id"]), chatbot_id=ChatbotId(row["chatbot_id"])) for row in rows]


async def take(db: Connection, scope: Scope, *, lease_s: float) -> Taken | None:
    """Take a chatbot's training for a while; None if somebody else has it."""
    row = await db.fetchrow(TAKE, scope.tenant_id, scope.chatbot_id, lease_s)
    return None if row is None else Taken(labels=row["labels"], strictness=row["strictness"])


async def list_examples(db: Connection, scope: Scope) -> list[LearnedText]:
    """What a router is trained on, oldest first. A rejection counts as of no class until its question is settled."""
    rows = await db.fetch(EXAMPLES, scope.tenant_id, scope.chatbot_id, PHRASINGS_AT_MOST)
    return [
        LearnedText(
            text=row["text"],
            vector=decode_vector(row["vector"]),
            label=row["label"] if row["verdict"] == "verified" else None,
            weight=0.0 if row["origin"] in _NO_SAMPLE else 1.0 / row["share"],
            given=row["origin"] in ("seed", "operator"),
        )
        for row in reversed(rows)
    ]


async def keep_router(
    db: Connection,
    scope: Scope,
    router: bytes,
    *,
    labels: int,
    examples: int,
    max_error: float,
    threshold: float | None,
    figures: Mapping[str, Any],
) -> None:
    """Keep a trained router and end the lease. `labels`: what had been learned when it was taken."""
    await db.execute(
        KEEP_ROUTER, scope.tenant_id, scope.chatbot_id, router, labels, examples, max_error, threshold, dict(figures)
    )


async def give_back(db: Connection, scope: Scope, *, labels: int) -> None:
    """End the lease without a router: there is nothing to train on yet."""
    await db.execute(GIVE_BACK, scope.tenant_id, scope.chatbot_id, labels)


async def read_version(db: Connection, scope: Scope) -> int:
    """Raised with every change that processes have to see; 0 before anything was learned."""
    return await db.fetchval(READ_VERSION, scope.tenant_id, scope.chatbot_id) or 0


async def raise_version(db: Connection, scope: Scope) -> None:
    await db.execute(RAISE_VERSION, scope.tenant_id, scope.chatbot_id)


async def note_purged(db: Connection, scope: Scope) -> None:
    """Part of each purge: processes read anew, and lessons of questions asked before are not learned any more."""
    await db.execute(NOTE_PURGED, scope.tenant_id, scope.chatbot_id)


async def read_learned(db: Connection, scope: Scope) -> Learned:
    """All that look-ups need of one chatbot."""
    row = await db.fetchrow(READ_ROUTER, scope.tenant_id, scope.chatbot_id)
    if row is None:
        return Learned()
    labels: dict[bytes, int] = {}
    rejected: set[tuple[bytes, int]] = set()
    texts: dict[int, list[str]] = {}
    for phrasing in await db.fetch(READ_PHRASINGS, scope.tenant_id, scope.chatbot_id, PHRASINGS_AT_MOST):
        if phrasing["verdict"] == "rejected":
            rejected.add((phrasing["digest"], phrasing["label"]))
        else:
            labels[phrasing["digest"]] = phrasing["label"]
            texts.setdefault(phrasing["label"], []).append(phrasing["text"])
    return Learned(
        router=row["router"],
        version=row["version"],
        strictness=row["strictness"],
        trained_at_s=row["trained_at_s"] or 0.0,
        labels=labels,
        rejected=frozenset(rejected),
        texts={label: tuple(found) for label, found in texts.items()},
    )


async def add_check(
    db: Connection, scope: Scope, class_id: str, check: Check, *, judge: str, confidence: float
) -> None:
    await db.execute(
        INSERT_CHECK,
        new_id(),
        scope.tenant_id,
        scope.chatbot_id,
        class_id,
        check.drawn,
        check.outcome,
        judge,
        check.share,
        confidence,
    )


async def list_checks(db: Connection, scope: Scope) -> list[Check]:
    """The newest checks, newest first."""
    rows = await db.fetch(LIST_CHECKS, scope.tenant_id, scope.chatbot_id, FIGURE_CHECKS, CHECKS_LAST_DAYS)
    return [
        Check(outcome=row["outcome"], drawn=row["drawn"], share=row["share"], age_s=max(0.0, row["age_s"]))
        for row in rows
    ]


async def read_strictness(db: Connection, scope: Scope) -> tuple[int, float]:
    """How strict the tier is, and for how many seconds; the row stays locked."""
    row = await db.fetchrow(READ_STRICTNESS, scope.tenant_id, scope.chatbot_id)
    return (0, 0.0) if row is None else (row["strictness"], row["since_s"])


async def set_strictness(db: Connection, scope: Scope, strictness: int) -> None:
    await db.execute(SET_STRICTNESS, scope.tenant_id, scope.chatbot_id, strictness)


async def count_classes(db: Connection, scope: Scope) -> int:
    return await db.fetchval(COUNT_CLASSES, scope.tenant_id, scope.chatbot_id)


async def trim(db: Connection, scope: Scope, *, classes_at_most: int = CLASSES_AT_MOST) -> Sequence[str]:
    """Keep what is learned within its bounds. Returns the ids of the classes that went."""
    count = await count_classes(db, scope)
    gone: list[str] = []
    if count > classes_at_most:
        # Some more than needed, so that not every question beyond the bound costs this work.
        surplus = count - classes_at_most + classes_at_most // 20
        gone = [row["id"] for row in await db.fetch(EVICT, scope.tenant_id, scope.chatbot_id, surplus)]
        await db.execute(DROP_CLASSES, scope.tenant_id, gone)
    await db.execute(TRIM_PHRASINGS, scope.tenant_id, scope.chatbot_id, PER_CLASS_AT_MOST, NOBODY_AT_MOST)
    await db.execute(CUT_PHRASINGS, scope.tenant_id, scope.chatbot_id, PHRASINGS_AT_MOST)
    await db.execute(TRIM_CHECKS, scope.tenant_id, scope.chatbot_id, CHECKS_KEPT)
    return gone
