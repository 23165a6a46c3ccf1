"""SQL of chunks: vectors staged while a document is indexed, and the swap of its chunks. Called by `pipeline/index.py`.

The base's row lock orders all changes of its chunks, so that its counts (terms, chunks, version) are kept by plain sums.
Functions never commit; readers see a document's old chunks until the swap commits, then its new ones, never a mixture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import Conflict
from chatwright.domain.ids import DocumentId, KnowledgeBaseId, new_id
from chatwright.domain.scope import Scope
from chatwright.features.knowledge.chunking import Chunk
from chatwright.features.knowledge.index_form import INDEX_FORM, IndexedChunk, index_hash, prepare_chunks

Vector = NDArray[np.float32]

_ROWS_PER_STATEMENT = 200

CHUNK_HASHES = "SELECT content_hash FROM chunks WHERE tenant_id = $1 AND document_id = $2 ORDER BY ordinal"

LIST_UNKNOWN = """
-- Which of the hashes $5 have no vector yet: neither staged for the document $3 by embedder $4, nor in a chunk of the
-- base ($6: made by the base's next embedder).
SELECT wanted.content_hash FROM unnest($5::bytea[]) AS wanted (content_hash)
 WHERE NOT EXISTS (SELECT FROM staged_vectors s WHERE s.tenant_id = $1 AND s.document_id = $3 AND s.embedder = $4
                      AND s.content_hash = wanted.content_hash)
   AND NOT EXISTS (SELECT FROM chunks c WHERE c.tenant_id = $1 AND c.knowledge_base_id = $2
                      AND c.content_hash = wanted.content_hash AND (NOT $6 OR c.embedding_next IS NOT NULL))
"""

NOTE_PROGRESS = """
-- No row: the document was deleted, or its content replaced.
UPDATE documents SET chunks_done = $4, chunks_total = $5, updated_at = now()
 WHERE tenant_id = $1 AND id = $2 AND content_hash = $3 RETURNING id
"""

STAGE_VECTORS = """
INSERT INTO staged_vectors (tenant_id, document_id, embedder, content_hash, embedding)
SELECT $1, $2, $3, new.content_hash, new.embedding::halfvec
  FROM unnest($4::bytea[], $5::text[]) AS new (content_hash, embedding)
ON CONFLICT DO NOTHING
"""

LOCK_BASE_OF_DOCUMENT = """
-- NO KEY UPDATE: adding a document only needs the base to stay, so it does not wait for a swap.
SELECT id, embedder, next_embedder FROM knowledge_bases
 WHERE tenant_id = $1 AND id = (SELECT knowledge_base_id FROM documents WHERE tenant_id = $1 AND id = $2)
   AND deleted_at IS NULL
   FOR NO KEY UPDATE
"""

LOCK_DOCUMENT = "SELECT content_hash FROM documents WHERE tenant_id = $1 AND id = $2 FOR UPDATE"

COUNT_CHUNKS = """
SELECT count(*) AS chunks, coalesce(sum(term_count), 0)::bigint AS terms FROM chunks
 WHERE tenant_id = $1 AND document_id = $2
"""

INSERT_CHUNKS = """
-- Vectors come from what is staged for the document, or from a chunk of the base with the same content.
-- $4 the base's embedder, $5 its next one or NULL.
INSERT INTO chunks (id, tenant_id, knowledge_base_id, document_id, ordinal, heading, anchor, text, tokens, content_hash,
                    page, language, question, term_count, keywords, term_keys, suspicion, embedding, embedding_next)
SELECT new.id, $1, $2, $3, new.ordinal, new.heading, new.anchor, new.text, new.tokens, new.content_hash,
       new.page, new.language, new.question, new.term_count, new.keywords::sparsevec, new.term_keys::integer[],
       new.suspicion,
       coalesce(staged.embedding, (SELECT c.embedding FROM chunks c
                                    WHERE c.tenant_id = $1 AND c.knowledge_base_id = $2
                                      AND c.content_hash = new.content_hash LIMIT 1)),
       CASE WHEN $5::text IS NOT NULL THEN
           coalesce(following.embedding, (SELECT c.embedding_next FROM chunks c
                                           WHERE c.tenant_id = $1 AND c.knowledge_base_id = $2
                                             AND c.content_hash = new.content_hash
                                             AND c.embedding_next IS NOT NULL LIMIT 1)) END
  FROM unnest($6::uuid[], $7::integer[], $8::text[], $9::text[], $10::text[], $11::integer[], $12::bytea[],
              $13::integer[], $14::text[], $15::text[], $16::integer[], $17::text[], $18::text[], $19::real[])
       AS new (id, ordinal, heading, anchor, text, tokens, content_hash, page, language, question, term_count, keywords,
               term_keys, suspicion)
  LEFT JOIN staged_vectors AS staged
         ON staged.tenant_id = $1 AND staged.document_id = $3 AND staged.embedder = $4
        AND staged.content_hash = new.content_hash
  LEFT JOIN staged_vectors AS following
         ON following.tenant_id = $1 AND following.document_id = $3 AND following.embedder = $5
        AND following.content_hash = new.content_hash
"""

COUNT_TERMS = """
-- The base's counts follow a document's chunks: those in $4 come, all others of the document go. One statement in which
-- no row is touched twice, under the base's lock.
WITH delta AS MATERIALIZED (
    SELECT term_key, sum(CASE WHEN chunks.id = ANY($4::uuid[]) THEN 1 ELSE -1 END) AS documents
      FROM chunks CROSS JOIN LATERAL unnest(chunks.term_keys) AS term_key
     WHERE chunks.tenant_id = $1 AND chunks.document_id = $3
     GROUP BY term_key HAVING sum(CASE WHEN chunks.id = ANY($4::uuid[]) THEN 1 ELSE -1 END) <> 0),
gone AS (
    DELETE FROM knowledge_terms t USING delta
     WHERE t.tenant_id = $1 AND t.knowledge_base_id = $2 AND t.term_key = delta.term_key
       AND t.documents + delta.documents <= 0),
changed AS (
    UPDATE knowledge_terms t SET documents = t.documents + delta.documents FROM delta
     WHERE t.tenant_id = $1 AND t.knowledge_base_id = $2 AND t.term_key = delta.term_key
       AND t.documents + delta.documents > 0)
INSERT INTO knowledge_terms (tenant_id, knowledge_base_id, term_key, documents)
SELECT $1, $2, delta.term_key, delta.documents FROM delta
 WHERE delta.documents > 0
   AND NOT EXISTS (SELECT FROM knowledge_terms t WHERE t.tenant_id = $1 AND t.knowledge_base_id = $2
                      AND t.term_key = delta.term_key)
"""

DELETE_OTHER_CHUNKS = """
DELETE FROM chunks WHERE tenant_id = $1 AND document_id = $2 AND NOT id = ANY($3::uuid[])
"""

CLEAR_STAGED = "DELETE FROM staged_vectors WHERE tenant_id = $1 AND document_id = $2"

SET_INDEXED = """
UPDATE documents SET state = 'indexed', error = NULL, chunk_count = $3, chunks_done = $3, chunks_total = $3,
                     index_form = $4, index_hash = $5, title = coalesce(nullif($6, ''), title), language = $7,
                     pages = $8, warnings = $9, updated_at = now()
 WHERE tenant_id = $1 AND id = $2 AND content_hash = $10
"""

RAISE_VERSION = """
UPDATE knowledge_bases SET version = version + 1, chunk_count = chunk_count + $3, total_terms = total_terms + $4
 WHERE tenant_id = $1 AND id = $2
RETURNING version
"""


class Swap(StrEnum):
    """How a swap ended. Only DONE changed anything."""

    DONE = "done"
    GONE = "gone"
    """The document was deleted or its content replaced meanwhile: what was prepared is of no use."""
    INCOMPLETE = "incomplete"
    """Some vectors are missing: the base's embedder has changed, or a chunk that had one is gone. Embed those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What reading a document said about the whole of it. `pages` is None where it has no pages."""

    title: str
    language: str | None = None
    pages: int | None = None
    warnings: tuple[str, ...] = ()


def encode_vector(vector: Vector) -> str:
    """A vector as pgvector's text form, with the digits that half precision keeps. 60 µs for 384 numbers."""
    return "[" + ",".join(["%.5g" % value for value in vector.tolist()]) + "]"  # noqa: UP031 - half the time of a format spec


async def chunk_hashes(db: Connection, scope: Scope, document_id: DocumentId) -> list[bytes]:
    """Content hashes of a document's stored chunks, in order."""
    return [row["content_hash"] for row in await db.fetch(CHUNK_HASHES, scope.tenant_id, document_id)]


async def list_unknown(
    db: Connection,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    document_id: DocumentId,
    hashes: Sequence[bytes],
    *,
    embedder: str,
    is_next: bool,
) -> set[bytes]:
    """Those of `hashes` that must be embedded. `is_next`: `embedder` is the base's next one, else its present one."""
    rows = await db.fetch(
        LIST_UNKNOWN, scope.tenant_id, knowledge_base_id, document_id, embedder, list(hashes), is_next
    )
    return {row["content_hash"] for row in rows}


async def note_progress(
    db: Connection, scope: Scope, document_id: DocumentId, content_hash: bytes, *, done: int, total: int
) -> bool:
    """Say how many of a document's chunks have vectors. False: it was deleted, or its content replaced: stop."""
    return await db.fetchval(NOTE_PROGRESS, scope.tenant_id, document_id, content_hash, done, total) is not None


async def stage_vectors(
    db: Connection,
    scope: Scope,
    document_id: DocumentId,
    *,
    embedder: str,
    hashes: Sequence[bytes],
    vectors: Sequence[Vector] | NDArray[np.float32],
) -> None:
    """Keep vectors until the swap; those that are there already stay. Call it after `note_progress` in the same
    transaction: that one holds the document's row."""
    await db.execute(
        STAGE_VECTORS,
        scope.tenant_id,
        document_id,
        embedder,
        list(hashes),
        [encode_vector(vector) for vector in vectors],
    )


async def swap_chunks(
    db: Connection,
    scope: Scope,
    document_id: DocumentId,
    content_hash: bytes,
    chunks: Sequence[IndexedChunk],
    found: Found,
) -> Swap:
    """Put `chunks` in the place of a document's chunks, mark it indexed, and raise the knowledge's version.

    Their vectors must be staged, or stand in other chunks of the base, for the base's embedder and its next one if a
    re-embedding is under way. `content_hash` is that of the document that `chunks` were made of.
    """
    base = await db.fetchrow(LOCK_BASE_OF_DOCUMENT, scope.tenant_id, document_id)
    if base is None or await db.fetchval(LOCK_DOCUMENT, scope.tenant_id, document_id) != content_hash:
        return Swap.GONE
    base_id, embedder, following = base["id"], base["embedder"], base["next_embedder"]
    hashes = [chunk.chunk.content_hash for chunk in chunks]
    for name, is_next in ((embedder, False), (following, True)):
        if name is not None and await list_unknown(
            db, scope, base_id, document_id, hashes, embedder=name, is_next=is_next
        ):
            return Swap.INCOMPLETE

    before = await db.fetchrow(COUNT_CHUNKS, scope.tenant_id, document_id)
    assert before is not None
    ids = [new_id() for _ in chunks]
    for at in range(0, len(chunks), _ROWS_PER_STATEMENT):
        part, until = chunks[at : at + _ROWS_PER_STATEMENT], at + _ROWS_PER_STATEMENT
        await db.execute(
            INSERT_CHUNKS, scope.tenant_id, base_id, document_id, embedder, following, ids[at:until], *_columns(part)
        )
    await db.execute(COUNT_TERMS, scope.tenant_id, base_id, document_id, ids)
    await db.execute(DELETE_OTHER_CHUNKS, scope.tenant_id, document_id, ids)
    await db.execute(CLEAR_STAGED, scope.tenant_id, document_id)
    await mark_indexed(db, scope, document_id, content_hash, chunks, found)
    terms = sum(chunk.term_count for chunk in chunks)
    await db.fetchval(RAISE_VERSION, scope.tenant_id, base_id, len(chunks) - before["chunks"], terms - before["terms"])
    return Swap.DONE


async def mark_indexed(
    db: Connection,
    scope: Scope,
    document_id: DocumentId,
    content_hash: bytes,
    chunks: Sequence[IndexedChunk],
    found: Found,
) -> None:
    """Note that a document's stored chunks are `chunks`, unless it has another content by now."""
    await db.execute(
        SET_INDEXED,
        scope.tenant_id,
        document_id,
        len(chunks),
        INDEX_FORM,
        index_hash(found.title, chunks),
        found.title,
        found.language,
        found.pages,
        list(found.warnings),
        content_hash,
    )


async def remove_chunks(db: Connection, scope: Scope, document_id: DocumentId) -> bool:
    """Delete a document's chunks and take them out of its base's counts; the caller deletes the document in the same
    transaction. False if it is unknown or its base is gone."""
    base = await db.fetchrow(LOCK_BASE_OF_DOCUMENT, scope.tenant_id, document_id)
    if base is None or await db.fetchval(LOCK_DOCUMENT, scope.tenant_id, document_id) is None:
        return False
    before = await db.fetchrow(COUNT_CHUNKS, scope.tenant_id, document_id)
    assert before is not None
    await db.execute(COUNT_TERMS, scope.tenant_id, base["id"], document_id, [])
    await db.execute(DELETE_OTHER_CHUNKS, scope.tenant_id, document_id, [])
    await db.fetchval(RAISE_VERSION, scope.tenant_id, base["id"], -before["chunks"], -before["terms"])
    return True


async def replace_chunks(
    db: Connection,
    scope: Scope,
    document_id: DocumentId,
    chunks: Sequence[Chunk],
    vectors: Sequence[Vector | None],
    *,
    title: str = "",
) -> bool:
    """Stage `vectors` and swap in one transaction: for callers that have both at hand.

    `vectors` has one entry per chunk; None keeps the vector of a stored chunk of the base with the same content hash.
    `title` as in `prepare_chunks`. Returns False if the document is gone. Raises Conflict if a vector to keep is gone.
    """
    base = await db.fetchrow(LOCK_BASE_OF_DOCUMENT, scope.tenant_id, document_id)
    content_hash = await db.fetchval(LOCK_DOCUMENT, scope.tenant_id, document_id)
    if base is None or content_hash is None:
        return False
    fresh = [(chunk.content_hash, vector) for chunk, vector in zip(chunks, vectors, strict=True) if vector is not None]
    if fresh:
        await stage_vectors(
            db,
            scope,
            document_id,
            embedder=base["embedder"],
            hashes=[content for content, _ in fresh],
            vectors=[vector for _, vector in fresh],
        )
    prepared = prepare_chunks(base["id"], title, chunks)
    swap = await swap_chunks(db, scope, document_id, content_hash, prepared, Found(title=title))
    if swap is Swap.INCOMPLETE:
        raise Conflict("the document's chunks changed while it was indexed; index it again")
    return swap is Swap.DONE


def _columns(chunks: Sequence[IndexedChunk]) -> list[list[object]]:
    """The arrays of INSERT_CHUNKS behind the ids."""
    return [
        [each.chunk.ordinal for each in chunks],
        [each.chunk.heading for each in chunks],
        [each.chunk.anchor for each in chunks],
        [each.chunk.text for each in chunks],
        [each.chunk.tokens for each in chunks],
        [each.chunk.content_hash for each in chunks],
        [each.chunk.page for each in chunks],
        [each.chunk.language for each in chunks],
        [each.chunk.question for each in chunks],
        [each.term_count for each in chunks],
        [each.keywords for each in chunks],
        # An array of arrays must be a rectangle: each goes as the text of one.
        ["{" + ",".join(map(str, each.term_keys)) + "}" for each in chunks],
        [each.suspicion for each in chunks],
    ]
