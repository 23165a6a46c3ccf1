"""SQL of a change of embedder while a base is in use: the next vectors are filled in beside the present ones, then all
take their place in one transaction. Called by `pipeline/reembed.py`.

A base names one embedder, and a search asks for vectors of that one; `next_embedder` says whose `embedding_next` are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import NotFound
from chatwright.domain.ids import ChunkId, DocumentId, KnowledgeBaseId, TenantId, is_id
from chatwright.domain.scope import Scope
from chatwright.features.knowledge.chunk_store import encode_vector
from chatwright.features.knowledge.store import BASE_COLUMNS, KnowledgeBase

_CHUNKS_PER_STATEMENT = 1_000  # some 1 ms each: a changed row goes into every index of its table again
_DOCUMENTS_PER_PAGE = 2_000

LOCK_BASE = f"""
SELECT {BASE_COLUMNS} FROM knowledge_bases WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE
"""

SET_NEXT_EMBEDDER = f"""
UPDATE knowledge_bases SET next_embedder = $3, next_dimension = $4, next_ready_at = NULL
 WHERE tenant_id = $1 AND id = $2
RETURNING {BASE_COLUMNS}
"""

LIST_SIZES = """
-- Documents with their number of chunks, by id: the pages in which all chunks of a base are gone through.
SELECT id, chunk_count FROM documents
 WHERE tenant_id = $1 AND knowledge_base_id = $2 AND ($3::uuid IS NULL OR id > $3) AND chunk_count > 0
 ORDER BY id LIMIT $4
"""

CLEAR_NEXT = """
UPDATE chunks SET embedding_next = NULL
 WHERE tenant_id = $1 AND document_id = ANY($2::uuid[]) AND ordinal >= $3 AND ordinal < $4
   AND embedding_next IS NOT NULL
"""

TAKE_NEXT = """
UPDATE chunks SET embedding = embedding_next, embedding_next = NULL
 WHERE tenant_id = $1 AND document_id = ANY($2::uuid[]) AND ordinal >= $3 AND ordinal < $4
   AND embedding_next IS NOT NULL
"""

COUNT_WITHOUT_NEXT = """
SELECT count(*) FROM chunks
 WHERE tenant_id = $1 AND document_id = ANY($2::uuid[]) AND ordinal >= $3 AND ordinal < $4 AND embedding_next IS NULL
"""

LIST_TO_EMBED = """
-- By document, so that a pass goes on where it was: $3 is the last document seen, which may have chunks left.
SELECT c.id, c.document_id, c.heading, c.text, c.question, c.content_hash, d.title
  FROM (SELECT id, title FROM documents
         WHERE tenant_id = $1 AND knowledge_base_id = $2 AND ($3::uuid IS NULL OR id >= $3)
         ORDER BY id LIMIT 500) AS d
  JOIN chunks AS c ON c.tenant_id = $1 AND c.document_id = d.id AND c.embedding_next IS NULL
 ORDER BY c.document_id, c.ordinal LIMIT $4
"""

LAST_OF_PAGE = """
SELECT id FROM (SELECT id FROM documents
                 WHERE tenant_id = $1 AND knowledge_base_id = $2 AND ($3::uuid IS NULL OR id >= $3)
                 ORDER BY id LIMIT 500) AS d
 ORDER BY id DESC LIMIT 1
"""

HOLD_NEXT = """
-- A reader's lock: the base's next embedder stays what it is until the vectors are stored.
SELECT id FROM knowledge_bases WHERE tenant_id = $1 AND id = $2 AND next_embedder = $3 AND deleted_at IS NULL FOR SHARE
"""

STORE_NEXT = """
UPDATE chunks SET embedding_next = new.embedding::halfvec
  FROM unnest($3::bytea[], $4::text[]) AS new (content_hash, embedding)
 WHERE chunks.tenant_id = $1 AND chunks.knowledge_base_id = $2 AND chunks.content_hash = new.content_hash
   AND chunks.embedding_next IS NULL
"""

FINISH = f"""
UPDATE knowledge_bases SET embedder = next_embedder, dimension = next_dimension, next_embedder = NULL,
                           next_dimension = NULL, next_ready_at = NULL, version = version + 1
 WHERE tenant_id = $1 AND id = $2 AND next_embedder IS NOT NULL
RETURNING {BASE_COLUMNS}
"""


SET_NEXT_READY = """
UPDATE knowledge_bases SET next_ready_at = now() WHERE tenant_id = $1 AND id = $2 AND next_embedder = $3
"""

UNSET_NEXT_READY = "UPDATE knowledge_bases SET next_ready_at = NULL WHERE tenant_id = $1 AND id = $2"

LIST_NEXT_READY = """
-- operators: bases whose next vectors are all there. Over all tenant_id.
SELECT tenant_id, id, next_embedder FROM knowledge_bases
 WHERE next_ready_at IS NOT NULL AND deleted_at IS NULL ORDER BY next_ready_at LIMIT $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """A chunk as it is stored, with what is needed to embed it again."""

    id: ChunkId
    document_id: DocumentId
    title: str
    heading: str
    text: str
    question: str | None
    content_hash: bytes


