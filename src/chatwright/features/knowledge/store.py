"""SQL over knowledge bases and documents; their chunks stand in `chunk_store`. Functions never commit.

Every change of what a search may find raises the knowledge base's version in the same transaction: caches key on it.
A base that is being deleted is unknown to every function here; the sweeper takes it apart (`upkeep_store`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import NotFound
from chatwright.domain.ids import DocumentId, KnowledgeBaseId, is_id, new_id
from chatwright.domain.scope import Scope
from chatwright.features.knowledge.chunk_store import remove_chunks

DocumentState = Literal["queued", "indexing", "indexed", "failed"]
DocumentSource = Literal["text", "upload", "url"]

BASE_COLUMNS = """id, name, version, embedder, dimension, next_embedder, next_dimension, chunk_count, total_terms,
    created_at"""
_DOCUMENT_COLUMNS = """id, knowledge_base_id, title, is_titled, url, media_type, content_hash, state, error, chunk_count, source,
    source_key, original_key, size_bytes, etag, last_modified, language, pages, warnings, chunks_done, chunks_total,
    created_at, updated_at"""

INSERT_KNOWLEDGE_BASE = f"""
INSERT INTO knowledge_bases (id, tenant_id, name, embedder, dimension) VALUES ($1, $2, $3, $4, $5)
RETURNING {BASE_COLUMNS}
"""

GET_KNOWLEDGE_BASE = f"""
SELECT {BASE_COLUMNS} FROM knowledge_bases WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
"""

LIST_KNOWLEDGE_BASES = f"""
SELECT {BASE_COLUMNS} FROM knowledge_bases
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id > $2) AND deleted_at IS NULL ORDER BY id LIMIT $3
"""

RENAME_KNOWLEDGE_BASE = f"""
UPDATE knowledge_bases SET name = $3 WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING {BASE_COLUMNS}
"""

DELETE_KNOWLEDGE_BASE = """
-- Gone at once for everybody; its rows go in small steps, however many there are.
UPDATE knowledge_bases SET deleted_at = now(), version = version + 1
 WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING id
"""

LEAVE_KNOWLEDGE_BASE = """
UPDATE chatbots SET knowledge_base_id = NULL WHERE tenant_id = $1 AND knowledge_base_id = $2
"""

INSERT_DOCUMENT = f"""
-- No row if the knowledge base is unknown to this tenant, or has a document of this source key.
INSERT INTO documents (id, tenant_id, knowledge_base_id, title, is_titled, url, media_type, text, content_hash, source,
                       source_key, original_key, size_bytes, etag, last_modified)
SELECT $1, $2, base.id, $4, $4 <> '', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
  FROM knowledge_bases AS base WHERE base.tenant_id = $2 AND base.id = $3 AND base.deleted_at IS NULL
    ON CONFLICT (tenant_id, knowledge_base_id, md5(source_key)) WHERE source_key IS NOT NULL DO NOTHING
RETURNING {_DOCUMENT_COLUMNS}
"""

LOCK_BY_SOURCE = f"""
SELECT {_DOCUMENT_COLUMNS} FROM documents
 WHERE tenant_id = $1 AND knowledge_base_id = $2 AND md5(source_key) = md5($3) AND source_key = $3 FOR UPDATE
"""

REPLACE_DOCUMENT = f"""
-- Its chunks answer on, under its title, until those of the new content are swapped in.
UPDATE documents SET title = coalesce(nullif($3, ''), title), is_titled = $3 <> '', url = $4, media_type = $5,
                     text = $6, content_hash = $7, source = $8, original_key = $9, size_bytes = $10, etag = $11,
                     last_modified = $12, state = 'queued', error = NULL, chunks_done = 0, chunks_total = NULL,
                     warnings = '{{}}', updated_at = now()
 WHERE tenant_id = $1 AND id = $2
RETURNING {_DOCUMENT_COLUMNS}
"""

NOTE_FETCHED = f"""
UPDATE documents SET etag = $3, last_modified = $4 WHERE tenant_id = $1 AND id = $2 RETURNING {_DOCUMENT_COLUMNS}
"""

GET_DOCUMENT = f"SELECT {_DOCUMENT_COLUMNS} FROM documents WHERE tenant_id = $1 AND id = $2"

GET_DOCUMENT_TEXT = f"SELECT {_DOCUMENT_COLUMNS}, text, index_hash FROM documents WHERE tenant_id = $1 AND id = $2"

LIST_BY_SOURCE = f"""
SELECT {_DOCUMENT_COLUMNS} FROM documents
 WHERE tenant_id = $1 AND knowledge_base_id = $2 AND md5(source_key) = ANY(SELECT md5(k) FROM unnest($3::text[]) AS k)
"""

LIST_DOCUMENTS = f"""
SELECT {_DOCUMENT_COLUMNS} FROM documents
 WHERE tenant_id = $1 AND knowledge_base_id = $2 AND ($3::uuid IS NULL OR id > $3) AND ($5::text IS NULL OR state = $5)
 ORDER BY id LIMIT $4
