"""Pages and their files: landing page, demo chat, console, API reference, guide. Read once at start, served from memory."""

import html
import mimetypes
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import NotFound
from chatwright.entrypoints.call import Call, Header, Reply, WebSettings
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.web_files import TYPES, etag_of, is_known, read_files
from chatwright.entrypoints.web_frame import widget_sources
from chatwright.features import tenancy

_POLICY = (
    b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    b"frame-ancestors 'none'"
)
_DEMO_POLICY = "default-src 'self'; {widget}; form-action 'self'; frame-src 'self'; frame-ancestors 'none'"
_TYPES = {**TYPES, ".html": b"text/html; charset=utf-8", ".md": b"text/markdown; charset=utf-8"}
_BLANK = re.compile(rb"\{\{(\w+)\}\}")
_FILE_AT_MOST_BYTES = 4 * 1024 * 1024
_ALL_AT_MOST_BYTES = 64 * 1024 * 1024


class _File:
    """One file in memory with its validator."""

    __slots__ = ("body", "content_type", "etag", "name")

    def __init__(self, name: str, body: bytes) -> None:
        suffix = Path(name).suffix
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.name = name
        self.body = body
        self.content_type = _TYPES.get(suffix) or guessed.encode()
        self.etag = etag_of(body)

    def filled(self, values: Mapping[str, str]) -> "_File":
        """The page with each `{{name}}` replaced by the value of that name, as text of HTML."""
        body = _BLANK.sub(lambda blank: html.escape(values[blank[1].decode()]).encode(), self.body)
        return _File(self.name, body)


class Pages:
    """Serves the files of `entrypoints/pages` and the Markdown of the docs folder."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._files = {
            name: _File(name, body) for name, body in _read(resources.files("chatwright.entrypoints") / "pages").items()
        }
        self._guide: dict[str, _File] = {}
        if settings.docs_dir is not None:
            folder = Path(settings.docs_dir)
            self._guide = {
                name: _File(name, body)
                for name, body in _read(folder).items()
                if name.endswith(".md") or name.startswith("images/")
            }
            about = folder.parent / "README.md"
            if about.is_file():  # the project's own page, told apart from the index of the docs
                self._guide["about.md"] = _File("about.md", about.read_bytes())

    async def index(self, call: Call) -> Reply:
        return self._page(call, "index.html")

    async def docs(self, call: Call) -> Reply:
        return self._page(call, "docs.html")

    async def console(self, call: Call) -> Reply:
        """The operators' page. It is as public as its source: what it shows, its script asks for with a tenant's key."""
        return self._page(call, "console.html")

    async def asset(self, call: Call) -> Reply:
        """A script, style or picture of the pages; the pages themselves have addresses of their own."""
        name = call.params["path"]
        if name.endswith(".html"):
            raise NotFound("no such file")
        return self._serve(call, self._files.get(name))

    async def favicon(self, call: Call) -> Reply:
        return self._serve(call, self._files.get("icon.svg"))

    async def guide(self, call: Call) -> Reply:
        """A page of the guide (its frame; the script fetches the text), or its Markdown under the same name + .md."""
        name = call.params.get("path", "").strip("/")
        if name.endswith(".md") or name.startswith("images/"):
            return self._serve(call, self._guide.get(name))
        if f"{name or 'README'}.md" not in self._guide:
            raise NotFound("no such page")
        return self._page(call, "guide.html")

    async def demo_home(self, call: Call) -> Reply:
        del call
        if not self._settings.demo or self._settings.demo_slug is None:
            raise NotFound("there is no demo here")
        return Reply(303, b"", b"text/plain", ((b"location", f"/demo/{self._settings.demo_slug}".encode()),))

    async def demo(self, call: Call) -> Reply:
        """A chatbot's page: the widget runs on it, so its policy lets more in."""
        chatbot = await self._demo_chatbot(call)
        policy = _DEMO_POLICY.format(widget=widget_sources(chatbot, host=call.header(b"host") or ""))
        page = self._files.get("demo.html")
        if page is not None:
            page = page.filled({"name": chatbot.name, "slug": chatbot.slug, "widget_id": chatbot.widget_id})
        return self._serve(call, page, policy=policy.encode())

    async def _demo_chatbot(self, call: Call) -> Chatbot:
        """The chatbot of a demo page, by slug or widget id. Raises NotFound."""
        settings = self._settings
        name = call.params["chatbot"]
        chatbot = None
        if settings.demo and name.startswith("cw_pub_"):
            chatbot = await call.app.chatbots.find_widget(name)
        elif settings.demo:
            async with call.app.db.operator() as db:
                chatbot = await tenancy.find_by_slug(db, name, tenant_id=settings.demo_tenant_id)
        if chatbot is None or settings.demo_tenant_id not in (None, chatbot.tenant_id):
            raise NotFound("no such demo")
        return chatbot

    def _page(self, call: Call, name: str) -> Reply:
        return self._serve(call, self._files.get(name))

    def _serve(self, call: Call, file: _File | None, *, policy: bytes = _POLICY) -> Reply:
        if file is None:
            raise NotFound("no such page")
        headers: tuple[Header, ...] = (
            (b"etag", file.etag),
            (b"cache-control", b"no-cache"),  # always asked again, and nearly always answered 304
            (b"content-security-policy", policy),
        )
        if is_known(call, file.etag):
            return Reply(304, b"", file.content_type, headers)
        return Reply(200, file.body, file.content_type, headers)

    def endpoints(self) -> tuple[Endpoint, ...]:
        rows = (
            ("/", self.index, "Landing page"),
            ("/docs", self.docs, "This reference"),
            ("/console", self.console, "The console"),
            ("/console/", self.console, "The console"),
            ("/favicon.ico", self.favicon, "The icon"),
            ("/assets/{path:path}", self.asset, "Files of the pages"),
            ("/guide", self.guide, "The guide"),
            ("/guide/{path:path}", self.guide, "A page of the guide"),
            ("/demo", self.demo_home, "To the demo chatbot's page"),
            ("/demo/{chatbot}", self.demo, "A chatbot's demo page"),
        )
        return tuple(
            Endpoint(method="GET", path=path, handle=handle, access=Access.NONE, summary=summary, tag="pages",
                     content_type="text/html")
            for path, handle, summary in rows
        )  # fmt: skip


def _read(folder: Traversable) -> dict[str, bytes]:
    return read_files(folder, file_at_most_bytes=_FILE_AT_MOST_BYTES, all_at_most_bytes=_ALL_AT_MOST_BYTES)
