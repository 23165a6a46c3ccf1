"""Knowledge bases: documents in (text, file or address), documents out, search with scores."""

import codecs
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from email.message import Message as Headers
from html import unescape
from pathlib import PurePosixPath
from typing import Any, get_args

import msgspec
from msgspec.structs import replace
from starlette.datastructures import Headers as RequestHeaders
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from chatwright.adapters.providers.http import fetch_guarded
from chatwright.domain.errors import BadRequest, NotFound, PayloadTooLarge, Unprocessable, UnsupportedMediaType
from chatwright.domain.ids import DocumentId, KnowledgeBaseId, is_id
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import check_text, decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire import (
    DocumentAccepted,
    DocumentCreate,
    KnowledgeBaseCreate,
    MediaType,
    Page,
    SearchReply,
)
from chatwright.features import knowledge, tenancy
from chatwright.features.knowledge import Document
from chatwright.pipeline import submit

_document = msgspec.json.Decoder(DocumentCreate)
_base = msgspec.json.Decoder(KnowledgeBaseCreate)
FILE_AT_MOST_BYTES = 10 * 1024 * 1024
_FORM_EXTRA_BYTES = 64 * 1024
_FETCH_TIMEOUT_S = 30.0
_QUERY_AT_MOST_CHARS = 2_000
_TITLE_AT_MOST_CHARS = 500
_BY_SUFFIX = {
    ".txt": "text/plain",
    ".text": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
}
_HTML_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{0,2000})", re.IGNORECASE)
# What a page may be written in. Python knows more codecs, and some of them take a stranger's page hours to read.
_CHARSETS = re.compile(
    r"ascii|utf-(?:8(?:-sig)?|16(?:-[bl]e)?|32(?:-[bl]e)?)|iso8859-\d+|cp\d+|koi8-[rtu]|tis-620|mac-[a-z]+"
    r"|gb\w+|big5\w*|euc_\w+|shift_jis\w*|iso2022_\w+|hz|johab"
)


