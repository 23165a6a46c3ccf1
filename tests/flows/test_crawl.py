"""Sites come in, page by page: politely, resumably, whatever single pages do. Over real HTTP, with workers."""

import asyncio
import gzip
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiohttp import web

from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.errors import LostLock
from chatwright.domain.ids import CrawlId, KnowledgeBaseId, TenantId
from chatwright.domain.scope import Scope
from chatwright.features import crawling
from chatwright.pipeline import crawl as crawls
from chatwright.pipeline.services import Services
from tests.flows.conftest import running_worker
from tests.flows.knowledge_support import Client, Site, client_of, redirect, run_api, run_site
from tests.flows.test_chat_pipeline import rows

OpenShop = Callable[..., AbstractAsyncContextManager[Services]]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with run_site() as running:
        yield running


@pytest.fixture
def open_shop_app(database_url: str, valkey_url: str, site: Site, tmp_path: Path) -> OpenShop:
    def opener(*, crawl_delay_s: float = 0.0, crawl_max_pages: int = 50) -> AbstractAsyncContextManager[Services]:
        settings = Settings(
            data_dir=tmp_path,
            document_max_mib=2,
            allowed_addresses=(f"127.0.0.1:{site.port}",),
            crawl_delay_s=crawl_delay_s,
            crawl_max_pages=crawl_max_pages,
            page_timeout_s=20.0,
        )
        return open_services(settings, Addresses(database_url=database_url, redis_url=valkey_url))

    return opener


@pytest.fixture
async def shop_app(open_shop_app: OpenShop) -> AsyncIterator[Services]:
    async with open_shop_app() as services:
        yield services


@pytest.fixture
async def idle(shop_app: Services) -> AsyncIterator[Client]:
    """A tenant without a worker."""
    async with run_api(shop_app) as (url, session):
        yield await client_of(shop_app, session, url, name="Shop")


@pytest.fixture
async def client(idle: Client, shop_app: Services, valkey_url: str) -> AsyncIterator[Client]:
    async with running_worker(shop_app, valkey_url):
        yield idle


def page(title: str, *links: str) -> str:
    inside = "".join(f'<a href="{link}">{link}</a> ' for link in links)
    return f"<html><head><title>{title}</title></head><body><h1>{title}</h1><p>All about {title} and its price.</p>{inside}</body></html>"


def sitemap_of(site: Site, *paths: str) -> bytes:
    inside = "".join(f"<url><loc>{path if '://' in path else site.url + path}</loc></url>" for path in paths)
    return (
        f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inside}</urlset>'.encode()
    )


async def pages_of(client: Client, crawl_id: str) -> dict[str, dict[str, str]]:
    items = (await client.call("GET", f"/crawls/{crawl_id}/pages", params={"limit": 200})).body["items"]
    return {"/" + entry["url"].split("/", 3)[3]: entry for entry in items}


