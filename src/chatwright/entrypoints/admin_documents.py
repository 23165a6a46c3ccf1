"""Documents of a knowledge base: in as text, file, page or site; listed, shown, deleted, indexed again."""

from collections.abc import Sequence
from typing import Any, cast, get_args

import msgspec

from chatwright.domain.errors import BadRequest, ChatwrightError, NotFound, Unprocessable
from chatwright.domain.ids import DocumentId, KnowledgeBaseId
from chatwright.domain.scope import Scope
from chatwright.entrypoints.admin_crawls import accepted as crawl_accepted
from chatwright.entrypoints.admin_crawls import base_of
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply, to_json
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.multipart import Form, Part
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire import Page
from chatwright.entrypoints.wire_knowledge import (
    DocumentAccepted,
    DocumentCreate,
    DocumentReply,
    FilesAccepted,
)
from chatwright.features import knowledge
from chatwright.features.knowledge import Document, DocumentState, NewDocument
from chatwright.pipeline import crawl, documents
from chatwright.pipeline.documents import Submitted
from chatwright.pipeline.originals import discard

_document = msgspec.json.Decoder(DocumentCreate)
_BODY_AT_MOST_BYTES = 4 * 1024 * 1024
"""Of a document as JSON; larger ones are files."""
_SOURCE_KEY_AT_MOST_CHARS = 1_000
_TITLE_AT_MOST_CHARS = 500
_FILES_AT_MOST = 200
_LAST_ORDINAL = 10**9


