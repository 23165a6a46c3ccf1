"""The console in a real browser: signing in with a tenant's key, and the room that shows what visitors said of answers."""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.widget_node import need_axe
from tests.e2e.widget_support import ANSWER_WITHIN_MS, browser_marks

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

pytestmark = browser_marks()

PHONE_WIDTH = 375
EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


class Shop:
    """A tenant of its own with one chatbot that asks the simulator."""

    def __init__(self, live: "Live") -> None:
        self.live = live
        self.key: str = live.http("POST", "/api/v1/tenants", {"name": "Shop"}, key="admin").json["key"]["secret"]
        self.widget_ids: dict[str, str] = {}
        for slug in ("lamps", "chairs"):
            chain = [{"provider": "openai", "model": "sim-1"}]
            body: dict[str, Any] = {
                "name": slug.title(),
                "slug": slug,
                "providers": chain,
                "guard_policy": {"input": "off"},
            }
            body["allowed_origins"] = [live.base_url]
            made = live.http("POST", "/api/v1/chatbots", body, key=self.key)
            assert made.status == 201, made.body
            self.widget_ids[slug] = made.json["widget_id"]

    def rate(self, question: str, rating: str, comment: str = "", *, chatbot: str = "lamps") -> None:
        """A visitor asks and rates the answer, each with the visitor's own token."""
        headers = {"origin": self.live.base_url}
        body: dict[str, Any] = {"widget_id": self.widget_ids[chatbot]}
        made = self.live.http("POST", "/api/v1/widget/token", body, key=None, headers=headers)
        assert made.status in (200, 201), made.body
        token: str = made.json["token"]
        conversation = self.live.http("POST", "/api/v1/conversations", {}, key=token).json["id"]
        path = f"/api/v1/conversations/{conversation}/messages"
        asked = self.live.http("POST", f"{path}?wait=true", {"text": question}, key=token, timeout_s=60)
        assert asked.status == 200, asked.body
        body = {"rating": rating, "comment": comment}
        said = self.live.http("POST", f"{path}/{asked.json['message_id']}/feedback", body, key=token)
        assert said.status == 200, said.body


@pytest.fixture(scope="module")
def shop(live: "Live") -> Shop:
    """With two ratings of one chatbot and none of the other."""
    made = Shop(live)
    made.rate("Do you sell lamps?", "up", "Quick and right.")
    made.rate(f"What about {EVIL}?", "down", EVIL)
    return made


