"""The console's room "Intents" in a real browser: intents added, changed, trained, tried and deleted."""

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.console_support import PHONE_WIDTH, Console, Shop, check_look
from tests.e2e.widget_support import browser_marks

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

pytestmark = browser_marks()

ITEMS = "#intents .items > li"
RETURNS = [
    "I want to send this back",
    "how do I return my order",
    "can I give these shoes back",
    "where is the return label",
]
DELIVERY = ["where is my parcel", "when will my order arrive", "my package has not come", "track my delivery"]
_TRAINED_WITHIN_MS = 60_000


@pytest.fixture
def shop(live: "Live") -> Shop:
    return Shop(live, "lamps", "chairs")


def _add(page: Page, name: str, examples: list[str]) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("What visitors say who mean it").fill("\n".join(examples))
    page.get_by_role("button", name="Add and train").click()
    expect(page.locator(ITEMS).filter(has_text=name)).to_be_visible()


def _wait_until_trained(page: Page) -> None:
    expect(page.locator("#intents .figures dd").nth(1)).to_contain_text("Trained", timeout=_TRAINED_WITHIN_MS)


def _examples(shop: Shop) -> dict[str, list[str]]:
    shown = shop.http("GET", "/api/v1/chatbots/lamps/intents").json
    return {one["name"]: one["examples"] for one in shown["intents"]}


def test_intents_are_added_trained_and_tried(console: Console, shop: Shop, complaints: list[str]) -> None:
    page = console(shop.key, "#intents")
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    expect(page.get_by_text("None yet.")).to_be_visible()
    _add(page, "returns", [*RETURNS, "", RETURNS[0]])
    expect(page.get_by_label("Name")).to_be_focused()
    expect(page.get_by_label("Name")).to_have_value("")
    _add(page, "delivery", DELIVERY)
    assert _examples(shop) == {"returns": RETURNS, "delivery": DELIVERY}
    _wait_until_trained(page)
    expect(page.locator("#intents .figures")).to_contain_text("of the examples, unseen")
    page.get_by_label("Try a sentence").fill("how can I send my order back")
    page.keyboard.press("Enter")
    expect(page.locator("#intents .told")).to_contain_text("returns")
    page.get_by_label("Try a sentence").fill("what a lovely day in the mountains")
    page.keyboard.press("Enter")
    expect(page.locator("#intents .told")).to_contain_text("None of them")
    page.get_by_role("combobox", name="Chatbot").select_option("chairs")
    expect(page.locator(ITEMS)).to_have_count(0)
    assert complaints == []


def test_examples_are_changed_and_an_intent_is_deleted(console: Console, shop: Shop, complaints: list[str]) -> None:
    body = {"intents": [{"name": "returns", "examples": RETURNS}, {"name": "delivery", "examples": DELIVERY}]}
    assert shop.http("PUT", "/api/v1/chatbots/lamps/intents", body).status == 200
    page = console(shop.key, "#intents")
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    card, other = page.locator(ITEMS).filter(has_text="returns"), page.locator(ITEMS).filter(has_text="delivery")
    card.locator("summary").click()
    other.locator("summary").click()
    other.get_by_role("textbox").fill("somebody is still writing this")
    card.get_by_role("textbox").fill("\n".join([*RETURNS, "take these lamps back"]))
    card.get_by_role("button", name="Save").click()
    expect(card).to_contain_text("5 examples")
    expect(other.get_by_role("textbox")).to_have_value("somebody is still writing this")
    assert _examples(shop)["returns"] == [*RETURNS, "take these lamps back"]
    other.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep it").click()
    assert set(_examples(shop)) == {"returns", "delivery"}
    other.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator(ITEMS)).to_have_count(1)
    expect(page.get_by_role("heading", name="This chatbot's intents")).to_be_focused()
    assert set(_examples(shop)) == {"returns"}
    assert complaints == []


@pytest.mark.parametrize(("name", "example", "words"), [("Not A Name", "hello there", "name"), ("greeting", " ", "")])
def test_what_cannot_be_an_intent_is_said_at_the_form(
    console: Console, shop: Shop, name: str, example: str, words: str
) -> None:
    page = console(shop.key, "#intents")
    page.get_by_label("Name").fill(name)
    page.get_by_label("What visitors say who mean it").fill(example)
    page.get_by_role("button", name="Add and train").click()
    expect(page.locator("#intents form .notice")).to_contain_text(words)
    expect(page.get_by_label("Name")).to_have_value(name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_room_holds_on_a_phone_and_passes_an_audit(console: Console, shop: Shop, scheme: str) -> None:
    page = console(shop.key, "#intents", viewport={"width": PHONE_WIDTH, "height": 812}, color_scheme=scheme)
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    check_look(page)
    body = {"intents": [{"name": "returns", "examples": RETURNS}, {"name": "return_label", "examples": DELIVERY}]}
    assert shop.http("PUT", "/api/v1/chatbots/lamps/intents", body).status == 200
    page.reload()
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    page.locator(ITEMS).first.locator("summary").click()
    check_look(page)
