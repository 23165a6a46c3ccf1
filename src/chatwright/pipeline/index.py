"""A stored document becomes searchable: text, chunks, vectors, one swap. Run by the worker; running it again is safe."""

import asyncio

import structlog

from chatwright.adapters.models import Embedder
from chatwright.adapters.postgres import Database
from chatwright.domain.errors import BadRequest, NotFound
from chatwright.domain.ids import DocumentId
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.features.knowledge import Chunk, Document, Vector

MAX_CHUNKS = 20_000  # 8 hours of one core; a document that needs more is split by its owner

log = structlog.get_logger(__name__)


async def index_document(db: Database, embedder: Embedder, scope: Scope, document_id: DocumentId) -> None:
    """Chunk and embed a document and swap its chunks in one transaction; its state ends as `indexed` or `failed`.

    Chunks whose content has not changed keep their vectors; if none has changed nothing is written but the state.
    A document that cannot be read ends as `failed` with the reason, without an exception: trying again would not help.
    Raises NotFound if the document is unknown; what may pass (Unavailable, cancellation) is raised with the state left
    at `indexing`, and the next run starts over.
    """
    async with db.transaction(scope) as connection:
        loaded = await knowledge.get_document_text(connection, scope, document_id)
        if loaded is None:
            raise NotFound("no such document")
        document, text = loaded
        await knowledge.set_document_state(connection, scope, document_id, "indexing")
        stored = await knowledge.chunk_hashes(connection, scope, document_id)

    try:
        chunks = await asyncio.to_thread(_chunk, document, text, embedder)
    except BadRequest as error:  # unreadable: of no media type we know, nested too deep, too long
        await _fail(db, scope, document_id, error.message)
        return
    if not chunks:
        await _fail(db, scope, document_id, "the document has no text that could be quoted")
        return

    if [chunk.content_hash for chunk in chunks] == stored:
        async with db.transaction(scope) as connection:
            await knowledge.set_document_state(connection, scope, document_id, "indexed")
        return

    vectors = await _embed(chunks, known=frozenset(stored), embedder=embedder)
    async with db.transaction(scope) as connection:
        found = await knowledge.replace_chunks(connection, scope, document_id, chunks, vectors)
    if not found:
        log.info("document.deleted_while_indexed", document_id=document_id)
        return
    fresh = sum(vector is not None for vector in vectors)
    log.info("document.indexed", document_id=document_id, chunks=len(chunks), embedded=fresh)


def _chunk(document: Document, text: str, embedder: Embedder) -> list[Chunk]:
    chunks = knowledge.chunk_document(text, document.media_type, embedder.count_tokens, title=document.title)
    if len(chunks) > MAX_CHUNKS:
        raise BadRequest(f"the document makes {len(chunks):,} passages, at most {MAX_CHUNKS:,} fit; split it")
    return chunks


async def _embed(chunks: list[Chunk], *, known: frozenset[bytes], embedder: Embedder) -> list[Vector | None]:
    """Vectors of the chunks that are new, None for those whose vector is stored; equal passages are embedded once."""
    fresh = {chunk.content_hash: chunk.embedding_text for chunk in chunks if chunk.content_hash not in known}
    vectors = await embedder.embed(list(fresh.values()), bulk=True)
    by_hash = dict(zip(fresh, vectors, strict=True))
    return [by_hash.get(chunk.content_hash) for chunk in chunks]


async def _fail(db: Database, scope: Scope, document_id: DocumentId, reason: str) -> None:
    async with db.transaction(scope) as connection:
        await knowledge.set_document_state(connection, scope, document_id, "failed", error=reason)
    log.warning("document.failed", document_id=document_id, reason=reason)