Visit = Callable[..., Page]


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: script errors and breaches of the content security policy."""
    return []


@pytest.fixture
def visit(chromium: Browser, live_url: str, complaints: list[str]) -> Generator[Visit]:
    """`visit(key, **options of the context)` opens the console and signs in."""
    contexts: list[BrowserContext] = []

    def go(key: str | None = None, **options: Any) -> Page:
        wanted: dict[str, Any] = {"viewport": {"width": 1200, "height": 860}, **options}
        context = chromium.new_context(**wanted)
        context.set_default_timeout(ANSWER_WITHIN_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{live_url}/console")
        if key is not None:
            page.get_by_label("Tenant key").fill(key)
            page.get_by_label("Tenant key").press("Enter")
        return page

    yield go
    for context in contexts:
        context.close()


def _audit(page: Page) -> list[str]:
    page.evaluate(need_axe())
    violations: list[dict[str, str]] = page.evaluate("axe.run(document).then((run) => run.violations)")
    return [one["id"] for one in violations]


def test_what_visitors_said_is_shown_and_filtered(visit: Visit, shop: Shop, complaints: list[str]) -> None:
    page = visit(shop.key)
    rows = page.locator("#said > li")
    expect(rows).to_have_count(2)
    expect(page.get_by_role("heading", name="Feedback", exact=True)).to_be_focused()
    expect(rows.nth(0)).to_contain_text("Thumb down")
    expect(rows.nth(1)).to_contain_text("Quick and right.")
    for words in ("Thumb up", "Do you sell lamps?", "Lamps", "sim-1"):
        expect(rows.nth(1)).to_contain_text(words)
    assert page.locator("#figures dd").all_inner_texts()[0] == "2"
    expect(page.locator("#figures")).to_contain_text("50 %")
    expect(page.get_by_role("img", name="1 thumbs up and 1 thumbs down")).to_be_visible()
    page.get_by_text("Show as a table").click()
    expect(page.locator("#table tbody tr")).to_have_count(1)
    page.get_by_role("combobox", name="Rating").select_option("up")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Quick and right.")
    page.get_by_label("Period").select_option("7")
    page.get_by_label("Chatbot").select_option("chairs")
    expect(page.get_by_text("Nobody has rated an answer")).to_be_visible()
    expect(rows).to_have_count(0)
    assert page.locator("#empty a").get_attribute("href") == "/guide/how-to/read-feedback"
    assert complaints == []


def test_what_a_stranger_wrote_is_text(visit: Visit, shop: Shop, complaints: list[str]) -> None:
    page = visit(shop.key)
    said = page.locator("#said > li").first
    expect(said.locator("blockquote")).to_contain_text(EVIL)
    expect(said.get_by_role("heading")).to_contain_text(EVIL)
    assert said.locator("img, script").count() == 0
    assert page.title() == "Console · chatwright"
    assert complaints == []


def test_more_are_fetched_by_the_button(visit: Visit, live: "Live") -> None:
    shop = Shop(live)
    for number in range(3):
        shop.rate(f"Question {number}", "up")
    page = visit()
    page.route(
        "**/api/v1/feedback?*", lambda route: route.continue_(url=route.request.url.replace("limit=25", "limit=2"))
    )
    page.get_by_label("Tenant key").fill(shop.key)
    page.get_by_role("button", name="Sign in").click()
    rows = page.locator("#said > li")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(3)
    expect(rows.nth(2)).to_be_focused()
    expect(rows.nth(2)).to_contain_text("Question 0")
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_the_tab_keeps_the_key_until_one_signs_out(visit: Visit, shop: Shop) -> None:
    page = visit(shop.key)
    expect(page.locator("#said > li")).to_have_count(2)
    page.reload()
    expect(page.locator("#said > li")).to_have_count(2)
    assert page.context.cookies() == []
    assert shop.key not in page.evaluate("JSON.stringify(localStorage)")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Tenant key")).to_be_focused()
    assert page.locator("#said > li").count() == 0
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.get_by_label("Tenant key")).to_be_visible()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("cw_sk_nobody", "chatwright key create"),
        ("kein Schlüssel", "credentials.json"),
        ("admin", "This is an admin key"),
    ],
)
def test_a_key_that_does_not_fit_is_told_what_to_do(visit: Visit, live: "Live", key: str, words: str) -> None:
    page = visit(live.admin_key if key == "admin" else key)
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.get_by_role("heading", name="Feedback", exact=True)).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_console_holds_on_a_phone_and_passes_an_audit(visit: Visit, shop: Shop, scheme: str) -> None:
    page = visit(viewport={"width": PHONE_WIDTH, "height": 812}, color_scheme=scheme)
    expect(page.get_by_label("Tenant key")).to_be_visible()
    assert _audit(page) == []
    page.get_by_label("Tenant key").fill(shop.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#said > li")).to_have_count(2)
    page.get_by_text("Show as a table").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH
    assert _audit(page) == []
    page.set_viewport_size({"width": 1200, "height": 860})
    assert _audit(page) == []
    page.get_by_label("Chatbot").select_option("chairs")
    expect(page.get_by_text("Nobody has rated an answer")).to_be_visible()
    assert _audit(page) == []


def test_the_page_has_its_address_with_and_without_a_slash(live: "Live") -> None:
    for path in ("/console", "/console/"):
        page = live.http("GET", path, key=None)
        assert page.status == 200
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "set-cookie" not in page.headers
    assert live.http("GET", "/assets/console.html", key=None).status == 404