async def add(call: Call) -> Reply:
    """Store what is given and queue its indexing. JSON with `text`, `url` or `sitemap`, or a form with files."""
    scope = tenant_of(call).scope
    knowledge_base_id = base_of(call)
    content_type = (call.header(b"content-type") or "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _add_files(call, scope, knowledge_base_id)
    call.require_json()
    raw = await call.body(at_most=_BODY_AT_MOST_BYTES)
    body = decode(_document, raw)
    _check(body)
    await _check_base(call, scope, knowledge_base_id)

    async def work() -> Reply:
        app = call.app
        if body.sitemap is not None or (body.url is not None and body.follow):
            started = await crawl.start_crawl(
                app,
                scope,
                knowledge_base_id,
                kind="site" if body.sitemap is None else "sitemap",
                url=body.sitemap or body.url or "",
                max_pages=body.max_pages,
            )
            return json_reply(crawl_accepted(started), status=202)
        if body.url is not None:
            submitted = await documents.submit_page(app, scope, knowledge_base_id, body.url, title=body.title)
        else:
            text = body.text or ""
            submitted = await documents.submit_text(
                app,
                scope,
                knowledge_base_id,
                title=body.title or text.strip().partition("\n")[0].lstrip("# ")[:100] or "Untitled",
                text=text,
                media_type=body.media_type or "text/markdown",
                source_key=body.source_key,
            )
        return json_reply(_accepted(submitted), status=202)

    return await once(call, scope, raw, work)


async def list_all(call: Call) -> Reply:
    scope = tenant_of(call).scope
    knowledge_base_id = base_of(call)
    after, limit = call.page()
    state = call.query("state")
    if state is not None and state not in get_args(DocumentState):
        raise BadRequest(f"a state is one of {', '.join(get_args(DocumentState))}", param="state")
    async with call.app.db.transaction(scope) as db:
        if await knowledge.get_knowledge_base(db, scope, knowledge_base_id) is None:
            raise NotFound("no such knowledge base")
        found = await knowledge.list_documents(
            db,
            scope,
            knowledge_base_id,
            after=None if after is None else DocumentId(after),
            limit=limit + 1,
            state=cast("DocumentState | None", state),
        )
    items = [msgspec.to_builtins(_shown(document)) for document in found[:limit]]
    return json_reply(Page(items, found[limit - 1].id if len(found) > limit else None))


async def get(call: Call) -> Reply:
    return json_reply(_shown(await _document_of(call)))


async def list_chunks(call: Call) -> Reply:
    """The passages of a document in order; `cursor` is the ordinal of the last one seen."""
    document = await _document_of(call)
    scope = tenant_of(call).scope
    after = call.query_int("cursor", -1, low=0, high=_LAST_ORDINAL)
    limit = call.query_int("limit", 50, low=1, high=200)
    async with call.app.db.transaction(scope) as db:
        found = await knowledge.list_passages(db, scope, document.id, after=after, limit=limit + 1)
    items: list[dict[str, Any]] = [msgspec.to_builtins(passage) for passage in found[:limit]]
    return json_reply(Page(items, str(found[limit - 1].ordinal) if len(found) > limit else None))


async def reindex(call: Call) -> Reply:
    document = await _document_of(call)
    queued = await documents.reindex_document(call.app, tenant_of(call).scope, document)
    return json_reply(_shown(queued), status=202)


async def delete(call: Call) -> Reply:
    document = await _document_of(call)
    await documents.delete_document(call.app, tenant_of(call).scope, document.id)
    return Reply(204)


async def _check_base(call: Call, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> None:
    """An unknown base is told before anything is fetched, stored or claimed. Raises NotFound."""
    async with call.app.db.transaction(scope) as db:
        if await knowledge.get_knowledge_base(db, scope, knowledge_base_id) is None:
            raise NotFound("no such knowledge base")


async def _document_of(call: Call) -> Document:
    scope = tenant_of(call).scope
    knowledge_base_id = base_of(call)
    async with call.app.db.transaction(scope) as db:
        document = await knowledge.get_document(db, scope, DocumentId(call.params["document_id"]))
    if document is None or document.knowledge_base_id != knowledge_base_id:
        raise NotFound("no such document")
    return document


def _check(body: DocumentCreate) -> None:
    """Raises Unprocessable for fields that do not go together."""
    if sum(one is not None for one in (body.text, body.url, body.sitemap)) != 1:
        raise Unprocessable("give one of text, url and sitemap", param="text")
    if body.follow and body.url is None:
        raise Unprocessable("follow goes with url", param="follow")
    if body.max_pages is not None and not body.follow and body.sitemap is None:
        raise Unprocessable("max_pages goes with sitemap, or with url and follow", param="max_pages")
    if body.source_key is not None and body.text is None:
        raise Unprocessable("the source key of a page is its address", param="source_key")
    if body.title and (body.follow or body.sitemap is not None):
        raise Unprocessable("the pages of a site have titles of their own", param="title")


# Files ---------------------------------------------------------------------------------------------------------------


async def _add_files(call: Call, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> Reply:
    """Take the files of a form as they come in. One file is answered like a text; several get a list."""
    form = Form(call, files_at_most_bytes=call.app.settings.document_max_bytes)
    await _check_base(call, scope, knowledge_base_id)
    files = _Files(call, scope, knowledge_base_id)
    try:
        await files.receive(form)
        reply = await once(call, scope, files.fingerprint(), files.submit)
    finally:
        await files.clear()
    return reply


class _Files:
    """The files of one form: received into the object store first, made documents of afterwards."""

    def __init__(self, call: Call, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> None:
        self._call = call
        self._scope = scope
        self._base_id = knowledge_base_id
        self._received: list[tuple[str, NewDocument | ChatwrightError]] = []
        self._unused: set[str] = set()

    async def receive(self, form: Form) -> None:
        """A `title` or `source_key` belongs to the file that follows it. Raises what ends the request as a whole."""
        fields: dict[str, str] = {}
        async for part in form:
            if part.file_name is None:
                fields[part.name] = await part.text()
            else:
                await self._receive_one(part, fields)
                fields = {}
        if not self._received:
            raise Unprocessable("the form has no file", param="file")

    async def _receive_one(self, part: Part, fields: dict[str, str]) -> None:
        title, key, name = fields.get("title", ""), fields.get("source_key") or None, part.file_name or ""
        if len(title) > _TITLE_AT_MOST_CHARS:
            raise Unprocessable(f"a title has at most {_TITLE_AT_MOST_CHARS} characters", param="title")
        if key is not None and len(key) > _SOURCE_KEY_AT_MOST_CHARS:
            raise Unprocessable(
                f"a source key has at most {_SOURCE_KEY_AT_MOST_CHARS:,} characters", param="source_key"
            )
        if len(self._received) == _FILES_AT_MOST:
            raise Unprocessable(f"a form has at most {_FILES_AT_MOST} files", param="file")
        try:
            new = await documents.receive_file(
                self._call.app,
                self._scope,
                self._base_id,
                part.chunks(),
                name=name,
                media_type=part.content_type,
                title=title,
                source_key=key,
            )
        except Unprocessable as error:  # of this file alone
            self._received.append((name, error))
            return
        if new.original_key is not None:
            self._unused.add(new.original_key)
        self._received.append((name, new))

    def fingerprint(self) -> bytes:
        """What makes two forms the same, whatever their boundaries: names, keys, titles and contents."""
        return to_json(
            [
                (name, None if isinstance(one, ChatwrightError) else (one.title, one.source_key, one.content_hash))
                for name, one in self._received
            ]
        )

    async def submit(self) -> Reply:
        """Make documents of the files. Raises what is wrong with an only file."""
        made: list[tuple[str, Submitted | ChatwrightError]] = []
        for name, one in self._received:
            if isinstance(one, ChatwrightError):
                made.append((name, one))
                continue
            self._unused.discard(one.original_key or "")
            made.append((name, await documents.submit_file(self._call.app, self._scope, self._base_id, one)))
        if len(made) == 1:
            only = made[0][1]
            if isinstance(only, ChatwrightError):
                raise only
            return json_reply(_accepted(only), status=202)
        return json_reply(FilesAccepted([_result(name, one) for name, one in made]), status=202)

    async def clear(self) -> None:
        """Delete the originals that no document was made of."""
        for key in self._unused:
            await discard(self._call.app, key)


def _result(name: str, one: Submitted | ChatwrightError) -> dict[str, Any]:
    if isinstance(one, ChatwrightError):
        return {"name": name, "id": None, "state": "failed", "error": {"code": one.code, "message": one.message}}
    return {"name": name, **msgspec.to_builtins(_accepted(one)), "error": None}


def _accepted(submitted: Submitted) -> DocumentAccepted:
    document = submitted.document
    return DocumentAccepted(
        document.id,
        document.state,
        _title(document),
        submitted.outcome,
        documents.shown_source_key(document),
    )


def _title(document: Document) -> str:
    """A document that will say its title itself is called by its source until it was read."""
    return document.title or (document.source_key or "").rpartition("/")[2] or document.url or "Untitled"


def _shown(document: Document) -> DocumentReply:
    return DocumentReply(
        id=document.id,
        knowledge_base_id=document.knowledge_base_id,
        title=_title(document),
        state=document.state,
        error=document.error,
        warnings=document.warnings,
        source=document.source,
        source_key=documents.shown_source_key(document),
        url=document.url,
        media_type=document.media_type,
        size_bytes=document.size_bytes,
        sha256=document.content_hash.hex(),
        language=document.language,
        pages=document.pages,
        chunks=document.chunk_count,
        chunk_count=document.chunk_count,
        progress={"done": document.chunks_done, "total": document.chunks_total},
        created_at=document.created_at.isoformat(),
        updated_at=document.updated_at.isoformat(),
    )


_BASE = "/api/v1/knowledge-bases/{knowledge_base_id}"
_DOCUMENT = _BASE + "/documents/{document_id}"
_PAGE: Sequence[tuple[str, str]] = (("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50"))
ENDPOINTS = (
    Endpoint(
        method="POST", path=_BASE + "/documents", handle=add, access=Access.TENANT,
        summary="Add a document: JSON with text, url or sitemap, or a form with files; indexed in the background",
        tag="knowledge", status=202, request=DocumentCreate, response=DocumentAccepted, creates=True,
    ),
    Endpoint(
        method="GET", path=_BASE + "/documents", handle=list_all, access=Access.TENANT, summary="List documents",
        tag="knowledge", response=Page, query=(*_PAGE, ("state", "only those queued, indexing, indexed or failed")),
    ),
    Endpoint(
        method="GET", path=_DOCUMENT, handle=get, access=Access.TENANT, response=DocumentReply,
        summary="A document's state, error, warnings and progress", tag="knowledge",
    ),
    Endpoint(
        method="GET", path=_DOCUMENT + "/chunks", handle=list_chunks, access=Access.TENANT, response=Page,
        summary="The passages that a document was cut into", tag="knowledge", query=tuple(_PAGE),
    ),
    Endpoint(
        method="POST", path=_DOCUMENT + "/reindex", handle=reindex, access=Access.TENANT, status=202,
        summary="Read and index a document again", tag="knowledge", response=DocumentReply,
    ),
    Endpoint(
        method="DELETE", path=_DOCUMENT, handle=delete, access=Access.TENANT,
        summary="Delete a document, its passages and its original", tag="knowledge", status=204,
    ),
)  # fmt: skip
