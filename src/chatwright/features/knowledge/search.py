"""SQL of a search: both halves in one round trip, vectors and keywords, within one knowledge base. Called by flows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import KnowledgeBaseId, is_id
from chatwright.domain.scope import Scope
from chatwright.features.knowledge.chunk_store import Vector
from chatwright.features.knowledge.hit import Cosines, Hit
from chatwright.features.knowledge.keywords import Weighed, dimension_of, key_of
from chatwright.features.knowledge.large_search import COMMON, RETRIEVE_LARGE, SAMPLE, WORDED_CANDIDATES

_ASKED = """
    asked AS (
        -- The question's terms with how rare they are in the base: BM25's inverse document frequency.
        SELECT a.place, a.dimension, a.key, a.weight,
               ln(1 + (greatest(b.chunk_count - coalesce(a.documents, 0), 0) + 0.5)
                      / (coalesce(a.documents, 0) + 0.5)) AS rarity
          FROM knowledge_bases b
         CROSS JOIN (
               -- Term by term: the planner would rather read all terms of the base than believe that it has so many.
               SELECT a.*, (SELECT t.documents FROM knowledge_terms t
                             WHERE t.tenant_id = $1 AND t.knowledge_base_id = $2 AND t.term_key = a.key) AS documents
                 FROM unnest($4::integer[], $5::integer[], $6::real[]) WITH ORDINALITY
                      AS a (dimension, key, weight, place)
               OFFSET 0) AS a
         WHERE b.tenant_id = $1 AND b.id = $2),
    question AS MATERIALIZED (
        SELECT ('{' || coalesce((SELECT string_agg(dimension || ':' || weighed, ',' ORDER BY dimension)
                                   FROM (SELECT dimension, sum(weight * rarity)::real AS weighed FROM asked
                                          GROUP BY dimension) AS one_each), '')
                || '}/1000000000')::sparsevec AS terms,
               (SELECT array_agg(rarity::real ORDER BY place) FROM asked) AS rarity)"""

RETRIEVE = f"""
-- Every chunk of the base gets both scores. Vectors have length 1, so the inner product is the cosine; the product of the
-- sparse vectors is BM25. $3 the question's vector or NULL, $7 how many of each half, $8 the embedder that made the vector:
-- nothing is found if the base has another one by now.
WITH{_ASKED},
    scored AS MATERIALIZED (
        SELECT id, coalesce(-(embedding <#> $3::real[]::halfvec), 0) AS cosine,
               coalesce(-(keywords <#> (SELECT terms FROM question)), 0) AS keywords
          FROM chunks
         WHERE tenant_id = $1 AND knowledge_base_id = $2
           AND EXISTS (SELECT FROM knowledge_bases b
                        WHERE b.tenant_id = $1 AND b.id = $2 AND ($8::text IS NULL OR b.embedder = $8))),
    usual AS MATERIALIZED (SELECT count(*) AS chunks, avg(cosine) AS mean, stddev_pop(cosine) AS spread FROM scored),
    found AS MATERIALIZED (
        SELECT id, cosine, keywords FROM
            ((SELECT * FROM scored WHERE $3::real[] IS NOT NULL ORDER BY cosine DESC, id LIMIT $7)
             UNION
             (SELECT * FROM scored WHERE keywords > 0 ORDER BY keywords DESC, id LIMIT $7)) AS halves)
-- Row by row: the planner would rather read all documents of the tenant than believe that so few are found.
SELECT c.id, c.document_id, c.ordinal, c.heading, c.anchor, c.text, c.page, c.language, c.question, c.suspicion, c.title, c.url,
       found.cosine, found.keywords, question.rarity, usual.chunks, usual.mean, usual.spread,
       ARRAY(SELECT asked.place FROM asked WHERE asked.key = ANY(c.term_keys)) AS said
  FROM found
 CROSS JOIN LATERAL (
        SELECT c.id, c.document_id, c.ordinal, c.heading, c.anchor, c.text, c.page, c.language, c.question, c.suspicion, c.term_keys,
               d.title, d.url
          FROM chunks c JOIN documents d ON d.tenant_id = $1 AND d.id = c.document_id
         WHERE c.tenant_id = $1 AND c.id = found.id
        OFFSET 0) AS c
 CROSS JOIN question
 CROSS JOIN usual
 ORDER BY found.cosine DESC, c.id
"""


ENOUGH_TO_TELL = 30
"""Chunks from which on their cosines say what is usual."""

MAIN_LANGUAGE = """
-- The language of most of some documents of a base; no row if none is known.
SELECT language FROM (SELECT language FROM documents
                       WHERE tenant_id = $1 AND knowledge_base_id = $2 AND language IS NOT NULL LIMIT 100) AS latest
 GROUP BY language ORDER BY count(*) DESC, language LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What both halves found, nearest vectors first. `cosines`: of the question and all chunks, or a sample of a large
    base; None where they are too few to tell."""

    hits: list[Hit]
    cosines: Cosines | None = None
    terms: Mapping[str, float] = field(default_factory=dict[str, float])
    """The question's, with what each says in the base."""


async def retrieve(
    db: Connection,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    query: Vector | None,
    *,
    terms: Mapping[str, float],
    top_k: int,
    large: bool = False,
    embedder: str | None = None,
) -> Retrieved:
    """The best `top_k` chunks of each half, each with both scores: up to twice `top_k`.

    `query`: shape (dimension,), length 1, by the base's embedder; None: keywords alone. `terms`: of `question_terms`. An
    exact scan: about 1.5 ms per 1,000 chunks; `large` (of `is_large`): by the base's indexes, which may miss a hit. Empty
    for an unknown knowledge base, and for one that has another `embedder` by now.
    """
    if not is_id(knowledge_base_id):
        return Retrieved(hits=[])
    bounds = (WORDED_CANDIDATES, COMMON, SAMPLE) if large else ()
    rows = await db.fetch(
        RETRIEVE_LARGE if large else RETRIEVE,
        scope.tenant_id,
        knowledge_base_id,
        None if query is None else query.tolist(),
        [dimension_of(term) for term in terms],
        [key_of(knowledge_base_id, term) for term in terms],
        list(terms.values()),
        top_k,
        embedder,
        *bounds,
    )
    if not rows:
        return Retrieved(hits=[])
    names = list(terms)
    weighed = Weighed(
        {term: weight * rare for (term, weight), rare in zip(terms.items(), rows[0]["rarity"] or (), strict=True)}
    )
    total = weighed.total
    return Retrieved(
        hits=[
            Hit(
                chunk_id=row["id"],
                document_id=row["document_id"],
                title=row["title"],
                url=row["url"],
                ordinal=row["ordinal"],
                heading=row["heading"],
                anchor=row["anchor"],
                text=row["text"],
                page=row["page"],
                language=row["language"],
                question=row["question"],
                suspicion=row["suspicion"],
                cosine=float(row["cosine"]),
                keyword_score=float(row["keywords"]) / total,
                words=weighed.share({names[place - 1] for place in row["said"]}),
            )
            for row in rows
        ],
        terms=weighed.values,
        cosines=Cosines(mean=rows[0]["mean"], spread=rows[0]["spread"])
        if query is not None and rows[0]["chunks"] >= ENOUGH_TO_TELL
        else None,
    )


async def search(
    db: Connection,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    query: Vector | None,
    *,
    terms: Sequence[str] = (),
    top_k: int,
) -> list[Hit]:
    """`retrieve` for terms of equal weight; the hits alone."""
    found = await retrieve(db, scope, knowledge_base_id, query, terms=dict.fromkeys(terms, 1.0), top_k=top_k)
    return found.hits


def language_of(likely: Sequence[str], main: str | None) -> str | None:
    """A question's language: of those that it is `likely` in (of `likely_languages`, best first) the one that its base is
    mainly in, else the first; the base's where nothing tells."""
    return main if main in likely or not likely else likely[0]


async def main_language(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> str | None:
    """What a base's documents are mostly written in, for a question that does not tell its own language."""
    if not is_id(knowledge_base_id):
        return None
    return await db.fetchval(MAIN_LANGUAGE, scope.tenant_id, knowledge_base_id)
