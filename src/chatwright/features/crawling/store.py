"""SQL over crawls and their pages. Functions never commit; the caller's transaction decides.

Whoever works on a crawl holds its `leg`, a fencing token: a worker whose lock was lost, and a crawl that was cancelled
meanwhile, change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import LostLock, NotFound
from chatwright.domain.ids import CrawlId, DocumentId, KnowledgeBaseId, is_id, new_id
from chatwright.domain.scope import Scope

CrawlKind = Literal["sitemap", "site"]
CrawlState = Literal["queued", "running", "done", "failed", "cancelled"]
PageState = Literal["waiting", "added", "replaced", "unchanged", "skipped", "failed"]
KEPT_PER_BASE = 20
"""Finished crawls of a knowledge base that stay to be looked at."""

_COLUMNS = "id, knowledge_base_id, kind, url, max_pages, state, error, is_listed, is_cut, leg, created_at, finished_at"

INSERT_CRAWL = f"""
-- No row if the knowledge base is unknown to this tenant.
INSERT INTO crawls (id, tenant_id, knowledge_base_id, kind, url, max_pages)
SELECT $1, $2, base.id, $4, $5, $6 FROM knowledge_bases AS base
 WHERE base.tenant_id = $2 AND base.id = $3 AND base.deleted_at IS NULL
RETURNING {_COLUMNS}
"""

TRIM_CRAWLS = """
DELETE FROM crawls WHERE tenant_id = $1 AND knowledge_base_id = $2 AND finished_at IS NOT NULL
   AND id <= (SELECT id FROM crawls WHERE tenant_id = $1 AND knowledge_base_id = $2
               ORDER BY id DESC OFFSET $3::bigint LIMIT 1)
"""

GET_CRAWL = f"SELECT {_COLUMNS} FROM crawls WHERE tenant_id = $1 AND id = $2"

LIST_CRAWLS = f"""
SELECT {_COLUMNS} FROM crawls
 WHERE tenant_id = $1 AND knowledge_base_id = $2 AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4
"""

COUNT_OPEN_CRAWLS = """
SELECT count(*) FROM crawls WHERE tenant_id = $1 AND knowledge_base_id = $2 AND state IN ('queued', 'running')
"""

COUNT_PAGES = """
SELECT crawl_id, state, count(*) AS pages FROM crawl_pages WHERE tenant_id = $1 AND crawl_id = ANY($2::uuid[])
 GROUP BY crawl_id, state
"""

TAKE_UP = f"""
UPDATE crawls SET state = 'running', leg = leg + 1
 WHERE tenant_id = $1 AND id = $2 AND state IN ('queued', 'running')
RETURNING {_COLUMNS}
"""

HOLD = """
SELECT leg FROM crawls WHERE tenant_id = $1 AND id = $2 AND leg = $3 AND state = 'running' FOR UPDATE
"""

MARK_LISTED = "UPDATE crawls SET is_listed = true, is_cut = is_cut OR $3 WHERE tenant_id = $1 AND id = $2"

MARK_CUT = "UPDATE crawls SET is_cut = true WHERE tenant_id = $1 AND id = $2 AND NOT is_cut"

COUNT_ALL_PAGES = "SELECT count(*) FROM crawl_pages WHERE tenant_id = $1 AND crawl_id = $2"

FRESH = """
SELECT given.url FROM unnest($3::text[]) WITH ORDINALITY AS given (url, place)
 WHERE NOT EXISTS (SELECT FROM crawl_pages AS known
                    WHERE known.tenant_id = $1 AND known.crawl_id = $2 AND known.url = given.url)
 ORDER BY place
"""

INSERT_PAGES = """
-- $3 how many there are: ordinals have no gaps.
INSERT INTO crawl_pages (tenant_id, crawl_id, ordinal, url)
SELECT $1, $2, $3::integer + given.place, given.url FROM unnest($4::text[]) WITH ORDINALITY AS given (url, place)
"""

NEXT_PAGE = """
SELECT ordinal, url, state, error, document_id, visited_at FROM crawl_pages
 WHERE tenant_id = $1 AND crawl_id = $2 AND state = 'waiting' ORDER BY ordinal LIMIT 1
"""

MARK_PAGE = """
UPDATE crawl_pages SET state = $4, error = $5, document_id = $6, visited_at = now()
 WHERE tenant_id = $1 AND crawl_id = $2 AND ordinal = $3
"""

LIST_PAGES = """
SELECT ordinal, url, state, error, document_id, visited_at FROM crawl_pages
 WHERE tenant_id = $1 AND crawl_id = $2 AND ordinal > $3 AND ($4::text IS NULL OR state = $4) ORDER BY ordinal LIMIT $5
"""

FINISH = """
UPDATE crawls SET state = $3, error = $4, finished_at = now()
 WHERE tenant_id = $1 AND id = $2 AND state IN ('queued', 'running')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawl:
    """`pages` counts its pages by state; empty where it was not asked for."""

    id: CrawlId
    knowledge_base_id: KnowledgeBaseId
    kind: CrawlKind
    url: str
    max_pages: int
    state: CrawlState
    error: str | None
    is_listed: bool
    is_cut: bool
    leg: int
    created_at: datetime
    finished_at: datetime | None
    pages: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlPage:
    """`error` says why a page was skipped or failed."""

    ordinal: int
    url: str
    state: PageState
    error: str | None
    document_id: DocumentId | None
    visited_at: datetime | None


