"""SQL that reads the questions of a knowledge base whose answers stand in it as they are. Called by
`pipeline/cache_seeds.py`."""

from dataclasses import dataclass

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import KnowledgeBaseId, is_id
from chatwright.domain.scope import Scope

# $3 documents behind this one, $4 how many documents.
LIST_FAQ = """
WITH asked AS (
    SELECT DISTINCT document_id FROM chunks
     WHERE tenant_id = $1 AND knowledge_base_id = $2 AND question IS NOT NULL AND ($3::uuid IS NULL OR document_id > $3)
     ORDER BY document_id LIMIT $4)
SELECT c.id, c.document_id, c.question, c.text, d.title, d.url, c.anchor
  FROM asked JOIN chunks c ON c.tenant_id = $1 AND c.document_id = asked.document_id
  JOIN documents d ON d.tenant_id = $1 AND d.id = c.document_id
 WHERE c.question IS NOT NULL
 ORDER BY c.document_id, c.ordinal
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaqEntry:
    """A question of a document and its answer: the passages under it, in order. `chunk_ids` are theirs."""

    question: str
    texts: tuple[str, ...]
    document_id: str
    title: str
    url: str | None
    chunk_ids: tuple[str, ...]


async def list_faq(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, after: str | None = None, documents: int = 20
) -> list[FaqEntry]:
    """The questions of up to `documents` documents that have some, those behind the document `after`, in order."""
    if not is_id(knowledge_base_id):
        return []
    found: list[FaqEntry] = []
    for row in await db.fetch(LIST_FAQ, scope.tenant_id, knowledge_base_id, after, documents):
        before = found[-1] if found else None
        if before is not None and (before.document_id, before.question) == (row["document_id"], row["question"]):
            found[-1] = FaqEntry(
                question=before.question,
                texts=(*before.texts, row["text"]),
                document_id=before.document_id,
                title=before.title,
                url=before.url,
                chunk_ids=(*before.chunk_ids, row["id"]),
            )
            continue
        anchor = row["anchor"]
        found.append(
            FaqEntry(
                question=row["question"],
                texts=(row["text"],),
                document_id=row["document_id"],
                title=row["title"],
                url=f"{row['url']}#{anchor}" if row["url"] and anchor and "#" not in row["url"] else row["url"],
                chunk_ids=(row["id"],),
            )
        )
    return found
