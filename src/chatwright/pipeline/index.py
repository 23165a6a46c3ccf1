"""A stored document becomes searchable: text, chunks, vectors, one swap. Run by the worker; running it again is safe.

No connection and no lock is held while a document is read or embedded. Vectors are staged as they come, so that a killed
worker, or a document too long for one run, goes on where it was; passages whose content the base knows are not embedded.
"""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from chatwright.adapters.documents import extract
from chatwright.adapters.models import Embedder, Vectors
from chatwright.adapters.postgres import Connection
from chatwright.domain.documents import Extract
from chatwright.domain.errors import BadRequest, BudgetExceeded, NotFound, RateLimited, Unavailable
from chatwright.domain.ids import DocumentId
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.features.guard.store import forget_events_of
from chatwright.features.knowledge import Chunk, Document, DocumentText, Found, IndexedChunk, KnowledgeBase, Swap
from chatwright.pipeline.embedding import embedder_for
from chatwright.pipeline.embedding_batches import Unfinished, in_batches
from chatwright.pipeline.passage_guard import note_passages, scan_passages, warnings_about
from chatwright.pipeline.services import Services

MAX_CHUNKS = 20_000
"""8 hours of one core; a document that needs more is split by its owner."""
RUN_S = 200.0
"""After so long a job gives its slot back and goes on later: its queue allows 285 s, and others wait as well."""
ROUNDS = 20
"""How often a swap may find that vectors are missing: each time the base's embedder changed or a neighbour went."""
BUDGET_WAIT_S = 900.0
MAX_TITLE_CHARACTERS = 200
CONTEXT_TOKENS = 56
"""What title and headings may take of the tokens that an embedder reads."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """What a run did. `embedded` counts the passages that needed a new vector, of `chunks`."""

    chunks: int
    embedded: int
    changed: bool


async def index_document(app: Services, scope: Scope, document_id: DocumentId) -> Indexed | None:
    """Read, chunk and embed a document and swap its chunks in one transaction; its state ends as `indexed` or `failed`.

    A document that cannot be read ends as `failed` with the reason, without an exception: trying again would not help.
    None: it failed so, or was deleted or replaced meanwhile (a replacement has a job of its own).
    Raises NotFound if the document is unknown; Unfinished when it needs more time than one run has, or its budget is used
    up; what may pass (Unavailable, RateLimited, ProviderError) is raised too, and the next run goes on.
    """
    until_s = time.monotonic() + RUN_S
    async with app.db.transaction(scope) as db:
        stored = await knowledge.get_document_text(db, scope, document_id)
        base = None
        if stored is not None:
            base = await knowledge.get_knowledge_base(db, scope, stored.document.knowledge_base_id)
        if stored is None or base is None:
            raise NotFound("no such document")
        await knowledge.set_document_state(db, scope, document_id, "indexing")
    document = stored.document

    embedder = await embedder_for(app, base, scope)
    try:
        chunks, found = await _read(app, stored, base, embedder)
    except (BadRequest, NotFound) as error:  # unreadable, too large, of no type we know; or its original is gone
        await _fail(app, scope, document, error.message)
        return None
    if not chunks:
        await _fail(app, scope, document, "the document has no text that could be quoted")
        return None

    passages = await scan_passages(app, scope, [each.chunk.text for each in chunks])
    chunks = [replace(each, suspicion=one.suspicion) for each, one in zip(chunks, passages, strict=True)]
    found = replace(found, warnings=(*found.warnings, *warnings_about(passages)))
    if stored.index_hash == knowledge.index_hash(found.title, chunks):
        async with app.db.transaction(scope) as db:
            await knowledge.mark_indexed(db, scope, document_id, document.content_hash, chunks, found)
        return Indexed(chunks=len(chunks), embedded=0, changed=False)

    filling = _Filling(app, scope, document, chunks, until_s)
    for _ in range(ROUNDS):
        try:
            if not await filling.fill():
                return _dropped(document_id)
        except (RateLimited, BudgetExceeded) as error:
            raise await _wait(app, scope, document, error) from error
        async with app.db.transaction(scope) as db:
            swap = await knowledge.swap_chunks(db, scope, document_id, document.content_hash, chunks, found)
            if swap is Swap.DONE:
                await forget_events_of(db, scope, document_id)  # those of this content are noted below
        if swap is Swap.GONE:
            return _dropped(document_id)
        if swap is Swap.DONE:
            note_passages(app, scope, document_id, passages)
            log.info("document.indexed", document_id=document_id, chunks=len(chunks), embedded=filling.embedded)
            return Indexed(chunks=len(chunks), embedded=filling.embedded, changed=True)
    raise Unavailable("the knowledge base changes faster than this document can be indexed; it is tried again")


# --- reading ----------------------------------------------------------------------------------------------------------


async def _read(
    app: Services, stored: DocumentText, base: KnowledgeBase, embedder: Embedder
) -> tuple[list[IndexedChunk], Found]:
    """Raises BadRequest with what is wrong with the document, NotFound when its original is gone."""
    document = stored.document
    if document.original_key is None:
        return await asyncio.to_thread(_chunk_text, stored, base, embedder)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="chatwright-"))
    try:
        original = folder / "original"
        await app.files.fetch(document.original_key, original)
        extracted = await extract(original, media_type=document.media_type, name=document.source_key or document.title)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return await asyncio.to_thread(_chunk_extract, document, extracted, base, embedder)


def _chunk_text(stored: DocumentText, base: KnowledgeBase, embedder: Embedder) -> tuple[list[IndexedChunk], Found]:
    document = stored.document
    title = document.title if document.is_titled else ""
    title = title or knowledge.document_title(stored.text, document.media_type, document.source_key or "")
    chunks = knowledge.chunk_document(
        stored.text, document.media_type, embedder.count_tokens, title=title, max_tokens=_max_tokens(embedder)
    )
    return _prepare(base, title, chunks, None)


def _chunk_extract(
    document: Document, extracted: Extract, base: KnowledgeBase, embedder: Embedder
) -> tuple[list[IndexedChunk], Found]:
    title = (
        (document.title if document.is_titled else "")
        or extracted.title
        or _first_heading(extracted)
        or _file_name(document)
    )
    chunks = knowledge.chunk_extract(extracted, embedder.count_tokens, title=title, max_tokens=_max_tokens(embedder))
    return _prepare(base, title, chunks, extracted)


def _first_heading(extracted: Extract) -> str:
    headings = [block for block in extracted.blocks[:100] if block.kind == "heading"]
    tops = [block for block in headings if block.level == 1]
    return knowledge.plain((tops or headings)[0].text)[:MAX_TITLE_CHARACTERS] if headings else ""


def _file_name(document: Document) -> str:
    return Path(document.source_key or "").stem[:MAX_TITLE_CHARACTERS] or "Untitled"


def _prepare(
    base: KnowledgeBase, title: str, chunks: Sequence[Chunk], extracted: Extract | None
) -> tuple[list[IndexedChunk], Found]:
    if len(chunks) > MAX_CHUNKS:
        raise BadRequest(f"the document makes {len(chunks):,} passages, at most {MAX_CHUNKS:,} fit; split it")
    spoken = Counter(chunk.language for chunk in chunks if chunk.language).most_common(1)
    language = spoken[0][0] if spoken else None
    found = Found(title=title, language=language)
    if extracted is not None:
        found = replace(
            found, language=language or extracted.language, pages=extracted.pages, warnings=extracted.warnings
        )
    return knowledge.prepare_chunks(base.id, title, chunks), found


def _max_tokens(embedder: Embedder) -> int:
    return min(knowledge.MAX_TOKENS, embedder.max_tokens - CONTEXT_TOKENS)


# --- embedding --------------------------------------------------------------------------------------------------------


class _Filling:
    """Brings in the vectors that a document's chunks need, by all embedders its base has at that moment."""

    def __init__(
        self, app: Services, scope: Scope, document: Document, chunks: Sequence[IndexedChunk], until_s: float
    ) -> None:
        self._app = app
        self._scope = scope
        self._document = document
        self._texts = {each.chunk.content_hash: each.chunk.embedding_text for each in chunks}
        self._chunks = Counter(each.chunk.content_hash for each in chunks)
        self._until_s = until_s
        self.embedded = 0
        """Passages embedded by this run."""

    async def fill(self) -> bool:
        """Embed what has no vector yet and stage it. False: the document is gone or has another content.

        Raises Unfinished when the run's time is over, after at least one batch.
        """
        async with self._app.db.transaction(self._scope) as db:
            base = await knowledge.get_knowledge_base(db, self._scope, self._document.knowledge_base_id)
        if base is None:
            return False
        if not await self._fill(base, base.embedder, is_next=False):
            return False
        if base.next_embedder is None or base.next_dimension is None:
            return True
        following = replace(base, embedder=base.next_embedder, dimension=base.next_dimension)
        return await self._fill(following, following.embedder, is_next=True)

    async def _fill(self, base: KnowledgeBase, name: str, *, is_next: bool) -> bool:
        async with self._app.db.transaction(self._scope) as db:
            unknown = await knowledge.list_unknown(
                db, self._scope, base.id, self._document.id, list(self._texts), embedder=name, is_next=is_next
            )
            if not await self._note(db, unknown):
                return False
        if not unknown:
            return True
        embedder = await embedder_for(self._app, base, self._scope)

        async def embed(batch: Sequence[bytes]) -> Vectors:
            return await embedder.embed([self._texts[content] for content in batch], bulk=True)

        async def store(batch: Sequence[bytes], vectors: Vectors) -> bool:
            async with self._app.db.transaction(self._scope) as db:
                if not await self._note(db, unknown.difference(batch)):
                    return False
                await knowledge.stage_vectors(
                    db, self._scope, self._document.id, embedder=name, hashes=batch, vectors=vectors
                )
            unknown.difference_update(batch)
            self.embedded += len(batch)
            return True

        todo = [content for content in self._texts if content in unknown]
        return await in_batches(todo, embed, store, until_s=self._until_s)

    async def _note(self, db: Connection, unknown: set[bytes]) -> bool:
        total = self._chunks.total()
        done = total - sum(self._chunks[content] for content in unknown)
        return await knowledge.note_progress(
            db, self._scope, self._document.id, self._document.content_hash, done=done, total=total
        )


async def _wait(
    app: Services, scope: Scope, document: Document, error: RateLimited | BudgetExceeded
) -> RateLimited | Unfinished:
    """The document waits and says why. Returns what to raise: the job comes back later, and no attempt is counted."""
    async with app.db.transaction(scope) as db:
        await knowledge.set_document_state(
            db, scope, document.id, "queued", error=error.message, content_hash=document.content_hash
        )
    log.info("document.waits", document_id=document.id, reason=error.message)
    return error if isinstance(error, RateLimited) else Unfinished(error.message, delay_s=BUDGET_WAIT_S)


def _dropped(document_id: DocumentId) -> None:
    log.info("document.changed_while_indexed", document_id=document_id)


async def _fail(app: Services, scope: Scope, document: Document, reason: str) -> None:
    async with app.db.transaction(scope) as db:
        await knowledge.set_document_state(
            db, scope, document.id, "failed", error=reason, content_hash=document.content_hash
        )
    log.warning("document.failed", document_id=document.id, reason=reason)
