"""Documents come in over REST as text, files and pages, and go out again: over real HTTP, with a worker beside."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.pipeline.services import Services
from tests.flows.conftest import running_worker
from tests.flows.knowledge_support import Client, Site, client_of, redirect, run_api, run_site

GUIDE = "# Returns\n\nGoods can be returned within thirty days of the purchase.\n"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with run_site() as running:
        yield running


@pytest.fixture
async def other_site() -> AsyncIterator[Site]:
    async with run_site() as running:
        yield running


@pytest.fixture
async def shop_app(
    database_url: str, valkey_url: str, site: Site, other_site: Site, tmp_path: Path
) -> AsyncIterator[Services]:
    settings = Settings(
        data_dir=tmp_path,
        document_max_mib=2,
        allowed_addresses=(f"127.0.0.1:{site.port}", f"127.0.0.1:{other_site.port}"),
        crawl_delay_s=0.0,
        page_timeout_s=5.0,
    )
    async with open_services(settings, Addresses(database_url=database_url, redis_url=valkey_url)) as services:
        yield services


@pytest.fixture
async def client(shop_app: Services, valkey_url: str) -> AsyncIterator[Client]:
    async with run_api(shop_app, body_timeout_s=5.0) as (url, session), running_worker(shop_app, valkey_url):
        yield await client_of(shop_app, session, url, name="Shop")


def form_of(*files: tuple[str, bytes], **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in fields.items():
        form.add_field(name, value)
    for name, content in files:
        form.add_field("file", content, filename=name, content_type="application/octet-stream")
    return form


async def originals(app: Services) -> list[str]:
    return [file.key async for page in app.files.list() for file in page]


async def test_a_text_is_added_replaced_and_unchanged_by_its_source_key(client: Client) -> None:
    body = {"title": "Returns", "text": GUIDE, "source_key": "returns"}
    added = await client.call("POST", "/documents", json=body)
    assert (added.status, added.body["outcome"], added.body["source_key"]) == (202, "added", "returns")
    document = await client.settled(added.body["id"])
    assert (document["state"], document["chunks"] > 0) == ("indexed", True)

    same = await client.call("POST", "/documents", json=body)
    assert (same.body["outcome"], same.body["id"], same.body["state"]) == ("unchanged", added.body["id"], "indexed")
    other = await client.call("POST", "/documents", json={**body, "text": GUIDE.replace("thirty", "sixty")})
    assert (other.body["outcome"], other.body["id"]) == ("replaced", added.body["id"])
    await client.settled(other.body["id"])
    found = (await client.call("GET", "/search", params={"q": "How long can goods be returned?"})).body["results"]
    assert "sixty days" in found[0]["text"]
    assert len((await client.call("GET", "/documents")).body["items"]) == 1
    twice = [await client.call("POST", "/documents", json={"text": "No key at all."}) for _ in range(2)]
    assert twice[0].body["id"] != twice[1].body["id"], "a text of no source stands for itself"


async def test_a_file_is_streamed_in_and_cut_into_passages(client: Client, shop_app: Services) -> None:
    added = await client.call("POST", "/documents", data=form_of(("returns.md", GUIDE.encode())))
    assert added.status == 202, added.body
    document = await client.settled(added.body["id"])
    assert document["state"] == "indexed", document
    assert (document["source"], document["source_key"], document["title"]) == ("upload", None, "Returns")
    assert document["size_bytes"] == len(GUIDE)
    passages = (await client.call("GET", f"/documents/{document['id']}/chunks")).body["items"]
    assert "thirty days" in "".join(passage["text"] for passage in passages)
    assert [passage["ordinal"] for passage in passages] == list(range(len(passages)))

    same = await client.call("POST", "/documents", data=form_of(("returns.md", GUIDE.encode())))
    assert (same.body["outcome"], same.body["id"]) == ("unchanged", document["id"])
    assert len(await originals(shop_app)) == 1, "the second copy is not kept"

    keyed = await client.call("POST", "/documents", data=form_of(("a.md", b"# A\n\nOne."), source_key="shop/a.md"))
    newer = await client.call("POST", "/documents", data=form_of(("b.md", b"# A\n\nTwo."), source_key="shop/a.md"))
    assert (keyed.body["outcome"], newer.body["outcome"]) == ("added", "replaced")
    assert keyed.body["id"] == newer.body["id"]
    assert len(await originals(shop_app)) == 2

    assert (await client.call("DELETE", f"/documents/{document['id']}")).status == 204
    assert (await client.call("DELETE", f"/documents/{document['id']}")).status == 404
    assert len(await originals(shop_app)) == 1


async def test_several_files_of_one_form_are_told_one_by_one(client: Client, shop_app: Services) -> None:
    files = form_of(("a.md", b"# A\n\nAlpha."), ("empty.md", b""), ("b.txt", "Beta, ö.".encode()))
    added = await client.call("POST", "/documents", data=files)
    assert added.status == 202
    results = {entry["name"]: entry for entry in added.body["results"]}
    assert results["a.md"]["outcome"] == results["b.txt"]["outcome"] == "added"
    assert (results["empty.md"]["state"], results["empty.md"]["error"]["code"]) == ("failed", "unprocessable")
    assert (await client.settled(results["b.txt"]["id"]))["state"] == "indexed"
    only = await client.call("POST", "/documents", data=form_of(("empty.md", b"")))
    assert (only.status, only.body["error"]["param"]) == (422, "file")
    none = await client.call("POST", "/documents", data=form_of(title="x"))
    assert none.status in (400, 415, 422)
    assert len(await originals(shop_app)) == 2


async def test_a_form_with_an_idempotency_key_is_one_addition(client: Client, shop_app: Services) -> None:
    headers = {"idempotency-key": uuid.uuid4().hex}
    first = await client.call("POST", "/documents", data=form_of(("a.md", b"# A\n\nAlpha.")), headers=headers)
    again = await client.call("POST", "/documents", data=form_of(("a.md", b"# A\n\nAlpha.")), headers=headers)
    assert again.body == first.body, "the same reply although the boundary is another"
    assert again.headers["idempotency-replayed"] == "true"
    other = await client.call("POST", "/documents", data=form_of(("a.md", b"# A\n\nBeta.")), headers=headers)
    assert other.status == 409
    assert len(await originals(shop_app)) == 1


@pytest.mark.parametrize("says_its_length", [True, False])
async def test_a_file_that_is_too_large_is_refused_while_it_comes_in(
    client: Client, shop_app: Services, says_its_length: bool
) -> None:
    size, step = 64 * 1024 * 1024, 256 * 1024
    boundary = "b" * 30
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'.encode()

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(size // step):
            yield b"x" * step
        yield f"\r\n--{boundary}--\r\n".encode()

    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    if says_its_length:
        headers["content-length"] = str(len(head) + size + len(boundary) + 8)
    before = psutil.Process().memory_info().rss
    refused = await client.call("POST", "/documents", data=body(), headers=headers)
    assert (refused.status, refused.body["error"]["code"]) == (413, "payload_too_large")
    assert psutil.Process().memory_info().rss - before < 60 * 1024 * 1024
    assert await originals(shop_app) == []
    assert (await client.call("GET", "/documents")).body["items"] == []


@asynccontextmanager
async def raw_upload(client: Client, body: bytes, *, length: int) -> AsyncGenerator[asyncio.StreamReader]:
    host, _, port = client.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /api/v1/knowledge-bases/{client.base}/documents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.key}\r\n"
        f"content-type: multipart/form-data; boundary=bound\r\ncontent-length: {length}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()


async def test_an_upload_that_stops_leaves_nothing(client: Client, shop_app: Services) -> None:
    begun = b'--bound\r\ncontent-disposition: form-data; name="file"; filename="a.md"\r\n\r\n# A\n\nAlpha'
    async with raw_upload(client, begun, length=1000):
        await asyncio.sleep(0.2)  # and hangs up
    async with raw_upload(client, begun + b"\r\n--bound--\r\n", length=len(begun) + 13) as reader:
        assert (await reader.readline()).split()[1] == b"202"
    async with raw_upload(client, begun, length=len(begun)) as reader:
        assert (await reader.readline()).split()[1] == b"400"
    assert len(await originals(shop_app)) == 1
    assert len((await client.call("GET", "/documents")).body["items"]) == 1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b"nothing of the kind"),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"x" * 20_000),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nno headers\r\n--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 300, b"x"),
        ("multipart/form-data; boundary=b", b'--b\r\ncontent-disposition: form-data; name="file"; filename="\0"\r\n\r\nx\r\n--b--\r\n'),
        ("multipart/form-data; boundary=b", b'--b\r\ncontent-disposition: form-data; name="title"\r\n\r\n\xff\r\n--b--\r\n'),
        ("multipart/form-data; boundary=b", b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n' + b"x" * 70_000 + b"\r\n--b--\r\n"),
    ],
)  # fmt: skip
async def test_a_malformed_form_is_refused(client: Client, content_type: str, body: bytes) -> None:
    refused = await client.call("POST", "/documents", data=body, headers={"content-type": content_type})
    assert 400 <= refused.status < 500, refused.body
    assert refused.body["error"]["message"]


async def test_a_page_is_read_and_read_again_only_when_it_has_changed(
    client: Client, site: Site, shop_app: Services
) -> None:
    site.pages["/returns"] = (
        "<html><head><title>Our returns</title></head><body><h1>Returns</h1><p>Goods can be returned within thirty days.</p></body></html>"
    )
    site.headers["/returns"] = {"etag": '"1"'}
    site.pages["/old"] = redirect("/returns?utm_source=mail#top")
    added = await client.call("POST", "/documents", json={"url": f"{site.url}/returns"})
    assert (added.status, added.body.get("outcome")) == (202, "added"), added.body
    document = await client.settled(added.body["id"])
    assert (document["state"], document["title"]) == ("indexed", "Our returns"), document
    assert document["url"] == document["source_key"] == f"{site.url}/returns"
    assert site.agents == {"chatwright"}

    again = await client.call("POST", "/documents", json={"url": f"{site.url}/returns#part"})
    assert (again.body["outcome"], again.body["id"]) == ("unchanged", document["id"])
    site.headers["/returns"] = {"etag": '"2"'}
    again = await client.call("POST", "/documents", json={"url": f"{site.url}/returns"})
    assert (again.body["outcome"], again.body["id"]) == ("unchanged", document["id"]), "the same words under a new mark"
    site.pages["/returns?utm_source=mail"] = site.pages["/returns"]
    by_redirect = await client.call("POST", "/documents", json={"url": f"{site.url}/old"})
    assert (by_redirect.body["outcome"], by_redirect.body["id"]) == ("unchanged", document["id"])
    site.pages["/returns"] = "<h1>Returns</h1><p>Goods can be returned within ninety days.</p>"
    site.headers["/returns"] = {"etag": '"3"'}
    changed = await client.call("POST", "/documents", json={"url": f"{site.url}/returns"})
    assert (changed.body["outcome"], changed.body["id"]) == ("replaced", document["id"])
    await client.settled(document["id"])
    assert len(await originals(shop_app)) == 1


async def test_a_page_in_another_charset(client: Client, site: Site) -> None:
    site.pages["/ja"] = "<html><body><h1>返品</h1><p>商品は三十日以内に返品できます。</p></body></html>".encode(
        "shift_jis"
    )
    site.headers["/ja"] = {"content-type": "text/html; charset=Shift_JIS"}
    added = await client.call("POST", "/documents", json={"url": f"{site.url}/ja"})
    assert (await client.settled(added.body["id"]))["state"] == "indexed"
    passages = (await client.call("GET", f"/documents/{added.body['id']}/chunks")).body["items"]
    assert "三十日以内" in passages[0]["text"]


async def test_a_redirect_to_another_site_is_held_against_that_sites_rules(
    client: Client, site: Site, other_site: Site
) -> None:
    other_site.pages |= {
        "/robots.txt": "User-agent: *\nDisallow: /closed\n",
        "/closed/a": "<p>Not for robots, whoever sends them here.</p>",
        "/open": "<h1>Open</h1><p>Goods can be returned within thirty days.</p>",
    }
    site.pages |= {
        "/to-closed": redirect(f"{other_site.url}/closed/a"),
        "/to-open": redirect(f"{other_site.url}/open"),
    }
    refused = await client.call("POST", "/documents", json={"url": f"{site.url}/to-closed"})
    assert (refused.status, "robots.txt" in refused.body["error"]["message"]) == (422, True), refused.body
    added = await client.call("POST", "/documents", json={"url": f"{site.url}/to-open"})
    assert (await client.settled(added.body["id"]))["state"] == "indexed"
    assert other_site.asked.count("/robots.txt") == 2


async def test_pages_that_cannot_be_had_say_why(client: Client, site: Site) -> None:
    site.pages["/robots.txt"] = "User-agent: chatwright\nDisallow: /closed\n"
    site.pages["/inside"] = redirect("http://169.254.169.254/latest/meta-data")
    site.pages["/large"] = b"x" * (3 * 1024 * 1024)
    site.pages["/empty"] = b""
    cases = {
        "/closed/a": (422, "robots.txt"),
        "/inside": (422, "redirects to an address that may not be visited"),
        "/large": (413, "larger than"),
        "/empty": (422, "empty"),
        "/gone": (422, "404"),
    }
    for path, (status, words) in cases.items():
        refused = await client.call("POST", "/documents", json={"url": site.url + path})
        assert (refused.status, words in refused.body["error"]["message"]) == (status, True), (path, refused.body)
        assert refused.body["error"]["param"] == "url"
    for url in ("http://10.0.0.1/", "http://localhost/x", "ftp://example.com/", "http://127.0.0.1:1/", "nonsense"):
        refused = await client.call("POST", "/documents", json={"url": url})
        assert (refused.status, refused.body["error"]["param"]) == (422, "url"), url
    assert (await client.call("GET", "/documents")).body["items"] == []
    site.pages["/robots.txt"] = 503
    refused = await client.call("POST", "/documents", json={"url": f"{site.url}/open"})
    assert "robots.txt could not be read" in refused.body["error"]["message"]


async def test_states_are_counted_and_listed_and_failures_tried_again(client: Client, shop_app: Services) -> None:
    good = (await client.call("POST", "/documents", json={"text": GUIDE})).body
    bad = (await client.call("POST", "/documents", data=form_of(("a.pdf", b"%PDF-1.7 nothing of a PDF")))).body
    assert (await client.settled(good["id"]))["state"] == "indexed"
    failed = await client.settled(bad["id"])
    assert failed["state"] == "failed"
    assert failed["error"]
    detail = (await client.call("GET", "")).body
    assert detail["documents"] == {"queued": 0, "indexing": 0, "indexed": 1, "failed": 1}
    assert (detail["chunks"] > 0, detail["crawls"]) == (True, 0)
    listed = (await client.call("GET", "/documents", params={"state": "failed"})).body["items"]
    assert [entry["id"] for entry in listed] == [bad["id"]]
    assert (await client.call("GET", "/documents", params={"state": "lost"})).status == 400
    again = await client.call("POST", f"/documents/{bad['id']}/reindex")
    assert (again.status, again.body["state"]) == (202, "queued")
    assert (await client.settled(bad["id"]))["state"] == "failed"


async def test_a_knowledge_base_is_renamed_and_deleted(client: Client) -> None:
    assert (await client.call("PATCH", "", json={"name": "Other"})).body["name"] == "Other"
    assert (await client.call("PATCH", "", json={"embedder": "nobody/knows"})).status in (400, 422)
    assert (await client.call("PATCH", "", json={"dimension": 3})).status == 422
    assert any(entry["default"] for entry in (await client.call("GET", "/api/v1/embedders")).body["items"])
    assert (await client.call("DELETE", "")).status == 204
    for method, path in (
        ("GET", ""),
        ("GET", "/documents"),
        ("DELETE", ""),
        ("GET", "/search?q=x"),
        ("GET", "/crawls"),
    ):
        assert (await client.call(method, path)).status == 404, path
    assert (await client.call("POST", "/documents", json={"text": "x"})).status == 404
    assert (await client.call("POST", "/documents", data=form_of(("a.md", b"x")))).status == 404


async def test_another_tenants_knowledge_is_unknown(client: Client, shop_app: Services, site: Site) -> None:
    site.pages["/a"] = "<p>Alpha</p>"
    mine = (await client.call("POST", "/documents", json={"text": GUIDE})).body["id"]
    crawl = (await client.call("POST", "/documents", json={"url": f"{site.url}/a", "follow": True})).body["id"]
    await client.crawled(crawl)
    await client.settled(mine)
    other = await client_of(shop_app, client.session, client.url, name="Other")
    assert mine
    assert crawl
    for base in (client.base, other.base):
        root = f"/api/v1/knowledge-bases/{base}"
        for method, path in (
            ("GET", f"{root}/documents/{mine}"),
            ("GET", f"{root}/documents/{mine}/chunks"),
            ("POST", f"{root}/documents/{mine}/reindex"),
            ("DELETE", f"{root}/documents/{mine}"),
            ("GET", f"{root}/crawls/{crawl}"),
            ("GET", f"{root}/crawls/{crawl}/pages"),
            ("DELETE", f"{root}/crawls/{crawl}"),
        ):
            assert (await other.call(method, path)).status == 404, path
    root = f"/api/v1/knowledge-bases/{client.base}"
    bodies: list[dict[str, Any]] = [
        {"json": {"text": "x"}},
        {"json": {"url": f"{site.url}/a"}},
        {"json": {"sitemap": f"{site.url}/s"}},
        {"data": form_of(("a.md", b"x"))},
    ]
    asked = len(site.asked)
    for body in bodies:
        assert (await other.call("POST", f"{root}/documents", **body)).status == 404
    assert (await other.call("PATCH", root, json={"name": "mine now"})).status == 404
    assert (await other.call("DELETE", root)).status == 404
    assert len(site.asked) == asked, "nothing is fetched for a base that is unknown"
    assert (await client.call("GET", f"/documents/{mine}")).status == 200


async def test_fields_that_do_not_go_together_are_refused(client: Client) -> None:
    for body in (
        {},
        {"text": "x", "url": "http://example.com/"},
        {"text": "x", "follow": True},
        {"url": "http://example.com/", "max_pages": 3},
        {"sitemap": "http://example.com/", "title": "x"},
        {"url": "http://example.com/", "source_key": "x"},
        {"sitemap": "http://example.com/", "max_pages": 0},
        {"sitemap": "http://example.com/", "max_pages": 900_000},
        {"sitemap": "http://10.0.0.1/sitemap.xml"},
    ):
        refused = await client.call("POST", "/documents", json=body)
        assert refused.status == 422, body
