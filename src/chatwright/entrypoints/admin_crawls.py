"""Crawls of a knowledge base: how far each is, what became of its pages, stopping one."""

from typing import Any, cast, get_args

import msgspec

from chatwright.domain.errors import BadRequest, NotFound
from chatwright.domain.ids import CrawlId, KnowledgeBaseId, is_id
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.wire import Page
from chatwright.entrypoints.wire_knowledge import CrawlAccepted, CrawlReply
from chatwright.features import crawling, knowledge
from chatwright.features.crawling import Crawl, PageState
from chatwright.pipeline import crawl as crawls

_LAST_ORDINAL = 10**9


async def list_all(call: Call) -> Reply:
    """Newest first."""
    scope = tenant_of(call).scope
    knowledge_base_id = base_of(call)
    before, limit = call.page()
    async with call.app.db.transaction(scope) as db:
        if await knowledge.get_knowledge_base(db, scope, knowledge_base_id) is None:
            raise NotFound("no such knowledge base")
        found = await crawling.list_crawls(
            db, scope, knowledge_base_id, limit=limit + 1, before=None if before is None else CrawlId(before)
        )
    items = [msgspec.to_builtins(_shown(one)) for one in found[:limit]]
    return json_reply(Page(items, found[limit - 1].id if len(found) > limit else None))


async def get(call: Call) -> Reply:
    return json_reply(_shown(await _crawl_of(call)))


async def list_pages(call: Call) -> Reply:
    """What became of each page, in the order in which they were found; `cursor` is the ordinal of the last one seen."""
    crawl = await _crawl_of(call)
    scope = tenant_of(call).scope
    after = call.query_int("cursor", 0, low=0, high=_LAST_ORDINAL)
    limit = call.query_int("limit", 50, low=1, high=200)
    state = call.query("state")
    if state is not None and state not in get_args(PageState):
        raise BadRequest(f"a state is one of {', '.join(get_args(PageState))}", param="state")
    async with call.app.db.transaction(scope) as db:
        found = await crawling.list_pages(
            db, scope, crawl.id, after=after, limit=limit + 1, state=cast("PageState | None", state)
        )
    items: list[dict[str, Any]] = [msgspec.to_builtins(page) for page in found[:limit]]
    return json_reply(Page(items, str(found[limit - 1].ordinal) if len(found) > limit else None))


async def cancel(call: Call) -> Reply:
    crawl = await _crawl_of(call)
    await crawls.cancel_crawl(call.app, tenant_of(call).scope, crawl.id)
    return Reply(204)


def accepted(crawl: Crawl) -> CrawlAccepted:
    return CrawlAccepted(crawl.id, crawl.state, crawl.kind, crawl.url, crawl.max_pages)


def base_of(call: Call) -> KnowledgeBaseId:
    """The knowledge base that the path names. Raises NotFound for what is no id."""
    text = call.params["knowledge_base_id"]
    if not is_id(text):
        raise NotFound("no such knowledge base")
    return KnowledgeBaseId(text)


async def _crawl_of(call: Call) -> Crawl:
    scope = tenant_of(call).scope
    knowledge_base_id = base_of(call)
    async with call.app.db.transaction(scope) as db:
        crawl = await crawling.get_crawl(db, scope, CrawlId(call.params["crawl_id"]))
    if crawl is None or crawl.knowledge_base_id != knowledge_base_id:
        raise NotFound("no such crawl")
    return crawl


def _shown(crawl: Crawl) -> CrawlReply:
    return CrawlReply(
        id=crawl.id,
        knowledge_base_id=crawl.knowledge_base_id,
        kind=crawl.kind,
        url=crawl.url,
        max_pages=crawl.max_pages,
        state=crawl.state,
        error=crawl.error,
        is_cut=crawl.is_cut,
        pages=crawl.pages,
        created_at=crawl.created_at.isoformat(),
        finished_at=crawl.finished_at.isoformat() if crawl.finished_at else None,
    )


_CRAWLS = "/api/v1/knowledge-bases/{knowledge_base_id}/crawls"
_CRAWL = _CRAWLS + "/{crawl_id}"
_PAGE = (("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50"))
ENDPOINTS = (
    Endpoint(
        method="GET", path=_CRAWLS, handle=list_all, access=Access.TENANT, summary="List crawls, newest first",
        tag="knowledge", response=Page, query=_PAGE,
    ),
    Endpoint(
        method="GET", path=_CRAWL, handle=get, access=Access.TENANT, summary="How far a crawl is", tag="knowledge",
        response=CrawlReply,
    ),
    Endpoint(
        method="GET", path=_CRAWL + "/pages", handle=list_pages, access=Access.TENANT,
        summary="What became of each page", tag="knowledge", response=Page,
        query=(*_PAGE, ("state", "only those waiting, added, replaced, unchanged, skipped or failed")),
    ),
    Endpoint(
        method="DELETE", path=_CRAWL, handle=cancel, access=Access.TENANT,
        summary="Stop a crawl; the documents it brought stay", tag="knowledge", status=204,
    ),
)  # fmt: skip