async def create_crawl(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, kind: CrawlKind, url: str, max_pages: int
) -> Crawl:
    """Write a crawl in state `queued`; the caller queues its job. Old finished ones go. Raises NotFound."""
    if not is_id(knowledge_base_id):
        raise NotFound("no such knowledge base")
    row = await db.fetchrow(INSERT_CRAWL, new_id(), scope.tenant_id, knowledge_base_id, kind, url, max_pages)
    if row is None:
        raise NotFound("no such knowledge base")
    await db.execute(TRIM_CRAWLS, scope.tenant_id, knowledge_base_id, KEPT_PER_BASE)
    return Crawl(**row)


async def get_crawl(db: Connection, scope: Scope, crawl_id: CrawlId) -> Crawl | None:
    """With its pages counted; None if unknown."""
    if not is_id(crawl_id):
        return None
    row = await db.fetchrow(GET_CRAWL, scope.tenant_id, crawl_id)
    if row is None:
        return None
    return Crawl(**row, pages=(await _count(db, scope, [crawl_id])).get(crawl_id, {}))


async def list_crawls(
    db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, limit: int, before: CrawlId | None = None
) -> list[Crawl]:
    """Newest first, those older than `before`, with their pages counted."""
    rows = await db.fetch(LIST_CRAWLS, scope.tenant_id, knowledge_base_id, before, limit)
    counts = await _count(db, scope, [row["id"] for row in rows])
    return [Crawl(**row, pages=counts.get(row["id"], {})) for row in rows]


async def count_open_crawls(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> int:
    """How many are queued or running."""
    return int(await db.fetchval(COUNT_OPEN_CRAWLS, scope.tenant_id, knowledge_base_id))


async def take_up(db: Connection, scope: Scope, crawl_id: CrawlId) -> Crawl | None:
    """Begin a leg; whoever held the crawl before does no longer. None: it is unknown, finished or cancelled."""
    row = await db.fetchrow(TAKE_UP, scope.tenant_id, crawl_id)
    return Crawl(**row) if row else None


async def hold(db: Connection, scope: Scope, crawl: Crawl) -> None:
    """Keep the crawl to this transaction. Raises LostLock if another leg has begun, or it was cancelled."""
    if await db.fetchval(HOLD, scope.tenant_id, crawl.id, crawl.leg) is None:
        raise LostLock("the crawl was taken over or cancelled")


async def add_pages(db: Connection, scope: Scope, crawl: Crawl, urls: Sequence[str]) -> None:
    """Put new addresses at the end of the list, up to `max_pages` in all. Call it while the crawl is held."""
    if not urls:
        return
    known = int(await db.fetchval(COUNT_ALL_PAGES, scope.tenant_id, crawl.id))
    fresh = await db.fetch(FRESH, scope.tenant_id, crawl.id, list(dict.fromkeys(urls)))
    room = max(0, crawl.max_pages - known)
    if len(fresh) > room:
        await db.execute(MARK_CUT, scope.tenant_id, crawl.id)
    await db.execute(INSERT_PAGES, scope.tenant_id, crawl.id, known, [row["url"] for row in fresh[:room]])


async def mark_listed(db: Connection, scope: Scope, crawl: Crawl, *, is_cut: bool) -> None:
    await db.execute(MARK_LISTED, scope.tenant_id, crawl.id, is_cut)


async def next_page(db: Connection, scope: Scope, crawl: Crawl) -> CrawlPage | None:
    """The first page that nobody has visited; None when all are done."""
    row = await db.fetchrow(NEXT_PAGE, scope.tenant_id, crawl.id)
    return CrawlPage(**row) if row else None


async def mark_page(
    db: Connection,
    scope: Scope,
    crawl: Crawl,
    page: CrawlPage,
    state: PageState,
    *,
    error: str | None = None,
    document_id: DocumentId | None = None,
) -> None:
    """Write down what became of a page. Call it while the crawl is held."""
    await db.execute(MARK_PAGE, scope.tenant_id, crawl.id, page.ordinal, state, error, document_id)


async def list_pages(
    db: Connection, scope: Scope, crawl_id: CrawlId, *, after: int, limit: int, state: PageState | None = None
) -> list[CrawlPage]:
    """In the order in which they were found, those behind the ordinal `after`."""
    rows = await db.fetch(LIST_PAGES, scope.tenant_id, crawl_id, after, state, limit)
    return [CrawlPage(**row) for row in rows]


async def finish_crawl(
    db: Connection, scope: Scope, crawl_id: CrawlId, state: CrawlState, *, error: str | None = None
) -> bool:
    """End a crawl as `done`, `failed` or `cancelled`. False: it had ended already."""
    return (await db.execute(FINISH, scope.tenant_id, crawl_id, state, error)).endswith(" 1")


async def _count(db: Connection, scope: Scope, crawl_ids: Sequence[Any]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for row in await db.fetch(COUNT_PAGES, scope.tenant_id, list(crawl_ids)) if crawl_ids else ():
        counts.setdefault(row["crawl_id"], {})[row["state"]] = row["pages"]
    return counts
