"""The console in a real browser: signing in with a tenant's key, and the room that shows what visitors said of answers."""

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.e2e.console_support import EVIL, PHONE_WIDTH, Console, Shop, audit, check_look, sign_in
from tests.e2e.widget_support import browser_marks

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

pytestmark = browser_marks()

ITEMS = "#feedback .items > li"


@pytest.fixture(scope="module")
def shop(live: "Live") -> Shop:
    """With two ratings of one chatbot and none of the other."""
    made = Shop(live, "lamps", "chairs", guard_policy={"input": "off"})
    made.rate("Do you sell lamps?", "up", "Quick and right.")
    made.rate(f"What about {EVIL}?", "down", EVIL)
    return made


def test_what_visitors_said_is_shown_and_filtered(console: Console, shop: Shop, complaints: list[str]) -> None:
    page = console(shop.key)
    rows = page.locator(ITEMS)
    expect(rows).to_have_count(2)
    expect(page.get_by_role("heading", name="Feedback", exact=True)).to_be_focused()
    expect(rows.nth(0)).to_contain_text("Thumb down")
    expect(rows.nth(1)).to_contain_text("Quick and right.")
    for words in ("Thumb up", "Do you sell lamps?", "Lamps", "sim-1"):
        expect(rows.nth(1)).to_contain_text(words)
    assert page.locator("#feedback .figures dd").all_inner_texts()[0] == "2"
    expect(page.locator("#feedback .figures")).to_contain_text("50 %")
    expect(page.get_by_role("img", name="1 thumbs up and 1 thumbs down")).to_be_visible()
    page.get_by_text("Show as a table").click()
    expect(page.locator("#feedback .scroll tbody tr")).to_have_count(1)
    page.get_by_role("combobox", name="Rating").select_option("up")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Quick and right.")
    assert page.locator("#feedback .figures dd").all_inner_texts() == ["2", "50 %\n1 up, 1 down", "2"]
    page.get_by_label("Period").select_option("7")
    page.get_by_role("combobox", name="Chatbot").select_option("chairs")
    expect(page.get_by_text("Nobody has rated an answer")).to_be_visible()
    expect(rows).to_have_count(0)
    assert page.locator("#feedback .empty a").get_attribute("href") == "/guide/how-to/read-feedback"
    assert complaints == []


def test_what_a_stranger_wrote_is_text(console: Console, shop: Shop, complaints: list[str]) -> None:
    page = console(shop.key)
    said = page.locator(ITEMS).first
    expect(said.locator("blockquote")).to_contain_text(EVIL)
    expect(said.get_by_role("heading")).to_contain_text(EVIL)
    assert said.locator("img, script").count() == 0
    assert page.title() == "Feedback · Console · chatwright"
    assert complaints == []


