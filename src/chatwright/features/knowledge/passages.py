"""SQL that shows the owner of a document what it was cut into. Reads only."""

from dataclasses import dataclass

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import ChunkId, DocumentId
from chatwright.domain.scope import Scope

LIST_PASSAGES = """
SELECT id, ordinal, heading, anchor, page, language, question, text, tokens, suspicion FROM chunks
 WHERE tenant_id = $1 AND document_id = $2 AND ordinal > $3 ORDER BY ordinal LIMIT $4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk as it is shown. `ordinal` counts from 0 within its document, `page` from 1; `tokens` are the embedder's.
    `suspicion` (0..1, null: none) is how sure the guard is that it speaks to a model instead of to readers."""

    id: ChunkId
    ordinal: int
    heading: str
    anchor: str | None
    page: int | None
    language: str | None
    question: str | None
    text: str
    tokens: int
    suspicion: float | None = None


async def list_passages(
    db: Connection, scope: Scope, document_id: DocumentId, *, after: int, limit: int
) -> list[Passage]:
    """The chunks of a document in order, those behind the ordinal `after`."""
    return [Passage(**row) for row in await db.fetch(LIST_PASSAGES, scope.tenant_id, document_id, after, limit)]