async def test_a_sitemaps_pages_become_documents_and_bad_ones_stand_alone(client: Client, site: Site) -> None:
    site.pages["/robots.txt"] = "User-agent: *\nDisallow: /closed\n"
    site.pages["/a"] = page("Alpha")
    site.pages["/b"] = page("Beta")
    site.pages["/inside"] = redirect("http://169.254.169.254/latest/meta-data")
    site.pages["/moved"] = redirect("/b")
    site.pages["/away"] = redirect(f"http://localhost:{site.port}/a")
    site.pages["/large"] = b"x" * (3 * 1024 * 1024)
    site.pages["/secret"] = '<meta name="robots" content="noindex"><p>Not to be kept.</p>'
    site.pages["/headed"] = page("Headed")
    site.headers["/headed"] = {"x-robots-tag": "noindex, nofollow"}
    paths = ("/a", "/inside", "/closed/x", "/gone", "/moved", "/away", "/large", "/secret", "/headed", "/b", "/a#again",
             "https://other.example/x", "/logo.png")  # fmt: skip
    site.pages["/sitemap.xml"] = sitemap_of(site, *paths)
    started = await client.call("POST", "/documents", json={"sitemap": f"{site.url}/sitemap.xml"})
    assert (started.status, started.body["kind"], started.body["state"]) == (202, "sitemap", "queued"), started.body
    crawl = await client.crawled(started.body["id"])
    assert crawl["state"] == "done", crawl
    pages = await pages_of(client, crawl["id"])
    assert {path: entry["state"] for path, entry in pages.items()} == {
        "/a": "added",
        "/inside": "failed",
        "/closed/x": "skipped",
        "/gone": "failed",
        "/moved": "added",
        "/away": "failed",
        "/large": "failed",
        "/secret": "skipped",
        "/headed": "skipped",
        "/b": "unchanged",
        "/logo.png": "failed",
    }
    assert "redirects to an address that may not be visited" in pages["/inside"]["error"]
    assert "robots.txt" in pages["/closed/x"]["error"]
    assert "404" in pages["/gone"]["error"]
    assert "/closed/x" not in site.asked
    assert crawl["pages"] == {"added": 2, "failed": 5, "skipped": 3, "unchanged": 1}

    failed = await client.settled(pages["/inside"]["document_id"])
    assert (failed["state"], "may not be visited" in failed["error"], failed["url"]) == (
        "failed",
        True,
        f"{site.url}/inside",
    )
    alpha = await client.settled(pages["/a"]["document_id"])
    assert (alpha["state"], alpha["title"]) == ("indexed", "Alpha")
    assert site.most_at_once == 1
    filtered = (await client.call("GET", f"/crawls/{crawl['id']}/pages", params={"state": "added"})).body["items"]
    assert [entry["url"] for entry in filtered] == [f"{site.url}/a", f"{site.url}/moved"]
    listed = (await client.call("GET", "/crawls")).body["items"]
    assert [entry["id"] for entry in listed] == [crawl["id"]]

    site.pages["/a"] = page("Alpha the second")
    again = await client.crawled(
        (await client.call("POST", "/documents", json={"sitemap": f"{site.url}/sitemap.xml"})).body["id"]
    )
    assert again["pages"] == {"replaced": 1, "unchanged": 2, "failed": 5, "skipped": 3}


async def test_indexes_and_packed_sitemaps_and_the_usual_places(client: Client, site: Site) -> None:
    for name in "abcd":
        site.pages[f"/{name}"] = page(name)
    site.pages["/index.xml"] = (
        f"<sitemapindex><sitemap><loc>{site.url}/one.xml.gz</loc></sitemap>"
        f"<sitemap><loc>{site.url}/gone.xml</loc></sitemap><sitemap><loc>{site.url}/two.xml</loc></sitemap>"
        f"<sitemap><loc>{site.url}/index.xml</loc></sitemap><sitemap><loc>http://10.0.0.1/x.xml</loc></sitemap></sitemapindex>"
    )
    site.pages["/one.xml.gz"] = gzip.compress(sitemap_of(site, "/a", "/b"))
    site.pages["/two.xml"] = sitemap_of(site, "/b", "/c")
    crawl = await client.crawled(
        (await client.call("POST", "/documents", json={"sitemap": f"{site.url}/index.xml"})).body["id"]
    )
    assert (crawl["state"], crawl["is_cut"]) == ("done", True), "one of the sitemaps could not be read"
    assert sorted(await pages_of(client, crawl["id"])) == ["/a", "/b", "/c"]

    site.pages["/robots.txt"] = f"Sitemap: {site.url}/named.xml\nUser-agent: x\nDisallow: /\n"
    site.pages["/named.xml"] = sitemap_of(site, "/d")
    crawl = await client.crawled((await client.call("POST", "/documents", json={"sitemap": site.url})).body["id"])
    assert sorted(await pages_of(client, crawl["id"])) == ["/d"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html><body>no sitemap</body></html>", "no sitemap"),
        (gzip.compress(b"<urlset>" + b" " * (60 * 1024 * 1024)), "larger than 50 MiB"),
        (b'<!DOCTYPE u [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>', "entities"),
        (b"x" * (3 * 1024 * 1024), "larger than"),
        (b"<urlset><url><loc>https://other.example/</loc></url></urlset>", "no page of its own host"),
        (404, "404"),
        (redirect("http://10.0.0.1/sitemap.xml"), "may not be visited"),
    ],
)
async def test_a_sitemap_that_cannot_be_read_ends_the_crawl_with_the_reason(
    client: Client, site: Site, content: bytes | int, words: str
) -> None:
    site.pages["/sitemap.xml"] = content
    crawl = await client.crawled(
        (await client.call("POST", "/documents", json={"sitemap": f"{site.url}/sitemap.xml"})).body["id"]
    )
    assert crawl["state"] == "failed"
    assert words in crawl["error"]