async def add(call: Call) -> Reply:
    """Store a document and queue its indexing. JSON with `text` or `url`, or a form with a `file`."""
    scope = tenant_of(call).scope
    content_type = (call.header(b"content-type") or "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        raw = await call.body(at_most=FILE_AT_MOST_BYTES + _FORM_EXTRA_BYTES)
        body = await _from_form(call, raw)
    else:
        call.require_json()
        raw = await call.body()
        body = decode(_document, raw)
        if (body.text is None) == (body.url is None):
            raise Unprocessable("give either text or url", param="text")
    knowledge_base_id = _knowledge_base_id(call)
    await _check_base(call, scope, knowledge_base_id)

    async def work() -> Reply:
        found = _from_text(body) if body.url is None else await _from_url(call, body, body.url)
        document = await submit.add_document(
            call.app,
            scope,
            knowledge_base_id,
            title=found.title,
            text=found.text or "",
            url=found.url,
            media_type=found.media_type or "text/markdown",
        )
        return json_reply(DocumentAccepted(document.id, document.state, document.title), status=202)

    return await once(call, scope, raw, work)


async def get(call: Call) -> Reply:
    return json_reply(_shown(await _document_of(call)))


async def list_all(call: Call) -> Reply:
    scope = tenant_of(call).scope
    knowledge_base_id = _knowledge_base_id(call)
    after, limit = call.page()
    async with call.app.db.transaction(scope) as db:
        if await knowledge.get_knowledge_base(db, scope, knowledge_base_id) is None:
            raise NotFound("no such knowledge base")
        documents = await knowledge.list_documents(
            db, scope, knowledge_base_id, after=None if after is None else DocumentId(after), limit=limit + 1
        )
    items = [_shown(document) for document in documents[:limit]]
    return json_reply(Page(items, documents[limit - 1].id if len(documents) > limit else None))


async def delete(call: Call) -> Reply:
    document = await _document_of(call)
    scope = tenant_of(call).scope
    async with call.app.db.transaction(scope) as db:
        await knowledge.delete_document(db, scope, document.id)
    return Reply(204)


async def create_base(call: Call) -> Reply:
    """Make a knowledge base that several chatbots may share (a new chatbot gets one of its own anyway)."""
    scope = tenant_of(call).scope
    call.require_json()
    raw = await call.body()
    body = decode(_base, raw)

    async def work() -> Reply:
        async with call.app.db.transaction(scope) as db:
            base = await knowledge.create_knowledge_base(
                db, scope, body.name, embedder=tenancy.EMBEDDER, dimension=tenancy.EMBEDDER_DIMENSION
            )
        return json_reply(base, status=201)

    return await once(call, scope, raw, work)


async def list_bases(call: Call) -> Reply:
    scope = tenant_of(call).scope
    after, limit = call.page()
    async with call.app.db.transaction(scope) as db:
        bases = await knowledge.list_knowledge_bases(
            db, scope, after=None if after is None else KnowledgeBaseId(after), limit=limit + 1
        )
    items = [asdict(base) for base in bases[:limit]]
    return json_reply(Page(items, bases[limit - 1].id if len(bases) > limit else None))


async def get_base(call: Call) -> Reply:
    scope = tenant_of(call).scope
    knowledge_base_id = _knowledge_base_id(call)
    async with call.app.db.transaction(scope) as db:
        base = await knowledge.get_knowledge_base(db, scope, knowledge_base_id)
    if base is None:
        raise NotFound("no such knowledge base")
    return json_reply(base)


async def search(call: Call) -> Reply:
    query = call.query("q")
    if not query or not query.strip():
        raise BadRequest("give the words to search for in q", param="q")
    if len(query) > _QUERY_AT_MOST_CHARS:
        raise PayloadTooLarge(f"q has at most {_QUERY_AT_MOST_CHARS:,} characters", param="q")
    k = call.query_int("k", 5, low=1, high=50)
    hits = await submit.search_knowledge(call.app, tenant_of(call).scope, _knowledge_base_id(call), query, k)
    return json_reply(SearchReply([asdict(hit) for hit in hits]))


def _knowledge_base_id(call: Call) -> KnowledgeBaseId:
    text = call.params["knowledge_base_id"]
    if not is_id(text):
        raise NotFound("no such knowledge base")
    return KnowledgeBaseId(text)


async def _check_base(call: Call, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> None:
    """An unknown base is told before an address is fetched or a key claimed. Raises NotFound."""
    async with call.app.db.transaction(scope) as db:
        if await knowledge.get_knowledge_base(db, scope, knowledge_base_id) is None:
            raise NotFound("no such knowledge base")


async def _document_of(call: Call) -> Document:
    scope = tenant_of(call).scope
    knowledge_base_id = _knowledge_base_id(call)
    document_id = call.params["document_id"]
    document = None
    if is_id(document_id):
        async with call.app.db.transaction(scope) as db:
            document = await knowledge.get_document(db, scope, DocumentId(document_id))
    if document is None or document.knowledge_base_id != knowledge_base_id:
        raise NotFound("no such document")
    return document


def _shown(document: Document) -> dict[str, Any]:
    fields = asdict(document)
    del fields["content_hash"]
    return fields


def _from_text(body: DocumentCreate) -> DocumentCreate:
    first = (body.text or "").strip().partition("\n")[0].lstrip("# ")
    return replace(body, title=body.title or first[:100] or "Untitled")


async def _from_url(call: Call, body: DocumentCreate, url: str) -> DocumentCreate:
    """Read a page on the public internet. Raises Unprocessable if it cannot be read, UnsupportedMediaType."""
    try:
        page = await fetch_guarded(
            call.app.http,
            url,
            max_bytes=FILE_AT_MOST_BYTES,
            timeout_s=_FETCH_TIMEOUT_S,
            accept="text/html, text/markdown, text/plain;q=0.9",
        )
    except PayloadTooLarge:
        raise
    except BadRequest as error:
        raise Unprocessable(error.message, param="url") from error
    headers = Headers()
    headers["content-type"] = page.content_type or "text/html"
    media_type = _taken(body.media_type or headers.get_content_type(), param="url")
    text = decode_text(page.body, headers.get_content_charset(), param="url")
    title = body.title or page_title(text) or page.url
    return DocumentCreate(title=title, text=text, url=page.url, media_type=media_type)


async def _from_form(call: Call, raw: bytes) -> DocumentCreate:
    """Read the form's `file` (and `title`). Raises BadRequest, UnsupportedMediaType, Unprocessable."""
    form = await _parse_form(call, raw)
    file, title = form.get("file"), form.get("title", "")
    if not isinstance(file, tuple):
        raise Unprocessable("the form has no file", param="file")
    if not isinstance(title, str) or len(title) > _TITLE_AT_MOST_CHARS:
        raise Unprocessable(f"a title is a text of at most {_TITLE_AT_MOST_CHARS} characters", param="title")
    name, content_type, content = file
    path = PurePosixPath(name.replace("\\", "/"))
    declared = content_type.partition(";")[0].strip().lower()
    media_type = _taken(_BY_SUFFIX.get(path.suffix.lower()) or declared, param="file")
    text = decode_text(content, None, param="file")
    if not text.strip():
        raise Unprocessable("the file is empty", param="file")
    found = title or (page_title(text) if media_type == "text/html" else "") or path.name or "Untitled"
    return DocumentCreate(
        title=check_text(found[:_TITLE_AT_MOST_CHARS], param="title"), text=text, media_type=media_type
    )


def _taken(media_type: str, *, param: str) -> MediaType:
    for taken in get_args(MediaType):
        if media_type == taken:
            return taken
    raise UnsupportedMediaType(f"{media_type or 'this'} cannot be read; text, Markdown and HTML can", param=param)


async def _parse_form(call: Call, raw: bytes) -> Mapping[str, str | tuple[str, str, bytes]]:
    """Fields by name: a text, or (file name, content type, content)."""

    async def stream() -> AsyncGenerator[bytes]:
        yield raw
        yield b""

    try:
        parser = MultiPartParser(RequestHeaders(scope=call.scope), stream(), max_files=1, max_fields=10)
        form = await parser.parse()
    except (MultiPartException, HTTPException, KeyError, ValueError) as error:
        raise BadRequest(f"the form is malformed: {getattr(error, 'message', error)}") from error
    try:
        fields: dict[str, str | tuple[str, str, bytes]] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                fields[name] = (value.filename or "", value.content_type or "", await value.read())
            else:
                fields[name] = value
        return fields
    finally:
        await form.close()


def decode_text(content: bytes, charset: str | None, *, param: str) -> str:
    """A stranger's bytes as text that can be stored. Raises Unprocessable if they or their charset cannot be read."""
    try:
        codec = codecs.lookup(charset or "utf-8").name
        if not _CHARSETS.fullmatch(codec):
            raise LookupError(codec)
        text = content.decode(codec).removeprefix("\ufeff")
    except (ValueError, LookupError):
        raise Unprocessable(f"the text is not {(charset or 'UTF-8')[:40]}", param=param) from None
    return check_text(text, param=param)


def page_title(text: str) -> str:
    """What an HTML page calls itself; "" if nothing near its beginning says so."""
    found = _HTML_TITLE.search(text[:100_000])
    return " ".join(unescape(found[1]).split())[:_TITLE_AT_MOST_CHARS] if found else ""


_BASE = "/api/v1/knowledge-bases/{knowledge_base_id}"
_DOCUMENT = _BASE + "/documents/{document_id}"
ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/knowledge-bases", handle=create_base, access=Access.TENANT,
        summary="Make a knowledge base to share between chatbots", tag="knowledge", status=201,
        request=KnowledgeBaseCreate, response=knowledge.KnowledgeBase, creates=True,
    ),
    Endpoint(
        method="GET", path="/api/v1/knowledge-bases", handle=list_bases, access=Access.TENANT,
        summary="List knowledge bases", tag="knowledge", response=Page,
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="GET", path=_BASE, handle=get_base, access=Access.TENANT, summary="Read a knowledge base",
        tag="knowledge", response=knowledge.KnowledgeBase,
    ),
    Endpoint(
        method="POST", path=_BASE + "/documents", handle=add, access=Access.TENANT,
        summary="Add a document: JSON with text or url, or a form with a file; it is indexed in the background",
        tag="knowledge", status=202, request=DocumentCreate, response=DocumentAccepted, creates=True,
    ),
    Endpoint(
        method="GET", path=_BASE + "/documents", handle=list_all, access=Access.TENANT, summary="List documents",
        tag="knowledge", response=Page,
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="GET", path=_DOCUMENT, handle=get, access=Access.TENANT,
        summary="A document's state: queued, indexing, indexed or failed", tag="knowledge",
    ),
    Endpoint(
        method="DELETE", path=_DOCUMENT, handle=delete, access=Access.TENANT,
        summary="Delete a document and its passages", tag="knowledge", status=204,
    ),
    Endpoint(
        method="GET", path=_BASE + "/search", handle=search, access=Access.TENANT, summary="Search, with scores",
        tag="knowledge", response=SearchReply, query=(("q", "what to look for"), ("k", "how many, 1 to 50, default 5")),
    ),
)  # fmt: skip