"""

COUNT_DOCUMENTS = """
SELECT state, count(*) AS documents FROM documents WHERE tenant_id = $1 AND knowledge_base_id = $2 GROUP BY state
"""

DELETE_DOCUMENT = f"DELETE FROM documents WHERE tenant_id = $1 AND id = $2 RETURNING {_DOCUMENT_COLUMNS}"

SET_DOCUMENT_STATE = f"""
-- $5 only while its content is the one the caller worked on; NULL whatever it is.
UPDATE documents SET state = $3, error = $4, updated_at = now()
 WHERE tenant_id = $1 AND id = $2 AND ($5::bytea IS NULL OR content_hash = $5)
RETURNING {_DOCUMENT_COLUMNS}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeBase:
    """`version` rises with every change of content. `next_embedder` is set while a re-embedding is under way.

    `chunk_count` and `total_terms` are sums over its chunks.
    """

    id: KnowledgeBaseId
    name: str
    version: int
    embedder: str
    dimension: int
    next_embedder: str | None
    next_dimension: int | None
    chunk_count: int
    total_terms: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document without its text. `error` says why it is failed (or waits), else None. `is_titled`: its owner gave the
    title, else it is the document's own.

    `content_hash` is of its text, or of its original's bytes where `original_key` names one in the object store.
    `source_key` is the path or address it came from: adding that again replaces it. `chunks_done` of `chunks_total`
    have vectors; `chunks_total` is None until the document was read. `chunk_count` is what answers now.
    """

    id: DocumentId
    knowledge_base_id: KnowledgeBaseId
    title: str
    is_titled: bool
    url: str | None
    media_type: str
    content_hash: bytes
    state: DocumentState
    error: str | None
    chunk_count: int
    source: DocumentSource
    source_key: str | None
    original_key: str | None
    size_bytes: int
    etag: str | None
    last_modified: str | None
    language: str | None
    pages: int | None
    warnings: list[str]
    chunks_done: int
    chunks_total: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """What `put_document` stores: a `text` (cleaned), or the key of an original with the SHA-256 of its bytes.

    `title` may be empty where the document itself will say it.
    """

    title: str
    media_type: str
    text: str = ""
    content_hash: bytes | None = None
    """None: of `text`."""
    size_bytes: int | None = None
    """None: of `text`."""
    original_key: str | None = None
    source: DocumentSource = "text"
    source_key: str | None = None
    url: str | None = None
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """What became of a document that was put. `unused_original` is the key of an object that nothing names any more:
    delete it after the commit."""

    document: Document
    outcome: Literal["created", "replaced", "unchanged"]
    unused_original: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentText:
    """A document with what its index is made of. `text` is empty where there is an original; `index_hash` is None
    until it was indexed."""

    document: Document
    text: str
    index_hash: bytes | None


def content_hash(text: str) -> bytes:
    """SHA-256 of a document's text: equal texts need no indexing anew."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


# --- knowledge bases --------------------------------------------------------------------------------------------------


async def create_knowledge_base(
    db: Connection, scope: Scope, name: str, *, embedder: str, dimension: int
) -> KnowledgeBase:
    row = await db.fetchrow(INSERT_KNOWLEDGE_BASE, new_id(), scope.tenant_id, name, embedder, dimension)
    assert row is not None
    return KnowledgeBase(**row)


