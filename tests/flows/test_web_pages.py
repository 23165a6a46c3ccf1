"""One page of the web: guarded, bounded, streamed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from chatwright.adapters.providers.address_guard import AddressGuard
from chatwright.adapters.providers.http import open_http
from chatwright.adapters.web import PageFailed, Web, open_page
from chatwright.domain.errors import BadRequest, PayloadTooLarge
from tests.flows.knowledge_support import Site, redirect, run_site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with run_site() as running:
        yield running


async def names(host: str, port: int) -> list[str]:
    del port
    return ["127.0.0.1"] if host != "example.com" else ["93.184.216.34"]


@pytest.fixture
async def visitor(site: Site) -> AsyncIterator[Web]:
    guard = AddressGuard([f"127.0.0.1:{site.port}"], lookup=names)
    async with open_http(guard=guard) as http:
        yield Web(session=http.guarded, check_url=http.guard.check_url, user_agent="chatwright-test/1")


async def read(visitor: Web, url: str, **fields: object) -> bytes:
    arguments: dict[str, object] = {"max_bytes": 1_000_000, "timeout_s": 5.0, **fields}
    async with open_page(visitor, url, **arguments) as page:  # type: ignore[arg-type]
        return await page.read()


async def test_a_page_with_what_it_says_of_itself(site: Site, visitor: Web) -> None:
    site.pages["/a"] = b"body"
    site.headers["/a"] = {"content-type": 'text/HTML; charset="Shift_JIS"', "etag": '"1"', "last-modified": "then"}
    site.pages["/to"] = redirect("/a#part")
    async with open_page(visitor, f"{site.url}/to", max_bytes=10, timeout_s=5) as page:
        assert (page.url, page.media_type, page.charset) == (f"{site.url}/a", "text/html", "shift_jis")
        assert (page.etag, page.last_modified, page.is_unchanged) == ('"1"', "then", False)
        assert await page.read() == b"body"
    async with open_page(visitor, f"{site.url}/a", max_bytes=10, timeout_s=5, etag='"1"') as page:
        assert page.is_unchanged
    assert site.agents == {"chatwright-test/1"}


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://localhost/", "http://127.0.0.1:1/",
     "file:///etc/passwd", "http://user:word@example.com/", "http://[::1]/"],
)  # fmt: skip
async def test_a_redirect_to_a_private_address_is_refused(site: Site, visitor: Web, target: str) -> None:
    site.pages["/to"] = redirect(target)
    with pytest.raises(BadRequest, match="redirects to an address that may not be visited"):
        await read(visitor, f"{site.url}/to")
    with pytest.raises(BadRequest):
        await read(visitor, target)


async def test_a_name_that_leads_inside_is_refused_when_it_is_resolved(site: Site, visitor: Web) -> None:
    """The name looks harmless; its address is asked for at the moment of the connection, and nothing else is used."""
    with pytest.raises(BadRequest, match="CHATWRIGHT_ALLOWED_ADDRESSES"):
        await read(visitor, "http://rebound.example/")
    site.pages["/to"] = redirect("http://rebound.example/")
    with pytest.raises(BadRequest, match="redirects to an address"):
        await read(visitor, f"{site.url}/to")


async def test_sizes_are_bounded_before_and_while_reading(site: Site, visitor: Web) -> None:
    site.pages["/said"] = b"x" * 2_000

    async def unsaid(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 1_000)
        return response

    site.pages["/unsaid"] = unsaid
    for path in ("/said", "/unsaid"):
        with pytest.raises(PayloadTooLarge):
            await read(visitor, site.url + path, max_bytes=1_999)
    assert len(await read(visitor, f"{site.url}/said", max_bytes=2_000)) == 2_000


async def test_a_body_that_never_ends_and_one_that_breaks_off(site: Site, visitor: Web) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.05)

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.abort()
        return response

    site.pages.update({"/drip": drip, "/cut": cut})
    with pytest.raises(PageFailed, match="within"):
        await read(visitor, f"{site.url}/drip", timeout_s=0.4)
    with pytest.raises(PageFailed) as broken:
        await read(visitor, f"{site.url}/cut")
    assert broken.value.passes


async def test_statuses_and_what_follows_from_them(site: Site, visitor: Web) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    cases = [(404, {}, False, None), (403, {}, False, None), (500, {}, True, None), (503, {"retry-after": "7"}, True, 7.0),
             (429, {"retry-after": at}, True, 60.0), (429, {"retry-after": "soon"}, True, None)]  # fmt: skip
    for status, headers, passes, wait_s in cases:
        site.pages["/x"], site.headers["/x"] = status, headers
        with pytest.raises(PageFailed, match=str(status)) as failed:
            await read(visitor, f"{site.url}/x")
        assert (failed.value.answered, failed.value.passes) == (status, passes)
        assert failed.value.retry_after_s == pytest.approx(wait_s, abs=2)
    site.pages["/loop"] = redirect("/loop")
    site.asked.clear()
    with pytest.raises(PageFailed, match="redirects"):
        await read(visitor, f"{site.url}/loop")
    assert len(site.asked) == 6
    site.pages["/304"] = 304
    with pytest.raises(PageFailed, match="304"):
        await read(visitor, f"{site.url}/304")
