"""SQL over the semantic tier for those who look after it: figures, classes with where their answers came from, purges.

Called by `pipeline/cache_admin.py` and `cache_feedback.py`. Functions never commit; those that remove something are called
under `store.lock`, and followed by `router_store.note_purged` and a notice to all processes (`tell_changed`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatwright.adapters.postgres import Connection
from chatwright.domain.scope import Scope
from chatwright.features.cache.agreement import answer_digest
from chatwright.features.cache.entry import CachedAnswer, decode_entry

STATS = """
SELECT (SELECT count(*) FROM cache_classes WHERE tenant_id = $1 AND chatbot_id = $2) AS classes,
       (SELECT coalesce(sum(hits), 0)::bigint FROM cache_classes WHERE tenant_id = $1 AND chatbot_id = $2) AS hits,
       p.verified, p.rejected, p.nobody, a.answers, a.live,
       r.strictness, r.examples, r.labels, r.threshold,
       r.max_error::numeric::float8 AS max_error, r.trained_at, length(r.router) AS router_bytes
  FROM (SELECT count(*) FILTER (WHERE verdict = 'verified') AS verified,
               count(*) FILTER (WHERE verdict = 'rejected') AS rejected,
               count(*) FILTER (WHERE verdict = 'nobody') AS nobody
          FROM cache_phrasings WHERE tenant_id = $1 AND chatbot_id = $2) AS p
 CROSS JOIN (SELECT count(*) AS answers, count(*) FILTER (WHERE expires_at > now()) AS live
               FROM cache_answers WHERE tenant_id = $1 AND chatbot_id = $2) AS a
  LEFT JOIN cache_routers r ON r.tenant_id = $1 AND r.chatbot_id = $2
"""

# Each filter counts unless it is null: $3 a document that an answer was made with, $4 text in a phrasing or an answer's
# digest ($5), $6 an answer's id, $7 a class. $8: classes with a smaller label than this, newest first.
_FILTERED = """
   AND ($3::uuid IS NULL OR EXISTS (SELECT FROM cache_answers a WHERE a.tenant_id = $1 AND a.class_id = c.id
                                       AND $3 = ANY(a.document_ids)))
   AND ($4::text IS NULL
        OR EXISTS (SELECT FROM cache_phrasings p WHERE p.tenant_id = $1 AND p.class_id = c.id
                      AND p.verdict = 'verified' AND strpos(lower(p.text), lower($4)) > 0)
        OR EXISTS (SELECT FROM cache_answers a WHERE a.tenant_id = $1 AND a.class_id = c.id AND a.text_digest = $5))
   AND ($6::uuid IS NULL OR EXISTS (SELECT FROM cache_answers a WHERE a.tenant_id = $1 AND a.class_id = c.id
                                       AND a.answer_id = $6))
   AND ($7::uuid IS NULL OR c.id = $7)
"""

FIND_CLASSES = f"""
SELECT c.id, c.label, c.hits, c.agreed, c.disagreed, c.created_at, c.used_at FROM cache_classes c
 WHERE c.tenant_id = $1 AND c.chatbot_id = $2 {_FILTERED}
   AND ($8::integer IS NULL OR c.label < $8)
 ORDER BY c.label DESC LIMIT $9
"""

PHRASINGS_OF = """
SELECT class_id, text, verdict, origin, created_at FROM (
    SELECT *, row_number() OVER (PARTITION BY class_id, verdict ORDER BY id DESC) AS place FROM cache_phrasings
     WHERE tenant_id = $1 AND class_id = ANY($2::uuid[])) AS p
 WHERE place <= $3 ORDER BY class_id, verdict DESC, created_at
"""

ANSWERS_OF = """
SELECT class_id, scope_digest, content, agreed, created_at, expires_at, expires_at > now() AS live FROM cache_answers
 WHERE tenant_id = $1 AND class_id = ANY($2::uuid[]) ORDER BY class_id, created_at DESC
"""

# Answers alone: the classes stay, their next question is answered anew.
PURGE_ANSWERS = """
DELETE FROM cache_answers a WHERE a.tenant_id = $1 AND a.chatbot_id = $2
   AND ($3::uuid IS NULL OR $3 = ANY(a.document_ids))
   AND ($4::bytea IS NULL OR a.text_digest = $4)
   AND ($5::uuid IS NULL OR a.answer_id = $5)
   AND ($6::uuid IS NULL OR a.class_id = $6)
RETURNING a.class_id
"""

FORGET_NOBODY = "DELETE FROM cache_phrasings WHERE tenant_id = $1 AND chatbot_id = $2 AND verdict = 'nobody'"

FIND_SERVED = """
SELECT a.text, a.cached, m.text AS question,
       ARRAY(SELECT k.class_id FROM cache_answers k WHERE k.tenant_id = $1 AND k.chatbot_id = $2 AND k.text_digest = $4)
           AS classes
  FROM answers a JOIN messages m ON m.tenant_id = $1 AND m.id = a.message_id
 WHERE a.tenant_id = $1 AND a.chatbot_id = $2 AND a.id = $3
