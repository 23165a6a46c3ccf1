"""The widget in a real browser on a host page of another origin: fixtures and the hand that works it.

    chromium     a browser for one test file
    hosts        the server of host pages, see `widget_hosts.py`
    proxy        a bad network in front of `live`, see `widget_proxy.py`
    make_bot     makes a chatbot that host pages may embed
    make_reader  one that answers from the demo's documents, with sources
    visit        opens a page with the widget, as `Widget`

Fixtures are registered by conftest.py. A failed test saves a picture of each page; the report says where.
"""

import contextlib
import fcntl
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.browser import ARGUMENTS, CHROMIUM, MISSING
from tests.e2e.widget_hosts import Hosts, document, run_hosts, snippet
from tests.e2e.widget_proxy import Proxy, run_proxy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

    from tests.e2e.conftest import Live

ROOT = Path(__file__).parents[2]
ANSWER_WITHIN_MS = 20_000
SETTLE_WITHIN_MS = 10_000

WATCH = """
window.seen = { events: [], violations: [], longTasks: [] };
for (const name of ["open", "close", "ready", "sent", "answered", "failed", "animation", "tier", "unread"])
  document.addEventListener(`chatwright:${name}`, (event) => {
    let detail = null;
    try { detail = JSON.parse(JSON.stringify(event.detail ?? null)); } catch {}
    seen.events.push([name, detail]);
  }, true);
document.addEventListener("securitypolicyviolation", (event) =>
  seen.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`), true);
new PerformanceObserver((list) => { for (const one of list.getEntries()) seen.longTasks.push(Math.round(one.duration)); })
  .observe({ type: "longtask", buffered: true });
"""
"""Runs before the page's own scripts: notes what the widget tells its page, and what the browser holds against it."""

LAST_EVENTS = """() => (window.seen?.events ?? []).slice(-12).map(([name, detail]) => `  ${name} ${JSON.stringify(detail).slice(0, 120)}`)"""


def browser_marks() -> list[pytest.MarkDecorator]:
    """`pytestmark` of the files with browser tests of the widget."""
    return [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]