async def test_a_site_is_followed_by_its_links(client: Client, site: Site) -> None:
    site.pages["/"] = page("Home", "/a", "b?x=1#part", "/logo.png", "https://other.example/", "/a", "mailto:x@y")
    site.pages["/a"] = page("Alpha", "/", "/deep/c")
    site.pages["/b?x=1"] = page("Beta", "/a")
    site.pages["/deep/c"] = page("Gamma", "../a", "d")
    site.pages["/deep/d"] = page("Delta")
    started = await client.call("POST", "/documents", json={"url": site.url, "follow": True, "max_pages": 4})
    crawl = await client.crawled(started.body["id"])
    assert (crawl["state"], crawl["kind"], crawl["is_cut"]) == ("done", "site", True)
    assert list(await pages_of(client, crawl["id"])) == ["/", "/a", "/b?x=1", "/deep/c"]
    again = await client.crawled(
        (await client.call("POST", "/documents", json={"url": site.url, "follow": True})).body["id"]
    )
    assert (again["is_cut"], again["pages"]) == (False, {"unchanged": 4, "added": 1}), (
        "links are seen although nothing changed"
    )


async def test_a_busy_site_gets_the_pause_that_it_asks_for(client: Client, site: Site) -> None:
    turns: list[float] = []

    async def busy(request: web.Request) -> web.StreamResponse:
        del request
        turns.append(time.monotonic())
        if len(turns) == 1:
            return web.Response(status=429, headers={"retry-after": "1"})
        return web.Response(text=page("Busy"), content_type="text/html")

    site.pages["/busy"] = busy
    site.pages["/s.xml"] = sitemap_of(site, "/busy")
    crawl = await client.crawled(
        (await client.call("POST", "/documents", json={"sitemap": f"{site.url}/s.xml"})).body["id"]
    )
    assert crawl["pages"] == {"added": 1}
    assert turns[1] - turns[0] >= 0.9


async def test_a_long_pause_sends_the_job_back_to_the_queue(client: Client, site: Site, shop_app: Services) -> None:
    site.pages["/busy"], site.headers["/busy"] = 503, {"retry-after": "300"}
    site.pages["/s.xml"] = sitemap_of(site, "/busy")
    await client.call("POST", "/documents", json={"sitemap": f"{site.url}/s.xml"})
    async with asyncio.timeout(20):
        while True:
            async with shop_app.db.operator() as db:
                row = await db.fetchrow(
                    "SELECT state, failures, run_after - now() AS wait FROM jobs WHERE type = 'site_crawl'"
                )
            if row is not None and row["state"] == "queued" and row["wait"].total_seconds() > 5:
                break
            await asyncio.sleep(0.05)
    assert row["failures"] == 0
    assert 200 < row["wait"].total_seconds() <= 300


async def test_a_site_is_visited_by_one_crawl_at_a_time_with_pauses(
    open_shop_app: OpenShop, site: Site, valkey_url: str
) -> None:
    starts: list[float] = []

    async def slow(request: web.Request) -> web.StreamResponse:
        starts.append(time.monotonic())
        await asyncio.sleep(0.05)
        return web.Response(text=page(request.path), content_type="text/html")

    paths = [f"/{place}" for place in range(4)]
    site.pages.update(dict.fromkeys(paths, slow))
    site.pages["/s.xml"] = sitemap_of(site, *paths)
    async with open_shop_app(crawl_delay_s=0.2) as app, run_api(app) as (url, session), running_worker(app, valkey_url):
        clients = [await client_of(app, session, url, name=name) for name in ("one", "two")]
        made = [
            (await one.call("POST", "/documents", json={"sitemap": f"{site.url}/s.xml"})).body["id"] for one in clients
        ]
        ended = await asyncio.gather(*(one.crawled(crawl) for one, crawl in zip(clients, made, strict=True)))
    assert [crawl["pages"] for crawl in ended] == [{"added": 4}, {"added": 4}]
    assert site.most_at_once == 1
    assert min(later - earlier for earlier, later in itertools.pairwise(starts)) >= 0.2