async def choose_embedder(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, embedder: str, dimension: int
) -> KnowledgeBase:
    """Begin a re-embedding with `embedder`; one that was under way to another is given up.

    Naming the present embedder only gives up. An empty base has the new one at once. Raises NotFound.
    """
    base = await _lock(db, scope, knowledge_base_id)
    if embedder == (base.next_embedder or base.embedder):
        return base
    if base.next_embedder is not None:
        # What an embedder given up left behind must never be taken for the next one's.
        for part in await _parts(db, scope, knowledge_base_id):
            await db.execute(CLEAR_NEXT, scope.tenant_id, *part)
    chosen = (None, None) if embedder == base.embedder else (embedder, dimension)
    row = await db.fetchrow(SET_NEXT_EMBEDDER, scope.tenant_id, knowledge_base_id, *chosen)
    assert row is not None
    if base.chunk_count == 0 and embedder != base.embedder:
        row = await db.fetchrow(FINISH, scope.tenant_id, knowledge_base_id)
        assert row is not None
    return KnowledgeBase(**row)


async def list_to_embed(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, after: DocumentId | None, limit: int
) -> tuple[list[StoredChunk], DocumentId | None]:
    """Up to `limit` chunks without a next vector, from document `after` on; and where to go on: None at the end.

    A page may be empty although more follow.
    """
    rows = await db.fetch(LIST_TO_EMBED, scope.tenant_id, knowledge_base_id, after, limit)
    chunks = [StoredChunk(**row) for row in rows]
    if len(chunks) == limit:
        return chunks, chunks[-1].document_id
    last = await db.fetchval(LAST_OF_PAGE, scope.tenant_id, knowledge_base_id, after)
    return chunks, None if last is None or last == after else last


async def store_next(
    db: Connection,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    *,
    embedder: str,
    hashes: Sequence[bytes],
    vectors: NDArray[np.float32],
) -> bool:
    """Fill in next vectors, shape (len(hashes), dimension), for every chunk of the base with those contents.

    False: the base has another next embedder by now, or none; nothing was stored.
    """
    if await db.fetchval(HOLD_NEXT, scope.tenant_id, knowledge_base_id, embedder) is None:
        return False
    encoded = [encode_vector(vector) for vector in vectors]
    await db.execute(STORE_NEXT, scope.tenant_id, knowledge_base_id, list(hashes), encoded)
    return True


async def finish_reembedding(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, embedder: str
) -> KnowledgeBase | int:
    """Let the next vectors take the place of the present ones, and raise the version. Readers wait for nothing and see
    all of it or none. Returns how many chunks still have no next vector, if any have (nothing was changed then).

    Raises NotFound for an unknown base, or one with another next embedder.
    """
    base = await _lock(db, scope, knowledge_base_id)
    if base.next_embedder != embedder:
        raise NotFound("the re-embedding was given up")
    parts = await _parts(db, scope, knowledge_base_id)
    missing = 0
    for part in parts:
        missing += await db.fetchval(COUNT_WITHOUT_NEXT, scope.tenant_id, *part)
    if missing:
        await db.execute(UNSET_NEXT_READY, scope.tenant_id, knowledge_base_id)
        return missing
    for part in parts:
        await db.execute(TAKE_NEXT, scope.tenant_id, *part)
    row = await db.fetchrow(FINISH, scope.tenant_id, knowledge_base_id)
    assert row is not None
    return KnowledgeBase(**row)


async def set_next_ready(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, embedder: str) -> None:
    """Note that `finish_reembedding` may be tried; it takes that back when it finds chunks without a next vector."""
    await db.execute(SET_NEXT_READY, scope.tenant_id, knowledge_base_id, embedder)


async def list_next_ready(db: Connection, *, limit: int) -> list[tuple[TenantId, KnowledgeBaseId, str]]:
    """Bases whose next vectors are all there, with their next embedder. The operators' role."""
    rows = await db.fetch(LIST_NEXT_READY, limit)
    return [(row["tenant_id"], row["id"], row["next_embedder"]) for row in rows]


async def _lock(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> KnowledgeBase:
    row = await db.fetchrow(LOCK_BASE, scope.tenant_id, knowledge_base_id) if is_id(knowledge_base_id) else None
    if row is None:
        raise NotFound("no such knowledge base")
    return KnowledgeBase(**row)


_Part = tuple[list[DocumentId], int, int]


async def _parts(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> list[_Part]:
    """All of a base's chunks in parts small enough for one statement's time: documents, and ordinals from and to."""
    parts: list[_Part] = []
    group: list[DocumentId] = []
    room, after = _CHUNKS_PER_STATEMENT, None
    while True:
        rows = await db.fetch(LIST_SIZES, scope.tenant_id, knowledge_base_id, after, _DOCUMENTS_PER_PAGE)
        for row in rows:
            size = row["chunk_count"]
            if size > _CHUNKS_PER_STATEMENT:
                parts += [([row["id"]], at, at + _CHUNKS_PER_STATEMENT) for at in range(0, size, _CHUNKS_PER_STATEMENT)]
                continue
            if size > room:
                parts.append((group, 0, _CHUNKS_PER_STATEMENT))
                group, room = [], _CHUNKS_PER_STATEMENT
            group.append(row["id"])
            room -= size
        if len(rows) < _DOCUMENTS_PER_PAGE:
            return [*parts, (group, 0, _CHUNKS_PER_STATEMENT)]
        after = rows[-1]["id"]
