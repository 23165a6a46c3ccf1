"""Knowledge bases: made, listed, shown, changed, deleted; which embedders there are; search with scores.

Documents are in `admin_documents.py`, crawls in `admin_crawls.py`.
"""

from dataclasses import asdict

import msgspec
from msgspec import UNSET

from chatwright.domain.errors import BadRequest, NotFound, PayloadTooLarge, Unprocessable
from chatwright.domain.ids import KnowledgeBaseId
from chatwright.entrypoints import admin_crawls, admin_documents
from chatwright.entrypoints.admin_crawls import base_of
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire import Page
from chatwright.entrypoints.wire_knowledge import (
    EmbeddersReply,
    KnowledgeBaseCreate,
    KnowledgeBaseDetail,
    KnowledgeBasePatch,
    KnowledgeBaseReply,
    SearchReply,
)
from chatwright.features import crawling, knowledge
from chatwright.features.knowledge import KnowledgeBase
from chatwright.pipeline import documents, submit
from chatwright.pipeline.embedding import choose_embedder, list_embedders
from chatwright.pipeline.reembed import change_embedder

_create = msgspec.json.Decoder(KnowledgeBaseCreate)
_patch = msgspec.json.Decoder(KnowledgeBasePatch)
_QUERY_AT_MOST_CHARS = 2_000


async def create_base(call: Call) -> Reply:
    """Make a knowledge base that several chatbots may share (a new chatbot gets one of its own anyway)."""
    scope = tenant_of(call).scope
    call.require_json()
    raw = await call.body()
    body = decode(_create, raw)

    async def work() -> Reply:
        choice = await choose_embedder(call.app, scope, body.embedder, dimension=body.dimension)
        async with call.app.db.transaction(scope) as db:
            base = await knowledge.create_knowledge_base(
                db, scope, body.name, embedder=choice.name, dimension=choice.dimension
            )
        return json_reply(_shown(base), status=201)

    return await once(call, scope, raw, work)


async def list_bases(call: Call) -> Reply:
    scope = tenant_of(call).scope
    after, limit = call.page()
    async with call.app.db.transaction(scope) as db:
        bases = await knowledge.list_knowledge_bases(
            db, scope, after=None if after is None else KnowledgeBaseId(after), limit=limit + 1
        )
    items = [msgspec.to_builtins(_shown(base)) for base in bases[:limit]]
    return json_reply(Page(items, bases[limit - 1].id if len(bases) > limit else None))


async def get_base(call: Call) -> Reply:
    """With its documents counted by state, and the crawls that are under way."""
    scope = tenant_of(call).scope
    knowledge_base_id = base_of(call)
    async with call.app.db.transaction(scope) as db:
        base = await knowledge.get_knowledge_base(db, scope, knowledge_base_id)
        if base is None:
            raise NotFound("no such knowledge base")
        counts = await knowledge.count_documents(db, scope, knowledge_base_id)
        crawls = await crawling.count_open_crawls(db, scope, knowledge_base_id)
        searched = await knowledge.search_state(db, base)
    documents = {state: counts.get(state, 0) for state in ("queued", "indexing", "indexed", "failed")}
    shown = msgspec.structs.asdict(_shown(base))
    return json_reply(KnowledgeBaseDetail(**shown, documents=documents, crawls=crawls, search=searched))


async def patch_base(call: Call) -> Reply:
    """Another name, another embedder. With the present embedder's name a change that is under way is given up."""
    scope = tenant_of(call).scope
    knowledge_base_id = base_of(call)
    body = await call.json(_patch)
    if body.dimension is not None and body.embedder is UNSET:
        raise Unprocessable("dimension goes with embedder", param="dimension")
    base = None
    if body.embedder is not UNSET:
        base = await change_embedder(call.app, scope, knowledge_base_id, body.embedder, dimension=body.dimension)
    async with call.app.db.transaction(scope) as db:
        if body.name is not UNSET:
            base = await knowledge.rename_knowledge_base(db, scope, knowledge_base_id, body.name)
        base = base or await knowledge.get_knowledge_base(db, scope, knowledge_base_id)
    if base is None:
        raise NotFound("no such knowledge base")
    return json_reply(_shown(base))


async def delete_base(call: Call) -> Reply:
    await documents.delete_base(call.app, tenant_of(call).scope, base_of(call))
    return Reply(204)


async def show_embedders(call: Call) -> Reply:
    views = await list_embedders(call.app, tenant_of(call).scope)
    return json_reply(EmbeddersReply([asdict(view) for view in views]))


async def search(call: Call) -> Reply:
    query = call.query("q")
    if not query or not query.strip():
        raise BadRequest("give the words to search for in q", param="q")
    if len(query) > _QUERY_AT_MOST_CHARS:
        raise PayloadTooLarge(f"q has at most {_QUERY_AT_MOST_CHARS:,} characters", param="q")
    k = call.query_int("k", 5, low=1, high=50)
    threshold = call.query_share("threshold", call.app.settings.relevance_threshold)
    hits = await submit.search_knowledge(call.app, tenant_of(call).scope, base_of(call), query, k, threshold=threshold)
    return json_reply(SearchReply([asdict(hit) for hit in hits], threshold))


def _shown(base: KnowledgeBase) -> KnowledgeBaseReply:
    return KnowledgeBaseReply(
        id=base.id,
        name=base.name,
        version=base.version,
        embedder=base.embedder,
        dimension=base.dimension,
        next_embedder=base.next_embedder,
        chunks=base.chunk_count,
        created_at=base.created_at.isoformat(),
    )


_BASES = "/api/v1/knowledge-bases"
_BASE = _BASES + "/{knowledge_base_id}"
ENDPOINTS = (
    Endpoint(
        method="POST", path=_BASES, handle=create_base, access=Access.TENANT,
        summary="Make a knowledge base to share between chatbots", tag="knowledge", status=201,
        request=KnowledgeBaseCreate, response=KnowledgeBaseReply, creates=True,
    ),
    Endpoint(
        method="GET", path=_BASES, handle=list_bases, access=Access.TENANT,
        summary="List knowledge bases", tag="knowledge", response=Page,
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="GET", path=_BASE, handle=get_base, access=Access.TENANT,
        summary="Read a knowledge base, its documents counted by state", tag="knowledge", response=KnowledgeBaseDetail,
    ),
    Endpoint(
        method="PATCH", path=_BASE, handle=patch_base, access=Access.TENANT,
        summary="Rename a knowledge base, or have it embedded again by another embedder", tag="knowledge",
        request=KnowledgeBasePatch, response=KnowledgeBaseReply,
    ),
    Endpoint(
        method="DELETE", path=_BASE, handle=delete_base, access=Access.TENANT,
        summary="Delete a knowledge base with its documents; chatbots that used it go on without", tag="knowledge",
        status=204,
    ),
    Endpoint(
        method="GET", path="/api/v1/embedders", handle=show_embedders, access=Access.TENANT,
        summary="Embedders that a knowledge base can have", tag="knowledge", response=EmbeddersReply,
    ),
    *admin_documents.ENDPOINTS,
    *admin_crawls.ENDPOINTS,
    Endpoint(
        method="GET", path=_BASE + "/search", handle=search, access=Access.TENANT, summary="Search, with scores",
        tag="knowledge", response=SearchReply,
        query=(
            ("q", "what to look for"), ("k", "how many, 1 to 50, default 5"),
            ("threshold", "0 to 1, in the place of the platform's: a chatbot's own"),
        ),
    ),
)  # fmt: skip
