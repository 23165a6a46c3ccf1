"""Whole sites come in: a sitemap's pages, or those that a page links to. One document per page, in legs.

A crawl is a row with a list of pages; each job is one leg of it, a minute long, and queues the next. A killed leg loses
the page that it was at, nothing else. One page of a site at a time, over all crawls of all tenants, with a pause after
each. A page that cannot be had is a failed document and the others go on. Called by the endpoints and `perform.py`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from chatwright.adapters.postgres import Connection
from chatwright.adapters.queue import route
from chatwright.adapters.valkey import translate
from chatwright.adapters.web import PageFailed, open_page
from chatwright.domain.errors import BadRequest, Conflict, LostLock, NotFound, RateLimited, Unavailable, Unprocessable
from chatwright.domain.ids import CrawlId, DocumentId, JobId, KnowledgeBaseId, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.scope import Scope
from chatwright.features import crawling, jobs, knowledge
from chatwright.features.crawling import Crawl, CrawlKind, CrawlPage, PageState, Robots
from chatwright.pipeline.documents import PRIORITY, Submitted, follow, put, put_failed
from chatwright.pipeline.enqueue import enqueue
from chatwright.pipeline.originals import discard
from chatwright.pipeline.pages import KeptOut, Visit, robots_of, visit_page, web_of
from chatwright.pipeline.services import Services

MOST_OPEN = 5
LEG_S = 45.0
"""Of work until the next job takes over: other tenants' batches get their turn, and a leg ends far within its queue's
time-out, waits for a busy site included."""
_LIST_S = 90.0
_SITEMAPS_AT_MOST = 200
_TURN_WAIT_S = 40.0
_POLL_S = 0.1
_WAIT_AT_MOST_S = 30.0
"""A site that asks for a longer pause gets it between two attempts of the job."""
_PAUSE_AT_MOST_S = 600.0
_ATTEMPTS_AT_MOST = 5
_TRIES = 3
_LINKS_BYTES = 2 * 1024 * 1024

Fetched = TypeVar("Fetched")

log = structlog.get_logger(__name__)


async def start_crawl(
    app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, kind: CrawlKind, url: str, max_pages: int | None
) -> Crawl:
    """Write down what is asked for and queue its first leg. Raises NotFound, and Unprocessable for an address that may
    not be visited or too many pages. Conflict while too many crawls of this base are open: each holds a worker's slot."""
    address = crawling.normalise_address(url)
    most = app.settings.crawl_max_pages
    if max_pages is not None and max_pages > most:
        raise Unprocessable(f"at most {most:,} pages; CHATWRIGHT_CRAWL_MAX_PAGES says so", param="max_pages")
    try:
        app.http.guard.check_url(address)
    except BadRequest as error:
        raise Unprocessable(error.message, param="url") from error
    async with app.db.transaction(scope) as db:
        if await crawling.count_open_crawls(db, scope, knowledge_base_id) >= MOST_OPEN:
            raise Conflict(f"{MOST_OPEN} crawls of this knowledge base are open; wait for one to end, or cancel one")
        crawl = await crawling.create_crawl(
            db, scope, knowledge_base_id, kind=kind, url=address, max_pages=max_pages or most
        )
        job_id = await _insert_leg(db, scope, crawl.id)
    await _queue_leg(app, scope, job_id)
    return crawl


async def cancel_crawl(app: Services, scope: Scope, crawl_id: CrawlId) -> None:
    """Stop a crawl before its next page; the documents it brought stay. Stopping an ended one changes nothing."""
    async with app.db.transaction(scope) as db:
        await crawling.finish_crawl(db, scope, crawl_id, "cancelled")