async def get_knowledge_base(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> KnowledgeBase | None:
    if not is_id(knowledge_base_id):
        return None
    row = await db.fetchrow(GET_KNOWLEDGE_BASE, scope.tenant_id, knowledge_base_id)
    return KnowledgeBase(**row) if row else None


async def list_knowledge_bases(
    db: Connection, scope: Scope, *, limit: int = 100, after: KnowledgeBaseId | None = None
) -> list[KnowledgeBase]:
    """Oldest first, those behind `after`."""
    return [KnowledgeBase(**row) for row in await db.fetch(LIST_KNOWLEDGE_BASES, scope.tenant_id, after, limit)]


async def rename_knowledge_base(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, name: str
) -> KnowledgeBase | None:
    """None if unknown."""
    if not is_id(knowledge_base_id):
        return None
    row = await db.fetchrow(RENAME_KNOWLEDGE_BASE, scope.tenant_id, knowledge_base_id, name)
    return KnowledgeBase(**row) if row else None


async def delete_knowledge_base(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> bool:
    """Delete it with its documents; chatbots that used it go on without. False if unknown. Its rows and originals are
    removed by the sweeper, soon after."""
    if not is_id(knowledge_base_id):
        return False
    if await db.fetchval(DELETE_KNOWLEDGE_BASE, scope.tenant_id, knowledge_base_id) is None:
        return False
    await db.execute(LEAVE_KNOWLEDGE_BASE, scope.tenant_id, knowledge_base_id)
    return True


# --- documents --------------------------------------------------------------------------------------------------------


async def put_document(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, new: NewDocument) -> Put:
    """Store a document in state `queued`; one of the same source key is replaced, or left alone if it is the same.

    The caller queues an index job for every outcome but `unchanged`. Raises NotFound for an unknown base.
    """
    if not is_id(knowledge_base_id):
        raise NotFound("no such knowledge base")
    hashed = new.content_hash or content_hash(new.text)
    size_bytes = len(new.text.encode("utf-8", "replace")) if new.size_bytes is None else new.size_bytes
    content = (new.title, new.url, new.media_type, new.text, hashed, new.source)
    rest = (new.original_key, size_bytes, new.etag, new.last_modified)
    row = await db.fetchrow(
        INSERT_DOCUMENT, new_id(), scope.tenant_id, knowledge_base_id, *content, new.source_key, *rest
    )
    if row is not None:
        return Put(document=Document(**row), outcome="created")
    stored = None
    if new.source_key is not None:
        stored = await db.fetchrow(LOCK_BY_SOURCE, scope.tenant_id, knowledge_base_id, new.source_key)
    if stored is None:
        raise NotFound("no such knowledge base")
    if _is_same(stored, new, hashed):
        if (new.etag, new.last_modified) != (stored["etag"], stored["last_modified"]):
            row = await db.fetchrow(NOTE_FETCHED, scope.tenant_id, stored["id"], new.etag, new.last_modified)
            stored = row or stored
        return Put(document=Document(**stored), outcome="unchanged", unused_original=new.original_key)
    row = await db.fetchrow(REPLACE_DOCUMENT, scope.tenant_id, stored["id"], *content, *rest)
    assert row is not None
    return Put(document=Document(**row), outcome="replaced", unused_original=stored["original_key"])


def _is_same(stored: Mapping[str, Any], new: NewDocument, hashed: bytes) -> bool:
    """Whether putting `new` would change nothing. A failed document is tried again."""
    return (
        stored["state"] != "failed"
        and (stored["content_hash"], stored["url"], stored["media_type"]) == (hashed, new.url, new.media_type)
        and new.title in ("", stored["title"])
    )


async def create_document(
    db: Connection,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    *,
    title: str,
    text: str,
    url: str | None = None,
    media_type: str = "text/plain",
) -> Document:
    """Store a text of no known source, always as a new document. Raises NotFound for an unknown base."""
    new = NewDocument(title=title, text=text, url=url, media_type=media_type)
    return (await put_document(db, scope, knowledge_base_id, new)).document


async def get_document(db: Connection, scope: Scope, document_id: DocumentId) -> Document | None:
    if not is_id(document_id):
        return None
    row = await db.fetchrow(GET_DOCUMENT, scope.tenant_id, document_id)
    return Document(**row) if row else None


async def get_document_text(db: Connection, scope: Scope, document_id: DocumentId) -> DocumentText | None:
    """A document together with its text; None if unknown."""
    if not is_id(document_id):
        return None
    row = await db.fetchrow(GET_DOCUMENT_TEXT, scope.tenant_id, document_id)
    if row is None:
        return None
    values = dict(row)
    text, index_hash = values.pop("text"), values.pop("index_hash")
    return DocumentText(document=Document(**values), text=text, index_hash=index_hash)


async def list_by_source(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, source_keys: Sequence[str]
) -> dict[str, Document]:
    """The documents of a base that came from these paths or addresses, by source key."""
    if not is_id(knowledge_base_id):
        return {}
    rows = await db.fetch(LIST_BY_SOURCE, scope.tenant_id, knowledge_base_id, list(source_keys))
    return {row["source_key"]: Document(**row) for row in rows}


async def list_documents(
    db: Connection,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    *,
    limit: int = 100,
    after: DocumentId | None = None,
    state: DocumentState | None = None,
) -> list[Document]:
    """Oldest first, those behind `after`; empty for an unknown knowledge base."""
    if not is_id(knowledge_base_id):
        return []
    rows = await db.fetch(LIST_DOCUMENTS, scope.tenant_id, knowledge_base_id, after, limit, state)
    return [Document(**row) for row in rows]


async def count_documents(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> dict[DocumentState, int]:
    """How many documents of a base are in each state; states of no document are left out."""
    if not is_id(knowledge_base_id):
        return {}
    rows = await db.fetch(COUNT_DOCUMENTS, scope.tenant_id, knowledge_base_id)
    return {row["state"]: row["documents"] for row in rows}


async def delete_document(db: Connection, scope: Scope, document_id: DocumentId) -> Document | None:
    """Delete a document with all that hangs on it, and raise the knowledge's version; its original is the caller's to
    delete after the commit. Returns what it was, None if unknown."""
    if not is_id(document_id) or not await remove_chunks(db, scope, document_id):
        return None
    row = await db.fetchrow(DELETE_DOCUMENT, scope.tenant_id, document_id)
    return Document(**row) if row else None


async def set_document_state(
    db: Connection,
    scope: Scope,
    document_id: DocumentId,
    state: DocumentState,
    *,
    error: str | None = None,
    content_hash: bytes | None = None,
) -> Document | None:
    """None if unknown, or of another content than `content_hash` where that is given. A swap sets `indexed`."""
    row = await db.fetchrow(SET_DOCUMENT_STATE, scope.tenant_id, document_id, state, error, content_hash)
    return Document(**row) if row else None