def build_widget() -> str:
    """Build the widget's files if they are stale, one process at a time. Returns what went wrong, or "".

    It is not raised: the tests that need no widget go on without it.
    """
    from hatch_build import build_if_stale

    with (Path(tempfile.gettempdir()) / "chatwright-widget-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            build_if_stale(ROOT)
        except (SystemExit, OSError) as error:
            return str(error) or "the widget could not be built"
    return ""


@dataclass(slots=True, kw_only=True)
class Bot:
    """A chatbot of the running installation."""

    live: "Live"
    slug: str
    widget_id: str

    def change(self, **fields: Any) -> None:
        changed = self.live.http("PATCH", f"/api/v1/chatbots/{self.slug}", fields)
        assert changed.status == 200, changed.body

    def wait_until_it_answers(self) -> None:
        """Ask in conversations of another visitor until an answer comes."""
        deadline_s = time.monotonic() + ANSWER_WITHIN_MS / 1000
        while time.monotonic() < deadline_s:
            made = self.live.http("POST", "/api/v1/conversations", {"chatbot": self.slug, "visitor_id": "probe"})
            asked = self.live.http("POST", f"/api/v1/conversations/{made.json['id']}/messages?wait=true", {"text": "?"})
            if asked.status == 200:
                return
            time.sleep(0.2)
        raise AssertionError("the chatbot does not answer")

    def conversations(self) -> list[dict[str, Any]]:
        found = self.live.http("GET", f"/api/v1/conversations?chatbot={self.slug}&limit=100")
        assert found.status == 200, found.body
        return found.json["items"]

    def transcript(self) -> list[dict[str, Any]]:
        """What REST says of the only conversation, oldest first."""
        (conversation,) = self.conversations()
        found = self.live.http("GET", f"/api/v1/conversations/{conversation['id']}/messages?limit=200")
        assert found.status == 200, found.body
        return found.json["items"]

    def texts(self) -> list[tuple[str, str]]:
        return [(item["role"], item["text"]) for item in self.transcript()]


@dataclass(slots=True, kw_only=True)
class Widget:
    """One page with the widget. `complaints`: script errors, and what the browser wrote as errors into its console."""

    page: "Page"
    complaints: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])

    @property
    def element(self) -> "Locator":
        return self.page.locator("chatwright-chat").first

    def part(self, name: str) -> "Locator":
        return self.element.locator(f"[part~={name}]").first

    @property
    def launcher(self) -> "Locator":
        return self.part("launcher")

    @property
    def panel(self) -> "Locator":
        return self.part("panel")

    @property
    def log(self) -> "Locator":
        return self.panel.get_by_role("log")

    @property
    def box(self) -> "Locator":
        return self.panel.get_by_role("textbox").first

    def open(self) -> None:
        """Click the launcher and wait until a text can be written."""
        from playwright.sync_api import expect

        self.launcher.click()
        expect(self.box).to_be_editable(timeout=SETTLE_WITHIN_MS)

    def open_again(self) -> None:
        """After a reload: the panel may have opened by itself, as it was before."""
        from playwright.sync_api import expect

        self.wait("() => window.chatwright?.open instanceof Function")
        self.page.evaluate("chatwright.open()")
        expect(self.box).to_be_editable(timeout=SETTLE_WITHIN_MS)

    def wait_words(self, words: Sequence[str], *, within_ms: int = ANSWER_WITHIN_MS) -> None:
        """Until the log shows these words with a number at their end, in this order, and no others."""
        found: list[str] = []
        deadline_s = time.monotonic() + within_ms / 1000
        while found != list(words) and time.monotonic() < deadline_s:
            found = re.findall(r"[a-z]+\d{3}", self.log.inner_text())
            self.page.wait_for_timeout(50)
        assert found == list(words)

    def ask(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def wait_answers(self, count: int, *, within_ms: int = ANSWER_WITHIN_MS) -> None:
        """Until so many answers are whole."""
        self.page.wait_for_function(
            "(count) => seen.events.filter(([name]) => name === 'answered').length >= count",
            arg=count,
            timeout=within_ms,
        )

    def events(self, *names: str) -> list[tuple[str, Any]]:
        """What the widget told its page: (name, detail), in order."""
        found: list[tuple[str, Any]] = [(name, detail) for name, detail in self.page.evaluate("seen.events")]
        return [one for one in found if not names or one[0] in names]

    @property
    def violations(self) -> list[str]:
        return self.page.evaluate("seen.violations")

    def wait(self, condition: str, arg: Any = None, *, within_ms: int = SETTLE_WITHIN_MS) -> None:
        self.page.wait_for_function(condition, arg=arg, timeout=within_ms)


@dataclass(slots=True, kw_only=True)
class Visit:
    """Opens host pages with the one-line snippet; the fixture `visit` closes them."""

    chromium: "Browser"
    hosts: Hosts
    contexts: "list[BrowserContext]" = field(default_factory=list["BrowserContext"])

    def __call__(
        self,
        bot: Bot,
        *,
        base: str | None = None,
        attributes: Mapping[str, str] | None = None,
        head: str = "",
        body: str = "",
        headers: Mapping[str, str] | None = None,
        html: str | None = None,
        lang: str = "en",
        direction: str = "ltr",
        context: "BrowserContext | None" = None,
        init: str = "",
        **options: Any,
    ) -> Widget:
        """A page in a context of its own unless `context` names one.

        `base`: the widget's server, if not the chatbot's own address (a proxy); `options` go to the new context; `html` is
        a whole page of the test's own; `init` runs before the page's scripts.
        """
        page = (context or self._new_context(options)).new_page()
        widget = Widget(page=page)
        page.on("pageerror", lambda error: widget.complaints.append(f"{error}\n{error.stack or ''}"))
        page.on(
            "console",
            lambda message: widget.complaints.append(message.text) if message.type == "error" else None,
        )
        page.on("request", lambda request: widget.requests.append(request.url))
        if init:
            page.add_init_script(init)
        line = snippet(base or bot.live.base_url, bot.widget_id, **dict(attributes or {}))
        content = html or document(body + line, head=head, lang=lang, direction=direction)
        page.goto(self.hosts.put(f"/{uuid.uuid4().hex[:8]}", content, headers))
        return widget

    def _new_context(self, options: dict[str, Any]) -> "BrowserContext":
        wanted: dict[str, Any] = {"viewport": {"width": 1100, "height": 800}, "locale": "en-US", **options}
        context = self.chromium.new_context(**wanted)
        context.set_default_timeout(SETTLE_WITHIN_MS)
        context.add_init_script(WATCH)
        self.contexts.append(context)
        return context


@pytest.fixture(scope="module")
def chromium() -> "Generator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def hosts() -> Generator[Hosts]:
    with run_hosts() as running:
        yield running


@pytest.fixture
def proxy(live: "Live") -> Generator[Proxy]:
    with run_proxy(int(live.base_url.rsplit(":", 1)[1])) as running:
        yield running


@pytest.fixture
def make_bot(live: "Live", hosts: Hosts) -> Generator[Callable[..., Bot]]:
    """`make_bot(model="sim:chunks=9", **fields)`: a chatbot that pages of `hosts` may embed; its avatar is the face."""
    assert not live.widget_fault, live.widget_fault
    bots: list[Bot] = []

    def make(model: str = "sim-1", *, of: "Live | None" = None, tier: str = "2d", **fields: Any) -> Bot:
        installation = of or live
        slug = f"w-{uuid.uuid4().hex[:10]}"
        widget = dict(fields.pop("widget", {}))
        widget["avatar"] = {"tier": tier, **widget.get("avatar", {})}
        body = {
            "name": "Ada",
            "slug": slug,
            "providers": [{"provider": "openai", "model": model}],
            "allowed_origins": [hosts.origin],
            "widget": widget,
            "guard_policy": {"input": "off"},  # its advice would stand in what the simulator echoes
            **fields,
        }
        made = installation.http("POST", "/api/v1/chatbots", body)
        assert made.status == 201, made.body
        bots.append(Bot(live=installation, slug=slug, widget_id=made.json["widget_id"]))
        return bots[-1]

    yield make
    for bot in bots:
        if bot.live is live:  # a plan allows only so many; other installations are gone
            live.http("DELETE", f"/api/v1/chatbots/{bot.slug}")


@pytest.fixture
def make_reader(make_bot: Callable[..., Bot], live: "Live") -> Callable[..., Bot]:
    """A chatbot that answers from the demo's documents, without a model."""
    knowledge = live.http("GET", f"/api/v1/chatbots/{live.chatbot}").json["knowledge_base_id"]

    def make(**fields: Any) -> Bot:
        reader = {"providers": [{"provider": "extractive", "model": "extractive"}], "knowledge_base_id": knowledge}
        return make_bot(**{**reader, **fields})

    return make


@pytest.fixture
def visit(chromium: "Browser", hosts: Hosts) -> Generator[Visit]:
    opener = Visit(chromium=chromium, hosts=hosts)
    yield opener
    for one in opener.contexts:
        one.close()


def save_pictures(item: pytest.Item) -> list[str]:
    """Pictures of every page that the test had open. Returns their paths."""
    chromium: Browser | None = getattr(item, "funcargs", {}).get("chromium")
    folder = Path(tempfile.gettempdir()) / "chatwright-browser-tests"
    saved: list[str] = []
    if chromium is None:
        return saved
    folder.mkdir(exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", item.name)[:80]
    for context in chromium.contexts:
        for page in context.pages:
            file = folder / f"{name}-{len(saved)}.png"
            with contextlib.suppress(Exception):
                page.screenshot(path=file, timeout=3_000)
                saved.append(str(file))
            with contextlib.suppress(Exception):
                saved.append("\n".join(page.evaluate(LAST_EVENTS)))
    return saved