async def crawl_site(app: Services, job: Job, crawl_id: CrawlId) -> dict[str, Any]:
    """One leg. Returns the counts of pages by state; a crawl that was taken over or cancelled is left alone.

    Raises RateLimited when the site asks for a long pause, or another crawl is at it: the job goes on later.
    """
    scope = job.scope
    async with app.db.transaction(scope) as db:
        crawl = await crawling.take_up(db, scope, crawl_id)
    if crawl is None:
        return {"crawl_id": crawl_id, "state": "over"}
    try:
        await _Leg(app, job, crawl).run()
    except LostLock:
        return {"crawl_id": crawl_id, "state": "left"}
    except NotFound:  # the knowledge base was deleted meanwhile
        await cancel_crawl(app, scope, crawl_id)
        return {"crawl_id": crawl_id, "state": "cancelled"}
    except BadRequest as error:  # the site's own start: its sitemap or its robots.txt
        async with app.db.transaction(scope) as db:
            await crawling.finish_crawl(db, scope, crawl_id, "failed", error=error.message)
    async with app.db.transaction(scope) as db:
        now = await crawling.get_crawl(db, scope, crawl_id)
    if now is None:
        return {"crawl_id": crawl_id, "state": "gone"}
    return {"crawl_id": crawl_id, "state": now.state, "pages": now.pages}


