"""For tests of knowledge over real HTTP: a website of our own that can misbehave, and the API in this event loop."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import uvicorn
from aiohttp import web

from chatwright.entrypoints.bounded import BoundedHttp, BoundedSocket
from chatwright.entrypoints.call import WebSettings
from chatwright.entrypoints.web import build_app
from chatwright.pipeline import manage
from chatwright.pipeline.services import Services

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Site:
    """Pages by path: bytes, text (HTML), a status, or a handler. `asked` is every path that was asked for, in order."""

    pages: dict[str, bytes | str | int | Answer] = field(default_factory=dict[str, bytes | str | int | Answer])
    headers: dict[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    asked: list[str] = field(default_factory=list[str])
    agents: set[str] = field(default_factory=set[str])
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        self.agents.add(request.headers.get("user-agent", ""))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            found = self.pages.get(request.path_qs, 404)
            if callable(found):
                return await found(request)
            headers = dict(self.headers.get(request.path_qs, {}))
            if isinstance(found, int):
                return web.Response(status=found, headers=headers)
            if "etag" in headers and request.headers.get("if-none-match") == headers["etag"]:
                return web.Response(status=304, headers=headers)
            content_type = headers.pop("content-type", "text/html; charset=utf-8")
            body = found.encode() if isinstance(found, str) else found
            return web.Response(body=body, headers={**headers, "content-type": content_type})
        finally:
            self.at_once -= 1


def redirect(to: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(status=302, headers={"location": to})

    return answer


@asynccontextmanager
async def run_site() -> AsyncGenerator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.port = int(runner.addresses[0][1])
        yield site
    finally:
        await runner.cleanup()


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Client:
    """One tenant's view of the API."""

    session: aiohttp.ClientSession
    url: str
    key: str
    base: str

    async def call(self, method: str, path: str, **arguments: Any) -> Reply:
        """`path` is taken from the knowledge base where it does not begin with /api or /v1."""
        full = path if path.startswith(("/api", "/v1")) else f"/api/v1/knowledge-bases/{self.base}{path}"
        headers = {"authorization": f"Bearer {self.key}", **arguments.pop("headers", {})}
        async with self.session.request(method, self.url + full, headers=headers, **arguments) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json" and raw
            return Reply(
                status=response.status, body=await response.json() if is_json else raw, headers=response.headers
            )

    async def settled(self, document_id: str, *, within_s: float = 30.0) -> dict[str, Any]:
        """The document, once it is indexed or failed."""
        async with asyncio.timeout(within_s):
            while True:
                shown = (await self.call("GET", f"/documents/{document_id}")).body
                if shown["state"] in ("indexed", "failed"):
                    return shown
                await asyncio.sleep(0.05)

    async def crawled(self, crawl_id: str, *, within_s: float = 60.0) -> dict[str, Any]:
        """The crawl, once it has ended."""
        async with asyncio.timeout(within_s):
            while True:
                shown = (await self.call("GET", f"/crawls/{crawl_id}")).body
                if shown["state"] not in ("queued", "running"):
                    return shown
                await asyncio.sleep(0.05)


@asynccontextmanager
async def run_api(app: Services, **settings: Any) -> AsyncGenerator[tuple[str, aiohttp.ClientSession]]:
    """The API over `app`, as the product serves it, in this event loop; yields its address and a session."""

    async def ready() -> tuple[bool, dict[str, Any]]:
        return True, {}

    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            build_app(app, settings=WebSettings(**settings), ready=ready), http=BoundedHttp, ws=BoundedSocket, lifespan="off", log_config=None,
            access_log=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="test-api")
        try:
            async with asyncio.timeout(10):
                while not server.started:
                    await asyncio.sleep(0.01)
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}", session
        finally:
            server.should_exit = True
            await asyncio.wait({task}, timeout=10)


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        pass

    def capture_signals(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


async def client_of(app: Services, session: aiohttp.ClientSession, url: str, *, name: str) -> Client:
    """A new tenant with a knowledge base."""
    _, key = await manage.create_tenant(app, actor="test", name=name)
    made = await session.post(
        f"{url}/api/v1/knowledge-bases", json={"name": name}, headers={"authorization": f"Bearer {key.secret}"}
    )
    assert made.status == 201, await made.text()
    return Client(session=session, url=url, key=key.secret, base=(await made.json())["id"])