async def test_a_crawl_goes_on_in_legs_and_after_a_lost_worker(
    idle: Client, site: Site, shop_app: Services, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at = asyncio.Event()

    async def last(request: web.Request) -> web.StreamResponse:
        del request
        if not stop_at.is_set():
            stop_at.set()
            await asyncio.sleep(60)
        return web.Response(text=page("Last"), content_type="text/html")

    site.pages.update({f"/{place}": page(f"Page {place}") for place in range(5)})
    site.pages["/stuck"] = last
    site.pages["/s.xml"] = sitemap_of(site, "/0", "/1", "/2", "/stuck", "/3", "/4")
    monkeypatch.setattr(crawls, "LEG_S", 0.0001)  # a leg per page
    crawl_id = (await idle.call("POST", "/documents", json={"sitemap": f"{site.url}/s.xml"})).body["id"]
    async with running_worker(shop_app, valkey_url):
        async with asyncio.timeout(30):
            await stop_at.wait()
    shown = (await idle.call("GET", f"/crawls/{crawl_id}")).body
    assert shown["pages"]["waiting"] >= 3
    async with running_worker(shop_app, valkey_url):
        crawl = await idle.crawled(crawl_id)
    assert (crawl["state"], crawl["pages"]) == ("done", {"added": 6})
    assert [site.asked.count(f"/{place}") for place in range(5)] == [1] * 5, (
        "nothing is fetched twice but the page at hand"
    )


async def test_a_cancelled_crawl_ends_before_its_next_page(client: Client, site: Site) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        del request
        reached.set()
        await go_on.wait()
        return web.Response(text=page("Slow"), content_type="text/html")

    site.pages["/slow"], site.pages["/next"] = slow, page("Next")
    site.pages["/s.xml"] = sitemap_of(site, "/slow", "/next")
    crawl_id = (await client.call("POST", "/documents", json={"sitemap": f"{site.url}/s.xml"})).body["id"]
    async with asyncio.timeout(20):
        await reached.wait()
    assert (await client.call("DELETE", f"/crawls/{crawl_id}")).status == 204
    go_on.set()
    crawl = await client.crawled(crawl_id)
    assert (crawl["state"], crawl["pages"]) == ("cancelled", {"waiting": 2})
    await asyncio.sleep(0.3)
    assert "/next" not in site.asked
    assert (await client.call("GET", "/documents")).body["items"] == []


async def test_a_crawl_ends_when_its_knowledge_base_is_deleted(
    client: Client, site: Site, shop_app: Services, superuser_url: str
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        del request
        reached.set()
        await go_on.wait()
        return web.Response(text=page("Slow"), content_type="text/html")

    site.pages["/slow"] = slow
    site.pages["/s.xml"] = sitemap_of(site, "/slow", "/next")
    await client.call("POST", "/documents", json={"sitemap": f"{site.url}/s.xml"})
    async with asyncio.timeout(20):
        await reached.wait()
    assert (await client.call("DELETE", "")).status == 204
    go_on.set()
    async with asyncio.timeout(20):
        while True:
            (job,) = await rows(superuser_url, "SELECT state, result->>'state' AS ended FROM jobs")
            if job["state"] == "done":
                break
            await asyncio.sleep(0.05)
    assert job["ended"] == "cancelled"
    assert [file for batch in [one async for one in shop_app.files.list()] for file in batch] == []


async def test_an_older_leg_changes_nothing_any_more(idle: Client, site: Site, shop_app: Services) -> None:
    """A worker that lost its lock may wake up late: whoever took the crawl up after it goes on alone."""
    crawl_id = CrawlId((await idle.call("POST", "/documents", json={"sitemap": f"{site.url}/s.xml"})).body["id"])
    async with shop_app.db.operator() as db:
        tenant = await db.fetchval("SELECT tenant_id FROM jobs WHERE type = 'site_crawl'")
    scope = Scope(tenant_id=TenantId(tenant))
    async with shop_app.db.transaction(scope) as db:
        older = await crawling.take_up(db, scope, crawl_id)
        newer = await crawling.take_up(db, scope, crawl_id)
        assert older is not None
        assert newer is not None
        await crawling.hold(db, scope, newer)
        with pytest.raises(LostLock):
            await crawling.hold(db, scope, older)
        assert newer.knowledge_base_id == KnowledgeBaseId(idle.base)


async def test_only_a_few_crawls_of_a_base_are_open_at_once(idle: Client, site: Site) -> None:
    """Each holds a worker's slot: a thousand asked for at once must not leave the others none."""
    ids = []
    for number in range(crawls.MOST_OPEN):
        reply = await idle.call("POST", "/documents", json={"sitemap": f"{site.url}/{number}.xml"})
        assert reply.status == 202
        ids.append(reply.body["id"])
    refused = await idle.call("POST", "/documents", json={"sitemap": f"{site.url}/more.xml"})
    assert (refused.status, refused.body["error"]["code"]) == (409, "conflict")
    assert (await idle.call("DELETE", f"/crawls/{ids[0]}")).status == 204
    assert (await idle.call("POST", "/documents", json={"sitemap": f"{site.url}/more.xml"})).status == 202