"""

ANSWER_TEXT = "SELECT text FROM answers WHERE tenant_id = $1 AND chatbot_id = $2 AND id = $3"


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticStats:
    """Counts of one chatbot. `live`: answers that have not expired; `rejected`, `nobody`: questions known not to belong to
    a class, or to any. `threshold` is of the router's own measure, None before the first training."""

    classes: int
    hits: int
    verified: int
    rejected: int
    nobody: int
    answers: int
    live: int
    strictness: int
    examples: int
    labels: int
    threshold: float | None
    max_error: float | None
    trained_at: str | None
    router_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPhrasing:
    text: str
    verdict: str
    origin: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAnswer:
    """An answer of a class under one scope; `entry` says where it came from."""

    scope: str
    entry: CachedAnswer
    agreed: int
    live: bool
    created_at: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedClass:
    """A class as it is inspected. `label` is the cursor of a list."""

    id: str
    label: int
    hits: int
    agreed: int
    disagreed: int
    created_at: str
    used_at: str
    phrasings: list[ListedPhrasing] = field(default_factory=list[ListedPhrasing])
    answers: list[ListedAnswer] = field(default_factory=list[ListedAnswer])


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries are meant: all that is set has to hold. `text`: part of a phrasing, or an answer's whole text."""

    document_id: str | None = None
    text: str | None = None
    answer_id: str | None = None
    class_id: str | None = None

    @property
    def values(self) -> tuple[object, ...]:
        digest = None if self.text is None else answer_digest(self.text)
        return (self.document_id, self.text, digest, self.answer_id, self.class_id)


async def read_stats(db: Connection, scope: Scope) -> SemanticStats:
    row = await db.fetchrow(STATS, scope.tenant_id, scope.chatbot_id)
    assert row is not None
    return SemanticStats(
        classes=row["classes"],
        hits=row["hits"],
        verified=row["verified"],
        rejected=row["rejected"],
        nobody=row["nobody"],
        answers=row["answers"],
        live=row["live"],
        strictness=row["strictness"] or 0,
        examples=row["examples"] or 0,
        labels=row["labels"] or 0,
        threshold=row["threshold"],
        max_error=row["max_error"],
        trained_at=_stamp(row["trained_at"]),
        router_bytes=row["router_bytes"] or 0,
    )


async def list_classes(
    db: Connection,
    scope: Scope,
    wanted: Filter | None = None,
    *,
    before: int | None = None,
    limit: int = 50,
    phrasings: int = 20,
) -> list[ListedClass]:
    """Classes that the filter means, newest first, those with a label below `before`; up to `phrasings` of each verdict."""
    values = (wanted or Filter()).values
    rows = await db.fetch(FIND_CLASSES, scope.tenant_id, scope.chatbot_id, *values, before, limit)
    found = {
        row["id"]: ListedClass(
            id=row["id"],
            label=row["label"],
            hits=row["hits"],
            agreed=row["agreed"],
            disagreed=row["disagreed"],
            created_at=_stamp(row["created_at"]) or "",
            used_at=_stamp(row["used_at"]) or "",
        )
        for row in rows
    }
    for row in await db.fetch(PHRASINGS_OF, scope.tenant_id, list(found), phrasings):
        found[row["class_id"]].phrasings.append(_phrasing(row))
    for row in await db.fetch(ANSWERS_OF, scope.tenant_id, list(found)):
        if (answer := _answer(row)) is not None:
            found[row["class_id"]].answers.append(answer)
    return list(found.values())


async def purge_answers(db: Connection, scope: Scope, wanted: Filter) -> Sequence[str]:
    """Remove answers only; what was learned of the questions stays. Returns their classes' ids, one for each answer.

    `text` is an answer's whole text here.
    """
    digest = None if wanted.text is None else answer_digest(wanted.text)
    rows = await db.fetch(
        PURGE_ANSWERS,
        scope.tenant_id,
        scope.chatbot_id,
        wanted.document_id,
        digest,
        wanted.answer_id,
        wanted.class_id,
    )
    return [row["class_id"] for row in rows]


async def forget_nobody(db: Connection, scope: Scope) -> None:
    """Forget which questions belong to no class: part of a purge of everything."""
    await db.execute(FORGET_NOBODY, scope.tenant_id, scope.chatbot_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An answer that a visitor got: `cached` says how, `classes` whose answer has the same text."""

    question: str
    text: str
    cached: str
    classes: tuple[str, ...]


async def find_served(db: Connection, scope: Scope, answer_id: str) -> Served | None:
    """An answer of a conversation, and the classes that would say it; None for one that is not there."""
    text = await db.fetchval(ANSWER_TEXT, scope.tenant_id, scope.chatbot_id, answer_id)
    if text is None:
        return None
    row = await db.fetchrow(FIND_SERVED, scope.tenant_id, scope.chatbot_id, answer_id, answer_digest(text))
    assert row is not None
    return Served(question=row["question"], text=text, cached=row["cached"], classes=tuple(row["classes"]))


def _phrasing(row: Mapping[str, Any]) -> ListedPhrasing:
    return ListedPhrasing(
        text=row["text"], verdict=row["verdict"], origin=row["origin"], created_at=_stamp(row["created_at"]) or ""
    )


def _answer(row: Mapping[str, Any]) -> ListedAnswer | None:
    entry = decode_entry(row["content"])
    if entry is None:
        return None
    return ListedAnswer(
        scope=row["scope_digest"].hex(),
        entry=entry,
        agreed=row["agreed"],
        live=row["live"],
        created_at=_stamp(row["created_at"]) or "",
        expires_at=_stamp(row["expires_at"]) or "",
    )


def _stamp(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