def test_more_are_fetched_by_the_button(console: Console, live: "Live") -> None:
    shop = Shop(live, "lamps")
    for number in range(3):
        shop.rate(f"Question {number}", "up")
    page = console()
    page.route(
        "**/api/v1/feedback?*", lambda route: route.continue_(url=route.request.url.replace("limit=25", "limit=2"))
    )
    sign_in(page, shop.key)
    rows = page.locator(ITEMS)
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(3)
    expect(rows.nth(2)).to_be_focused()
    expect(rows.nth(2)).to_contain_text("Question 0")
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_the_tab_keeps_the_key_until_one_signs_out(console: Console, shop: Shop) -> None:
    page = console(shop.key)
    expect(page.locator(ITEMS)).to_have_count(2)
    page.reload()
    expect(page.locator(ITEMS)).to_have_count(2)
    assert page.context.cookies() == []
    assert shop.key not in page.evaluate("JSON.stringify(localStorage)")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Tenant key")).to_be_focused()
    assert page.locator(ITEMS).count() == 0
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
def test_a_key_that_does_not_fit_is_told_what_to_do(console: Console, live: "Live", key: str, words: str) -> None:
    page = console(live.admin_key if key == "admin" else key)
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.get_by_role("heading", name="Feedback", exact=True)).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_key_is_not_lost_to_a_server_that_is_away(console: Console, shop: Shop) -> None:
    page = console(shop.key)
    expect(page.locator(ITEMS)).to_have_count(2)
    page.route("**/api/v1/**", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    assert audit(page) == []
    page.unroute("**/api/v1/**")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(ITEMS)).to_have_count(2)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [(503, '{"error": {"message": "PostgreSQL is away"}}', "PostgreSQL is away"), (502, "<h1>Bad gateway", "HTTP 502"),
     (200, '{"up": ', "broke off")],
)  # fmt: skip
def test_what_a_room_could_not_get_can_be_tried_again(
    console: Console, shop: Shop, status: int, body: str, words: str
) -> None:
    page = console()
    page.route("**/api/v1/feedback/summary?*", lambda route: route.fulfill(status=status, body=body))
    sign_in(page, shop.key)
    expect(page.get_by_role("alert")).to_contain_text(words)
    check_look(page)
    page.unroute("**/api/v1/feedback/summary?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(ITEMS)).to_have_count(2)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_key_that_is_revoked_meanwhile_ends_the_visit(console: Console, live: "Live") -> None:
    shop = Shop(live, "lamps")
    made = shop.http("POST", "/api/v1/keys", {"name": "For a day"})
    assert made.status == 201, made.body
    page = console(made.json["secret"])
    expect(page.get_by_text("Nobody has rated an answer")).to_be_visible()
    assert shop.http("DELETE", f"/api/v1/keys/{made.json['id']}").status == 200
    page.get_by_role("link", name="Guard").click()
    expect(page.get_by_role("alert")).to_contain_text("does not know this key")
    assert page.evaluate("sessionStorage.length") == 0


def test_the_address_names_the_room(console: Console, shop: Shop) -> None:
    page = console(shop.key, "#guard")
    expect(page.get_by_role("heading", name="Guard", exact=True)).to_be_focused()
    assert page.title() == "Guard · Console · chatwright"
    for room in ("Feedback", "Cache", "Intents"):
        page.get_by_role("link", name=room).click()
        expect(page.get_by_role("heading", name=room, exact=True)).to_be_focused()
        expect(page.locator("#rooms [aria-current]")).to_have_text(room)
        assert page.locator("main > section:visible").count() == 1
    page.go_back()
    expect(page.get_by_role("heading", name="Cache", exact=True)).to_be_focused()
    page.reload()
    expect(page.get_by_role("heading", name="Cache", exact=True)).to_be_visible()


def test_the_chatbot_that_was_chosen_stays_chosen_in_the_next_room(console: Console, shop: Shop) -> None:
    page = console(shop.key)
    page.get_by_role("combobox", name="Chatbot").select_option("chairs")
    page.get_by_role("link", name="Cache").click()
    expect(page.get_by_role("combobox", name="Chatbot")).to_have_value("chairs")


def test_a_tenant_without_a_chatbot_sees_that_it_has_none(
    console: Console, live: "Live", complaints: list[str]
) -> None:
    page = console(Shop(live).key)
    expect(page.get_by_text("Nobody has rated an answer")).to_be_visible()
    for room, words in (("Guard", "found nothing"), ("Cache", "no chatbot yet"), ("Intents", "no chatbot yet")):
        page.get_by_role("link", name=room).click()
        expect(page.locator("main > section:visible")).to_contain_text(words)
        check_look(page)
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_console_holds_on_a_phone_and_passes_an_audit(console: Console, shop: Shop, scheme: str) -> None:
    page = console(viewport={"width": PHONE_WIDTH, "height": 812}, color_scheme=scheme)
    expect(page.get_by_label("Tenant key")).to_be_visible()
    assert audit(page) == []
    sign_in(page, shop.key)
    expect(page.locator(ITEMS)).to_have_count(2)
    page.get_by_text("Show as a table").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH
    assert audit(page) == []
    page.set_viewport_size({"width": 1200, "height": 860})
    assert audit(page) == []
    page.get_by_role("combobox", name="Chatbot").select_option("chairs")
    expect(page.get_by_text("Nobody has rated an answer")).to_be_visible()
    assert audit(page) == []


def test_the_page_has_its_address_with_and_without_a_slash(live: "Live") -> None:
    for path in ("/console", "/console/"):
        page = live.http("GET", path, key=None)
        assert page.status == 200
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "set-cookie" not in page.headers
    assert live.http("GET", "/assets/console.html", key=None).status == 404
