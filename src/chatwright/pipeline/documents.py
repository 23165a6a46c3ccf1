"""Documents come in: as text, as a file, as a page of the web. Each by its source key, so that adding again replaces.

Stores the original (object store), then the row with its index job in one transaction, then queues the job. Unchanged
content changes nothing. Also has documents indexed anew, and takes them, or a whole base, out again. Called by the
endpoints, by `pipeline/crawl.py` for each page, and by the demo.
"""

import mimetypes
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from chatwright.adapters.postgres import Connection
from chatwright.adapters.queue import route
from chatwright.domain.errors import BadRequest, ChatwrightError, NotFound, Unprocessable
from chatwright.domain.ids import DocumentId, JobId, KnowledgeBaseId, is_id, new_id
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.features import crawling, jobs, knowledge
from chatwright.features.knowledge import Document, NewDocument
from chatwright.pipeline.enqueue import enqueue
from chatwright.pipeline.originals import Stream, discard, keep
from chatwright.pipeline.pages import robots_of, visit_page
from chatwright.pipeline.services import Services

Outcome = Literal["added", "replaced", "unchanged"]
PRIORITY = 5
SOURCE_KEY_AT_MOST_CHARS = 2_000
_CONTENT_KEY = "content:"

TITLE_AT_MOST_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What became of it. `job_id` is the index job to queue, `unused_original` an object that nobody needs any more."""

    document: Document
    outcome: Outcome
    job_id: JobId | None = None
    unused_original: str | None = None


async def submit_text(
    app: Services,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    *,
    title: str,
    text: str,
    media_type: str,
    url: str | None = None,
    source_key: str | None = None,
) -> Submitted:
    """Store a text and queue its indexing. Raises NotFound for an unknown knowledge base, BadRequest for no text."""
    clean = text.replace("\x00", "").encode("utf-8", "replace").decode()
    if not clean.strip():
        raise BadRequest("the document has no text", param="text")
    new = NewDocument(title=title, text=clean, media_type=media_type, url=url, source_key=source_key)
    return await _submit(app, scope, knowledge_base_id, new)


async def receive_file(
    app: Services,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    chunks: AsyncIterator[bytes],
    *,
    name: str,
    media_type: str = "",
    title: str = "",
    source_key: str | None = None,
) -> NewDocument:
    """Put an uploaded file into the object store as it arrives; `submit_file` makes a document of it.

    Without a `source_key` its name and content are its key: the same file twice is one document. Raises PayloadTooLarge
    beyond the limit, Unprocessable for an empty file, Unavailable when the store is away, and what `chunks` raises.
    """
    stream = Stream(chunks)
    key, size_bytes = await keep(app, scope, knowledge_base_id, stream)
    if not size_bytes:
        await discard(app, key)
        raise Unprocessable("the file is empty", param="file")
    file_name = PurePosixPath(name.replace("\\", "/")).name or "file"
    taken = media_type if media_type not in ("", "application/octet-stream") else ""
    taken = taken or mimetypes.guess_type(file_name)[0] or "application/octet-stream"
    digest = stream.digest.digest()
    return NewDocument(
        title=title,
        media_type=taken[:200],
        content_hash=digest,
        size_bytes=size_bytes,
        original_key=key,
        source="upload",
        source_key=source_key or f"{_CONTENT_KEY}{digest.hex()}/{file_name}"[:SOURCE_KEY_AT_MOST_CHARS],
    )


async def submit_file(app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId, new: NewDocument) -> Submitted:
    """Make a document of a received file and queue its indexing. Raises NotFound; the file is then discarded."""
    try:
        return await _submit(app, scope, knowledge_base_id, new)
    except ChatwrightError:
        await discard(app, new.original_key)
        raise


async def submit_page(
    app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId, url: str, *, title: str = ""
) -> Submitted:
    """Fetch a page of the public web and queue its indexing; asking again fetches only what has changed.

    Raises NotFound for an unknown knowledge base and Unprocessable, with the reason, if the page is not given or not to
    be visited.
    """
    address = crawling.normalise_address(url)
    try:
        app.http.guard.check_url(address)
        robots = await robots_of(app, address) if app.settings.robots_txt else crawling.OPEN
        known = await _known(app, scope, knowledge_base_id, address)
        visit = await visit_page(app, scope, knowledge_base_id, address, robots=robots, known=known, title=title)
    except BadRequest as error:
        if error.status != BadRequest.status:
            raise
        raise Unprocessable(error.message, param="url") from error
    if visit.new is None:
        assert known is not None
        return Submitted(document=known, outcome="unchanged")
    return await submit_file(app, scope, knowledge_base_id, visit.new)


async def put(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, new: NewDocument) -> Submitted:
    """Write the document and its index job; call `follow` after the commit. Raises NotFound."""
    stored = await knowledge.put_document(db, scope, knowledge_base_id, new)
    job_id = None if stored.outcome == "unchanged" else await _insert_job(db, scope, stored.document.id)
    return Submitted(
        document=stored.document,
        outcome="added" if stored.outcome == "created" else stored.outcome,
        job_id=job_id,
        unused_original=stored.unused_original,
    )


async def put_failed(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, address: str, reason: str
) -> DocumentId:
    """Write down a page that could not be had. One that was read before keeps its content: only its crawl tells."""
    known = (await knowledge.list_by_source(db, scope, knowledge_base_id, [address])).get(address)
    if known is not None and known.state != "failed":
        return known.id
    if known is None:
        new = NewDocument(title=address[:TITLE_AT_MOST_CHARS], media_type="text/html", source="url", source_key=address,
                          url=address)  # fmt: skip
        known = (await knowledge.put_document(db, scope, knowledge_base_id, new)).document
    await knowledge.set_document_state(db, scope, known.id, "failed", error=reason)
    return known.id


async def follow(app: Services, scope: Scope, submitted: Submitted) -> None:
    """After the commit: queue the job, and let go of the original that is not needed any more."""
    if submitted.job_id is not None:
        await _queue(app, scope, submitted.job_id)
    await discard(app, submitted.unused_original)


async def delete_document(app: Services, scope: Scope, document_id: DocumentId) -> None:
    """Take a document out, with its passages, its original, and what is under way for it. Raises NotFound."""
    async with app.db.transaction(scope) as db:
        await jobs.withdraw_indexing(db, scope, document_id)
        deleted = await knowledge.delete_document(db, scope, document_id)
    if deleted is None:
        raise NotFound("no such document")
    await discard(app, deleted.original_key)


async def delete_base(app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> None:
    """Delete a knowledge base, and what is under way for it; its rows and originals go by and by. Raises NotFound."""
    if not is_id(knowledge_base_id):
        raise NotFound("no such knowledge base")
    async with app.db.transaction(scope) as db:
        await jobs.withdraw_base(db, scope, knowledge_base_id)
        if not await knowledge.delete_knowledge_base(db, scope, knowledge_base_id):
            raise NotFound("no such knowledge base")


async def reindex_document(app: Services, scope: Scope, document: Document) -> Document:
    """Have a document read and indexed again from what is stored of it; a page that was never had is fetched. Raises
    NotFound if it is gone, and what `submit_page` does."""
    if document.source == "url" and document.original_key is None and document.source_key is not None:
        return (await submit_page(app, scope, document.knowledge_base_id, document.source_key)).document
    async with app.db.transaction(scope) as db:
        queued = await knowledge.set_document_state(db, scope, document.id, "queued")
        if queued is None:
            raise NotFound("no such document")
        job_id = await _insert_job(db, scope, document.id)
    await _queue(app, scope, job_id)
    return queued


def shown_source_key(document: Document) -> str | None:
    """The key under which its owner knows a document; None where it was made of the content."""
    key = document.source_key
    return None if key is None or key.startswith(_CONTENT_KEY) else key


async def _submit(app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId, new: NewDocument) -> Submitted:
    async with app.db.transaction(scope) as db:
        submitted = await put(db, scope, knowledge_base_id, new)
    await follow(app, scope, submitted)
    return submitted


async def _known(app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId, address: str) -> Document | None:
    """The document of an address. Raises NotFound for an unknown knowledge base, before anything is fetched."""
    async with app.db.transaction(scope) as db:
        if await knowledge.get_knowledge_base(db, scope, knowledge_base_id) is None:
            raise NotFound("no such knowledge base")
        return (await knowledge.list_by_source(db, scope, knowledge_base_id, [address])).get(address)


async def _insert_job(db: Connection, scope: Scope, document_id: DocumentId) -> JobId:
    job_id = JobId(new_id())
    await jobs.insert_job(
        db,
        scope,
        job_id=job_id,
        job_type=JobType.DOCUMENT_INDEX,
        queue=route(JobType.DOCUMENT_INDEX, PRIORITY),
        priority=PRIORITY,
        payload={"document_id": document_id},
    )
    return job_id


async def _queue(app: Services, scope: Scope, job_id: JobId) -> None:
    await enqueue(
        app,
        scope,
        job_id=job_id,
        job_type=JobType.DOCUMENT_INDEX,
        queue=route(JobType.DOCUMENT_INDEX, PRIORITY),
        priority=PRIORITY,
        generation=1,
    )