class _Leg:
    """What one job does of a crawl."""

    def __init__(self, app: Services, job: Job, crawl: Crawl) -> None:
        self._app = app
        self._job = job
        self._scope = job.scope
        self._crawl = crawl
        self._robots: Robots = crawling.OPEN
        self._over_at = asyncio.get_running_loop().time() + LEG_S

    async def run(self) -> None:
        app, crawl = self._app, self._crawl
        if app.settings.robots_txt:
            self._robots = await self._patiently(crawl.url, self._ask_robots)
        if not crawl.is_listed:
            await self._list()
        while True:
            async with app.db.transaction(self._scope) as db:
                page = await crawling.next_page(db, self._scope, crawl)
                if page is None:
                    await crawling.finish_crawl(db, self._scope, crawl.id, "done")
                    return
            await self._visit(page)
            # Asked after a page: however slow the site is, each leg gets one further.
            if asyncio.get_running_loop().time() > self._over_at:
                break
        async with app.db.transaction(self._scope) as db:
            await crawling.hold(db, self._scope, crawl)
            job_id = await _insert_leg(db, self._scope, crawl.id)
        await _queue_leg(app, self._scope, job_id)

    async def _ask_robots(self) -> Robots:
        return await robots_of(self._app, self._crawl.url)

    # The list ----------------------------------------------------------------------------------------------------------

    async def _list(self) -> None:
        pages, is_cut = ([self._crawl.url], False) if self._crawl.kind == "site" else await self._read_sitemaps()
        async with self._app.db.transaction(self._scope) as db:
            await crawling.hold(db, self._scope, self._crawl)
            await crawling.add_pages(db, self._scope, self._crawl, pages)
            await crawling.mark_listed(db, self._scope, self._crawl, is_cut=is_cut)

    async def _read_sitemaps(self) -> tuple[list[str], bool]:
        """The pages of all sitemaps, in order. Raises BadRequest if the first one cannot be read."""
        crawl, over_at = self._crawl, asyncio.get_running_loop().time() + _LIST_S
        waiting = deque(self._first_sitemaps())
        seen, pages, is_cut, skipped = set(waiting), dict[str, None](), False, 0
        while waiting and len(pages) <= crawl.max_pages:
            try:
                found = await self._patiently(waiting[0], partial(self._read_sitemap, waiting.popleft()))
            except BadRequest as error:
                if not pages and not waiting:
                    raise
                skipped += 1
                log.info("crawl.sitemap_failed", crawl_id=crawl.id, error=error.message)
                continue
            is_cut = is_cut or found.is_cut
            pages.update(dict.fromkeys(address for address in map(self._own, found.pages) if address is not None))
            for address in map(self._own, found.sitemaps):
                if address is not None and address not in seen and len(seen) < _SITEMAPS_AT_MOST:
                    seen.add(address)
                    waiting.append(address)
            if asyncio.get_running_loop().time() > over_at:
                is_cut = True
                break
        if not pages:
            raise Unprocessable("the sitemap lists no page of its own host")
        return list(pages), is_cut or bool(waiting) or bool(skipped)

    def _first_sitemaps(self) -> list[str]:
        """The address itself; of a bare host what robots.txt names, else the usual place."""
        url = self._crawl.url
        if not url.endswith("/") or url.count("/") > 3:
            return [url]
        named = [address for address in map(self._own, self._robots.sitemaps) if address is not None]
        return named or [f"{url}sitemap.xml"]

    async def _read_sitemap(self, address: str) -> crawling.Sitemap:
        settings = self._app.settings
        async with open_page(
            web_of(self._app),
            address,
            max_bytes=min(settings.document_max_bytes, crawling.SITEMAP_AT_MOST_BYTES),
            timeout_s=settings.page_timeout_s,
            accept="application/xml, text/xml, application/gzip, text/plain;q=0.5, */*;q=0.1",
        ) as page:
            content = await page.read()
        return await asyncio.to_thread(crawling.read_sitemap, content, at_most=self._crawl.max_pages)

    def _own(self, address: str) -> str | None:
        """An address of this site, normalised; None for any other, and for what cannot be read."""
        try:
            normal = crawling.normalise_address(address)
        except Unprocessable:
            return None
        return normal if crawling.is_same_site(normal, self._crawl.url) else None

    # One page ----------------------------------------------------------------------------------------------------------

    async def _visit(self, page: CrawlPage) -> None:
        app, scope, crawl = self._app, self._scope, self._crawl
        if not self._robots.allows(page.url):
            return await self._leave_out(page, "skipped", "the site's robots.txt asks not to visit this page")
        known = None
        if crawl.kind == "sitemap":  # a site is followed by its links: they have to be seen
            async with app.db.transaction(scope) as db:
                known = (await knowledge.list_by_source(db, scope, crawl.knowledge_base_id, [page.url])).get(page.url)

        async def fetch() -> Visit:
            return await visit_page(
                app,
                scope,
                crawl.knowledge_base_id,
                page.url,
                robots=self._robots,
                known=known,
                head_bytes=_LINKS_BYTES,
            )

        try:
            visit = await self._patiently(page.url, fetch)
        except KeptOut as error:
            return await self._leave_out(page, "skipped", error.message)
        except BadRequest as error:
            return await self._leave_out(page, "failed", error.message)
        if visit.new is None:
            assert known is not None
            return await self._leave_out(page, "unchanged", None, document_id=known.id)
        reason = await self._reason_to_skip(visit)
        if reason is not None:
            await discard(app, visit.new.original_key)
            return await self._leave_out(page, "skipped", reason)
        return await self._take(page, visit)

    async def _take(self, page: CrawlPage, visit: Visit) -> None:
        """One transaction: the document with its job, the pages it leads to, and that this one is done."""
        app, scope, crawl = self._app, self._scope, self._crawl
        assert visit.new is not None
        links: list[str] = []
        if crawl.kind == "site" and "html" in visit.new.media_type:
            html = visit.head.decode("utf-8", "ignore")
            found = await asyncio.to_thread(crawling.links_of, html, visit.address)
            links = [link for link in found if crawling.is_same_site(link, crawl.url)]
        try:
            async with app.db.transaction(scope) as db:
                await crawling.hold(db, scope, crawl)
                submitted: Submitted = await put(db, scope, crawl.knowledge_base_id, visit.new)
                await crawling.add_pages(db, scope, crawl, links)
                await crawling.mark_page(db, scope, crawl, page, submitted.outcome, document_id=submitted.document.id)
        except BaseException:
            await discard(app, visit.new.original_key)
            raise
        await follow(app, scope, submitted)

    async def _reason_to_skip(self, visit: Visit) -> str | None:
        assert visit.new is not None
        if not crawling.is_same_site(visit.address, self._crawl.url):
            return f"the page leads to another site, {crawling.site_of(visit.address)}"
        if not visit.is_indexable:
            return "the page asks not to be kept (noindex)"
        if "html" in visit.new.media_type:
            head = visit.head.decode("utf-8", "ignore")
            if not await asyncio.to_thread(crawling.is_index_wanted, head):
                return "the page asks not to be kept (noindex)"
        return None

    async def _leave_out(
        self, page: CrawlPage, state: PageState, reason: str | None, *, document_id: DocumentId | None = None
    ) -> None:
        """Write down why no document was made; of a page that failed there is one that says so."""
        scope, crawl = self._scope, self._crawl
        async with self._app.db.transaction(scope) as db:
            await crawling.hold(db, scope, crawl)
            if state == "failed":
                document_id = await put_failed(db, scope, crawl.knowledge_base_id, page.url, reason or "")
            await crawling.mark_page(db, scope, crawl, page, state, error=reason, document_id=document_id)

    # Patience -----------------------------------------------------------------------------------------------------------

    async def _patiently(self, address: str, fetch: Callable[[], Awaitable[Fetched]]) -> Fetched:
        """Fetch in the site's turn; a site that is busy or away for a moment is asked again, after the pause that it
        asks for. Raises what the last try raised, RateLimited for a pause that is too long for a leg."""
        pause_s = max(self._app.settings.crawl_delay_s, self._robots.delay_s)
        for tries in range(1, _TRIES + 1):
            async with self._turn(address) as pause:
                pause.s = pause_s
                try:
                    return await fetch()
                except PageFailed as error:
                    if not error.passes or tries == _TRIES:
                        raise
                    wait_s = error.retry_after_s if error.retry_after_s is not None else 2.0**tries
                    pause.s = max(pause_s, min(wait_s, _PAUSE_AT_MOST_S))
                    if wait_s > _WAIT_AT_MOST_S:
                        if self._job.attempt >= _ATTEMPTS_AT_MOST:
                            raise
                        raise RateLimited(
                            f"the site asks for a pause of {pause.s:g} s", retry_after_s=pause.s
                        ) from error
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def _turn(self, address: str) -> AsyncGenerator["_Pause"]:
        """One request to a site at a time, whoever makes it; others wait for the pause after it as well."""
        key, token = f"cw:web:{crawling.site_of(address)}", new_id().encode()
        hold_ms = int((self._app.settings.page_timeout_s + 5) * 1000)
        give_up_at = asyncio.get_running_loop().time() + _TURN_WAIT_S + self._robots.delay_s
        while True:
            with translate():
                if await self._app.valkey.set(key, token, nx=True, px=hold_ms):
                    break
            if asyncio.get_running_loop().time() > give_up_at:
                raise RateLimited("the site is being visited by another crawl", retry_after_s=5.0)
            await asyncio.sleep(_POLL_S)
        pause = _Pause()
        try:
            yield pause
        finally:
            with suppress(Unavailable), translate():  # the key ends by itself
                if await self._app.valkey.get(key) == token:
                    await self._app.valkey.pexpire(key, max(1, int(pause.s * 1000)))


class _Pause:
    """How long the site is left alone after a request, in seconds."""

    __slots__ = ("s",)

    def __init__(self) -> None:
        self.s = 0.0


async def _insert_leg(db: Connection, scope: Scope, crawl_id: CrawlId) -> JobId:
    job_id = JobId(new_id())
    await jobs.insert_job(
        db,
        scope,
        job_id=job_id,
        job_type=JobType.SITE_CRAWL,
        queue=route(JobType.SITE_CRAWL, PRIORITY),
        priority=PRIORITY,
        payload={"crawl_id": crawl_id},
    )
    return job_id


async def _queue_leg(app: Services, scope: Scope, job_id: JobId) -> None:
    await enqueue(
        app,
        scope,
        job_id=job_id,
        job_type=JobType.SITE_CRAWL,
        queue=route(JobType.SITE_CRAWL, PRIORITY),
        priority=PRIORITY,
        generation=1,
    )
