"""The widget's side of the API over HTTP: its files, its configuration, the frame page, and whose pages may ask."""

import gzip
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chatwright.entrypoints.web_widget import read_assets
from chatwright.pipeline.services import Services
from tests.flows.knowledge_support import Client, client_of, run_api

SHOP = "https://shop.example"
LAUNCHER = b"(() => {})();\n" * 200
CHUNK = b"export default 1;\n" * 200


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder as the build leaves it."""
    folder = tmp_path / "widget"
    (folder / "assets").mkdir(parents=True)
    (folder / "widget.js").write_bytes(LAUNCHER)
    (folder / "widget.js.br").write_bytes(b"as brotli")
    (folder / "assets" / "chat-Ab3_x-9Z.js").write_bytes(CHUNK)
    (folder / "assets" / "chat-Ab3_x-9Z.js.gz").write_bytes(gzip.compress(CHUNK))
    (folder / "robot.glb").write_bytes(b"glTF" + bytes(range(200)))
    (folder / ".stamp").write_text("secret")
    return folder


@dataclass(frozen=True)
class Site:
    client: Client

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,  # bodies as they are sent
            session.request(method, self.client.url + path, headers=named) as response,
        ):
            return response, await response.read()

    async def make_chatbot(self, **fields: Any) -> dict[str, Any]:
        body = {"name": "Shop", "slug": "shop", "allowed_origins": [SHOP], **fields}
        made = await self.client.call("POST", "/api/v1/chatbots", json=body)
        assert made.status == 201, made.body
        return made.body

    async def patch(self, chatbot: dict[str, Any], **fields: Any) -> Any:
        return await self.client.call("PATCH", f"/api/v1/chatbots/{chatbot['id']}", json=fields)

    def config_of(self, chatbot: dict[str, Any], **query: str) -> str:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"/api/v1/widget/config?widget_id={chatbot['widget_id']}{more}"


@pytest.fixture
async def site(app: Services, built: Path) -> AsyncGenerator[Site]:
    async with run_api(app, widget_dir=str(built)) as (url, session):
        yield Site(await client_of(app, session, url, name="Widgets"))


async def test_the_launcher_may_be_loaded_from_everywhere_and_is_asked_for_again(site: Site) -> None:
    reply, body = await site.get("/widget.js", accept_encoding="identity")
    assert (reply.status, body) == (200, LAUNCHER)
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert reply.headers["cache-control"] == "public, max-age=300"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["cross-origin-resource-policy"] == "cross-origin"
    assert reply.headers["x-content-type-options"] == "nosniff"
    again, nothing = await site.get("/widget.js", accept_encoding="identity", if_none_match=reply.headers["etag"])
    assert (again.status, nothing) == (304, b"")
    head, nothing = await site.get("/widget.js", method="HEAD", accept_encoding="identity")
    assert (head.status, nothing, head.headers["content-length"]) == (200, b"", str(len(LAUNCHER)))


async def test_codings_are_the_reader_s_choice(site: Site) -> None:
    chunk = "/widget/assets/chat-Ab3_x-9Z.js"
    reply, body = await site.get(chunk, accept_encoding="gzip")
    assert (reply.headers["content-encoding"], reply.headers["vary"]) == ("gzip", "accept-encoding")
    assert gzip.decompress(body) == CHUNK
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    plain, body = await site.get(chunk, accept_encoding="gzip;q=0, identity")
    assert "content-encoding" not in plain.headers
    assert plain.headers["etag"] != reply.headers["etag"]
    for accepted, coding in (("br;q=1, gzip", "br"), ("gzip, br;q=0", "gzip"), ("*", "br"), ("zstd", None)):
        head, _ = await site.get("/widget.js", method="HEAD", accept_encoding=accepted)
        assert head.headers.get("content-encoding") == coding, accepted


@pytest.mark.parametrize(
    "path", ["/widget/nothing.js", "/widget/.stamp", "/widget/widget.js.br", "/widget/../conftest.py", "/widget/%2e%2e/a", "/widget/"]
)  # fmt: skip
async def test_what_is_no_asset_is_not_there(site: Site, path: str) -> None:
    reply, _ = await site.get(path)
    assert reply.status == 404


async def test_a_model_has_its_type(site: Site) -> None:
    reply, body = await site.get("/widget/robot.glb")
    assert (reply.headers["content-type"], body[:4]) == ("model/gltf-binary", b"glTF")
    assert reply.headers["cache-control"] == "public, max-age=300"  # its name does not say what is in it


async def test_without_built_files_the_refusal_says_what_to_do(app: Services, tmp_path: Path) -> None:
    async with run_api(app, widget_dir=str(tmp_path / "nothing")) as (url, session):
        async with session.get(f"{url}/widget.js") as reply:
            assert reply.status == 404
            assert "CHATWRIGHT_WIDGET_DIR" in (await reply.json())["error"]["message"]
        async with session.get(f"{url}/health/live") as reply:
            assert reply.status == 200


def test_a_folder_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.bin").write_bytes(bytes(15 * 1024 * 1024))
    with pytest.raises(OSError, match="is it the right one"):
        read_assets(str(tmp_path))


async def test_a_folder_that_is_no_widget_stops_nothing_else(app: Services, tmp_path: Path) -> None:
    """Files larger than they may be are left out, what is no file is not waited for, and too much of all is no widget."""
    os.mkfifo(tmp_path / "pipe.js")
    (tmp_path / "widget.js").write_bytes(LAUNCHER)
    with (tmp_path / "huge.glb").open("wb") as file:
        file.truncate(20 * 1024 * 1024)
    assert set(read_assets(str(tmp_path))) == {"widget.js"}
    for number in range(5):
        (tmp_path / f"{number}.bin").write_bytes(bytes(15 * 1024 * 1024))
    async with run_api(app, widget_dir=str(tmp_path)) as (url, session):
        async with session.get(f"{url}/widget.js") as reply:
            assert reply.status == 404
            assert "CHATWRIGHT_WIDGET_DIR" in (await reply.json())["error"]["message"]
        async with session.get(f"{url}/health/live") as reply:
            assert reply.status == 200


async def test_the_configuration_of_a_chatbot(site: Site) -> None:
    chatbot = await site.make_chatbot(
        greeting="Hello!",
        suggested_questions=["Where is my order?"],
        languages=["fr", "en"],
        persona={"greetings": {"de": "Hallo!", "fr": "Bonjour !"}},
        widget={"theme": {"accent": "#0af"}, "texts": {"title": {"de": "Frag uns"}}, "features": {"images": True}},
    )
    reply, body = await site.get(site.config_of(chatbot, locale="de-AT"), origin=SHOP)
    assert reply.status == 200, body
    config = await reply.json()
    assert (config["widget_id"], config["name"], config["locale"]) == (chatbot["widget_id"], "Shop", "de")
    assert (config["greeting"], config["suggested_questions"]) == ("Hallo!", ["Where is my order?"])
    assert config["theme"] | {"accent": "#00aaff", "position": "right"} == config["theme"]
    assert (config["texts"]["title"], config["features"]["images"], config["avatar"]["kind"]) == (
        "Frag uns",
        True,
        "robot",
    )
    assert reply.headers["access-control-allow-origin"] == SHOP
    assert reply.headers["vary"] == "origin, accept-language"

    async def said(**headers: str) -> tuple[str, str]:
        reply, _ = await site.get(site.config_of(chatbot), **headers)
        config = await reply.json()
        return config["locale"], config["greeting"]

    assert await said(accept_language="ja, de;q=0.5") == ("de", "Hallo!")
    assert await said(accept_language="ja") == ("fr", "Hello!")  # the chatbot's first language that the widget speaks


async def test_a_configuration_is_sent_once_until_it_changes(site: Site) -> None:
    chatbot = await site.make_chatbot()
    first, _ = await site.get(site.config_of(chatbot))
    again, nothing = await site.get(site.config_of(chatbot), if_none_match=first.headers["etag"])
    assert (again.status, nothing) == (304, b"")
    assert (await site.patch(chatbot, widget={"theme": {"position": "left"}})).status == 200
    changed, _ = await site.get(site.config_of(chatbot), if_none_match=first.headers["etag"])
    assert changed.status == 200
    assert (await changed.json())["theme"]["position"] == "left"


async def test_a_configuration_is_for_the_pages_on_the_list(site: Site) -> None:
    chatbot = await site.make_chatbot()
    for origin in (
        "https://evil.example",
        "https://shop.example.evil.example",
        "http://shop.example",
        "null",
        "x" * 400,
    ):
        reply, _ = await site.get(site.config_of(chatbot), origin=origin)
        assert (reply.status, (await reply.json())["error"]["param"]) == (403, "origin")
        assert reply.headers["access-control-allow-origin"] == "*"  # its owner may read why
    unknown, _ = await site.get("/api/v1/widget/config?widget_id=cw_pub_unknown", origin="https://evil.example")
    assert (unknown.status, unknown.headers["access-control-allow-origin"]) == (404, "*")
    for query in ("", f"?widget_id={chatbot['widget_id']}&locale={'x' * 36}"):
        reply, _ = await site.get(f"/api/v1/widget/config{query}")
        assert reply.status == 400


async def test_a_widget_that_cannot_be_meant_is_refused(site: Site) -> None:
    chatbot = await site.make_chatbot()
    reply = await site.patch(chatbot, widget={"theme": {"accent": "red"}})
    assert (reply.status, reply.body["error"]["param"]) == (422, "widget.theme.accent")
    assert (await site.patch(chatbot, widget=[])).status == 422
    kept = {"theme": {"accent": "#123456"}}
    assert (await site.patch(chatbot, widget=kept)).body["widget"] == kept
    assert (await site.patch(chatbot, name="Other")).body["widget"] == kept


def directives(policy: str) -> dict[str, list[str]]:
    return {name: rest for name, *rest in (part.split() for part in policy.split(";"))}


async def test_the_frame_page_may_be_held_by_the_pages_on_the_list_alone(site: Site) -> None:
    chatbot = await site.make_chatbot(
        name="Shop <b>&", widget={"avatar": {"kind": "model", "url": "http://localhost:9/a.glb"}}
    )
    reply, body = await site.get(f"/widget/frame/{chatbot['widget_id']}", accept_language="ar")
    page = body.decode()
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "x-frame-options" not in reply.headers
    assert f'data-chatbot="{chatbot["widget_id"]}" data-mode="inline"' in page
    assert 'lang="ar" dir="rtl"' in page
    assert "Shop &lt;b&gt;&amp;" in page
    policy = directives(reply.headers["content-security-policy"])
    assert policy["frame-ancestors"] == [SHOP]
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == (["'none'"], ["'self'"], ["'self'"])
    assert {"'self'", "https:", "blob:", "http://localhost:9", site.client.url.replace("http", "ws")} <= set(
        policy["connect-src"]
    )
    assert policy["img-src"] == ["'self'", "data:", "blob:"]
    assert (await site.patch(chatbot, widget={"features": {"images": True}})).status == 200
    reply, _ = await site.get(f"/widget/frame/{chatbot['widget_id']}")
    assert directives(reply.headers["content-security-policy"])["img-src"] == ["'self'", "data:", "blob:", "https:"]
    for path in ("/assets/frame.css", "/widget.js"):  # what the page names, relative to itself
        assert f'"../..{path}"' in page
        assert (await site.get(path))[0].status == 200


async def test_nobody_holds_the_frame_page_of_a_chatbot_without_a_list(site: Site) -> None:
    chatbot = await site.make_chatbot(allowed_origins=[])
    reply, _ = await site.get(f"/widget/frame/{chatbot['widget_id']}")
    assert (reply.status, (await reply.json())["error"]["param"]) == (403, "allowed_origins")
    assert (await site.get("/widget/frame/cw_pub_unknown"))[0].status == 404
    assert (await site.get("/widget/frame/x"))[0].status == 404


async def test_a_chatbot_with_a_demo_page_needs_no_list(app: Services, built: Path) -> None:
    async with run_api(app, widget_dir=str(built), demo=True) as (url, session):
        site = Site(await client_of(app, session, url, name="Demo"))
        chatbot = await site.make_chatbot(allowed_origins=[])
        reply, _ = await site.get(f"/widget/frame/{chatbot['widget_id']}")
        assert directives(reply.headers["content-security-policy"])["frame-ancestors"] == ["'self'"]
        assert await ask_token(site, chatbot, origin=url) == 200
        demo, _ = await site.get("/demo/shop")
        policy = directives(demo.headers["content-security-policy"])
        assert "blob:" in policy["connect-src"]
        assert policy["worker-src"] == ["'none'"]
        assert policy["frame-ancestors"] == ["'none'"]


async def ask_token(site: Site, chatbot: dict[str, Any], **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"widget_id": chatbot["widget_id"]}
    async with site.client.session.post(f"{site.client.url}/api/v1/widget/token", json=body, headers=named) as reply:
        return reply.status


async def test_the_frame_page_asks_for_tokens_with_our_own_origin(site: Site) -> None:
    ours = site.client.url
    listed = await site.make_chatbot()
    assert await ask_token(site, listed, origin=ours) == 200
    assert await ask_token(site, listed, origin=ours, sec_fetch_site="same-origin") == 200
    assert await ask_token(site, listed, origin=ours, sec_fetch_site="cross-site") == 403
    assert await ask_token(site, listed, origin=ours, sec_fetch_site="same-site") == 403
    assert await ask_token(site, listed, origin="null", sec_fetch_site="cross-site") == 403
    assert await ask_token(site, listed, origin=SHOP, sec_fetch_site="cross-site") == 200
    unlisted = await site.make_chatbot(slug="unlisted", allowed_origins=[])
    assert await ask_token(site, unlisted, origin=ours, sec_fetch_site="same-origin") == 403


async def test_a_proxy_that_hides_the_host_is_told_by_the_public_address(app: Services) -> None:
    async with run_api(app, public_origin="https://chat.example") as (url, session):
        site = Site(await client_of(app, session, url, name="Proxied"))
        chatbot = await site.make_chatbot()
        assert await ask_token(site, chatbot, origin="https://chat.example") == 200
        assert await ask_token(site, chatbot, origin="https://chat.example.evil.example") == 403
