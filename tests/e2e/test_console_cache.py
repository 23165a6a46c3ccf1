"""The console's room "Cache" in a real browser: kept answers with where they came from, and wrong ones taken out."""

import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.e2e.console_support import EVIL, PHONE_WIDTH, Console, Shop, check_look
from tests.e2e.widget_support import browser_marks

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

pytestmark = browser_marks()

ITEMS = "#cache .items > li"
OPEN = "When are you open?"
SEEDS = [
    {
        "question": OPEN,
        "answer": "From Monday to Friday, 9:00 to 17:00.",
        "phrasings": ["What are your opening hours?", "At what time do you open?"],
    },
    {
        "question": "Do you ship to Norway?",
        "answer": f"Yes, within five days. {EVIL}\n" + "A line about parcels.\n" * 20,
    },
]


@pytest.fixture
def shop(live: "Live") -> Shop:
    """With two learned questions, one of them also as an exact copy."""
    made = Shop(live, "lamps", "chairs", system_prompt="You sell lamps.")
    sown = made.http("POST", "/api/v1/chatbots/lamps/cache/seeds", {"items": SEEDS}, timeout_s=60)
    assert (sown.status, sown.json["classes"]) == (201, 2), sown.body
    return made


def kept(shop: Shop, tier: str = "semantic") -> list[dict[str, Any]]:
    return shop.http("GET", f"/api/v1/chatbots/lamps/cache/entries?tier={tier}").json["items"]


def answers(shop: Shop) -> dict[str, int]:
    """How many answers are kept for each learned question, by one of its phrasings."""
    return {max(one["text"] for one in item["phrasings"]): len(item["answers"]) for item in kept(shop)}


def test_kept_answers_are_shown_with_where_they_came_from(console: Console, shop: Shop, complaints: list[str]) -> None:
    page = console(shop.key, "#cache")
    rows = page.locator(ITEMS)
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    expect(rows).to_have_count(2)
    norway, hours = rows.nth(0), rows.nth(1)
    expect(norway).to_contain_text(EVIL)
    norway.get_by_role("button", name="Show all of it").click()
    expect(norway.get_by_role("button", name="Show less")).to_be_visible()
    hours.locator("summary", has_text="3 ways to ask it").click()
    expect(hours.get_by_text("What are your opening hours?")).to_be_visible()
    hours.locator("summary", has_text="Where it came from").click()
    expect(hours.locator(".origin")).to_contain_text("a seed that somebody gave")
    page.get_by_label("With the words").fill("norway")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    page.get_by_label("With the words").fill("nothing like it")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing with these words.")).to_be_visible()
    page.get_by_role("combobox", name="Chatbot").select_option("chairs")
    page.get_by_label("With the words").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is kept here")).to_be_visible()
    assert complaints == []


def test_a_wrong_answer_is_taken_out_and_its_question_stays(
    console: Console, shop: Shop, complaints: list[str]
) -> None:
    page = console(shop.key, "#cache")
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    hours = page.locator(ITEMS).nth(1)
    hours.get_by_role("button", name="This answer is wrong").click()
    expect(page.get_by_role("dialog", name="Take this answer out?")).to_be_visible()
    check_look(page)
    page.keyboard.press("Escape")
    assert set(answers(shop).values()) != {0}
    assert answers(shop)[OPEN] > 0
    hours.get_by_role("button", name="This answer is wrong").click()
    page.get_by_role("button", name="Take it out").last.click()
    expect(page.get_by_text("Gone:")).to_be_focused()
    expect(hours).to_contain_text("No answer is kept.")
    left = answers(shop)
    assert left[OPEN] == 0
    assert left["Do you ship to Norway?"] > 0
    assert complaints == []


def test_a_question_is_forgotten(console: Console, shop: Shop) -> None:
    page = console(shop.key, "#cache")
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    rows = page.locator(ITEMS)
    rows.nth(1).get_by_role("button", name="Forget the question").click()
    page.get_by_role("button", name="Forget it").click()
    expect(rows).to_have_count(1)
    assert list(answers(shop)) == ["Do you ship to Norway?"]


def test_an_exact_copy_goes_with_its_kin_or_everything_goes(console: Console, shop: Shop) -> None:
    body = {"model": "lamps", "messages": [{"role": "user", "content": "Which lamps do you have in the store?"}]}
    assert shop.http("POST", "/v1/chat/completions", body, timeout_s=60).status == 200
    page = console(shop.key, "#cache")
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    page.get_by_role("combobox", name="Kept as").select_option("exact")
    copy = page.locator(ITEMS).filter(has_text="Which lamps")
    copy.get_by_role("button", name="Take it out with its kin").click()
    page.get_by_role("button", name="Take them out").click()
    expect(page.get_by_text("1 exact copy")).to_be_visible()
    expect(copy).to_have_count(0)
    page.get_by_role("combobox", name="Kept as").select_option("semantic")
    page.get_by_role("button", name="Take out everything").click()
    page.get_by_role("button", name="Take all out").click()
    expect(page.get_by_text("Gone:")).to_be_visible()
    until_s = time.monotonic() + 10
    while any(answers(shop).values()) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert set(answers(shop).values()) == {0}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_room_holds_on_a_phone_and_passes_an_audit(console: Console, shop: Shop, scheme: str) -> None:
    page = console(shop.key, "#cache", viewport={"width": PHONE_WIDTH, "height": 812}, color_scheme=scheme)
    page.get_by_role("combobox", name="Chatbot").select_option("lamps")
    expect(page.locator(ITEMS)).to_have_count(2)
    for summary in page.locator("#cache .items summary").all():
        summary.click()
    check_look(page)
