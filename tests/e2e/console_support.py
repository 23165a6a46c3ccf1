"""The console in a real browser: a shop of its own for each test file, and the page opened and signed in.

    console      opens the page, as `Console`
    complaints   what the browser complained about meanwhile

Fixtures are registered by conftest.py.
"""

import uuid
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.widget_node import need_axe
from tests.e2e.widget_support import ANSWER_WITHIN_MS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.e2e.conftest import Live, Reply

PHONE_WIDTH = 375
EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'

Console = Callable[..., "Page"]
"""`console(key, room, **options of the context)` opens a room of the console and signs in."""


class Shop:
    """A tenant of its own with chatbots that ask the simulator."""

    def __init__(self, live: "Live", *slugs: str, **fields: Any) -> None:
        self.live = live
        self.key: str = live.http("POST", "/api/v1/tenants", {"name": "Shop"}, key="admin").json["key"]["secret"]
        self.widget_ids: dict[str, str] = {}
        for slug in slugs:
            chain = [{"provider": "openai", "model": "sim-1"}]
            body: dict[str, Any] = {"name": slug.title(), "slug": slug, "providers": chain, **fields}
            body["allowed_origins"] = [live.base_url]
            made = self.http("POST", "/api/v1/chatbots", body)
            assert made.status == 201, made.body
            self.widget_ids[slug] = made.json["widget_id"]

    def http(self, method: str, path: str, body: Any = None, *, key: str = "", **more: Any) -> "Reply":
        """As the tenant, unless another `key` is given."""
        return self.live.http(method, path, body, key=key or self.key, **more)

    def say(self, text: str, *, chatbot: str) -> "tuple[str, str, Reply]":
        """A new visitor says something with a token of its own: (token, path of the messages, reply)."""
        body: dict[str, Any] = {"widget_id": self.widget_ids[chatbot], "visitor_id": uuid.uuid4().hex}
        made = self.http("POST", "/api/v1/widget/token", body)
        assert made.status in (200, 201), made.body
        token: str = made.json["token"]
        conversation = self.http("POST", "/api/v1/conversations", {}, key=token).json["id"]
        path = f"/api/v1/conversations/{conversation}/messages"
        return token, path, self.http("POST", f"{path}?wait=true", {"text": text}, key=token, timeout_s=60)

    def rate(self, question: str, rating: str, comment: str = "", *, chatbot: str = "lamps") -> None:
        """A visitor asks and rates the answer."""
        token, path, asked = self.say(question, chatbot=chatbot)
        assert asked.status == 200, asked.body
        body = {"rating": rating, "comment": comment}
        said = self.http("POST", f"{path}/{asked.json['message_id']}/feedback", body, key=token)
        assert said.status == 200, said.body


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: script errors and breaches of the content security policy."""
    return []


@pytest.fixture
def console(chromium: "Browser", live_url: str, complaints: list[str]) -> "Generator[Console]":
    contexts: list[BrowserContext] = []

    def go(key: str | None = None, room: str = "", **options: Any) -> "Page":
        wanted: dict[str, Any] = {"viewport": {"width": 1200, "height": 860}, **options}
        context = chromium.new_context(**wanted)
        context.set_default_timeout(ANSWER_WITHIN_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{live_url}/console{room}")
        if key is not None:
            sign_in(page, key)
        return page

    yield go
    for context in contexts:
        context.close()


def sign_in(page: "Page", key: str) -> None:
    page.get_by_label("Tenant key").fill(key)
    page.get_by_label("Tenant key").press("Enter")


def audit(page: "Page") -> list[str]:
    """The accessibility rules that the page breaks, and where, once it has loaded: what is old is paler until then."""
    page.locator("[aria-busy=true]").wait_for(state="detached")
    page.evaluate(need_axe())
    violations: list[dict[str, Any]] = page.evaluate("axe.run(document).then((run) => run.violations)")
    return [f"{one['id']}: " + ", ".join(str(node["target"]) for node in one["nodes"]) for one in violations]


def check_look(page: "Page") -> None:
    """The page as it is, on a phone and on a desk: no rule of accessibility is broken, and nothing stands out of it."""
    before = page.viewport_size
    assert before is not None
    for width in (PHONE_WIDTH, 1200):
        page.set_viewport_size({"width": width, "height": 860})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = audit(page)
        assert broken == [], broken
    page.set_viewport_size(before)
