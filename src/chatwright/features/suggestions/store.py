"""SQL that reads what stands beside the passages of an answer. Reads only."""

from collections.abc import Sequence

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import is_id
from chatwright.domain.scope import Scope
from chatwright.features.suggestions.topics import Topic

REACH = 40
"""How many chunks before and behind a passage are looked at."""
MOST_TOPICS = 24

FIND_TOPICS = """
-- Headings and questions near the passages that an answer cites ($3, texts), and those of the passages that it was given
-- and does not cite ($4). $2 documents, $5 how far, $6 how many. Document by document and row by row (OFFSET 0): the planner
-- would rather read the whole base than believe that so few are meant. What the guard suspects is not offered.
WITH given AS MATERIALIZED (
        SELECT c.* FROM unnest($2::uuid[]) AS of (document_id)
         CROSS JOIN LATERAL (
                SELECT id, document_id, ordinal, heading, question, embedding, text = ANY($3::text[]) AS cited
                  FROM chunks
                 WHERE tenant_id = $1 AND document_id = of.document_id AND text = ANY($3::text[] || $4::text[])
                OFFSET 0) AS c),
    near AS MATERIALIZED (
        SELECT c.id FROM given g
         CROSS JOIN LATERAL (
                SELECT id FROM chunks
                 WHERE tenant_id = $1 AND document_id = g.document_id
                   AND ordinal BETWEEN g.ordinal - $5::integer AND g.ordinal + $5::integer
                OFFSET 0) AS c
         WHERE g.cited
         UNION
        SELECT id FROM given WHERE NOT cited)
SELECT c.heading, c.question, c.language, max(best.likeness) AS likeness, bool_or(best.follows) AS follows
  FROM near
 CROSS JOIN LATERAL (
        SELECT document_id, ordinal, heading, question, language, embedding FROM chunks
         WHERE tenant_id = $1 AND id = near.id AND suspicion IS NULL AND (question IS NOT NULL OR heading <> '')
        OFFSET 0) AS c
 CROSS JOIN LATERAL (
        SELECT max(-(c.embedding <#> g.embedding)) AS likeness,
               coalesce(bool_or(c.document_id = g.document_id AND c.ordinal > g.ordinal), false) AS follows
          FROM given g WHERE g.cited AND vector_dims(g.embedding) = vector_dims(c.embedding)) AS best
 WHERE NOT EXISTS (SELECT FROM given g WHERE g.cited AND g.document_id = c.document_id AND g.heading = c.heading
                      AND g.question IS NOT DISTINCT FROM c.question)
 GROUP BY c.heading, c.question, c.language
 ORDER BY max(best.likeness) DESC NULLS LAST LIMIT $6
"""


async def find_topics(
    db: Connection,
    scope: Scope,
    *,
    document_ids: Sequence[str],
    cited: Sequence[str],
    uncited: Sequence[str] = (),
) -> list[Topic]:
    """Topics of the same documents, most like the cited passages first; `cited` and `uncited` are texts of passages."""
    documents = [document_id for document_id in dict.fromkeys(document_ids) if is_id(document_id)]
    if not documents or not cited:
        return []
    rows = await db.fetch(FIND_TOPICS, scope.tenant_id, documents, list(cited), list(uncited), REACH, MOST_TOPICS)
    return [
        Topic(
            heading=row["heading"],
            question=row["question"],
            language=row["language"],
            likeness=float(row["likeness"] or 0.0),
            follows=bool(row["follows"]),
        )
        for row in rows
    ]
