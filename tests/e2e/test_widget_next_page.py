"""What the next page finds of the one before: drafts, the badge, whether an answer is awaited, who is signed in."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Route, expect

from tests.e2e.widget_support import ANSWER_WITHIN_MS, Bot, Visit, Widget, browser_marks

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

pytestmark = browser_marks()

WAITING = "() => Object.entries(sessionStorage).some(([name, value]) => name.endsWith(':waiting') && value === '1')"


def reload(widget: Widget) -> list[str]:
    """Load the page anew until nothing goes over the network. Returns the addresses that it asked for."""
    before = len(widget.requests)
    widget.page.reload()
    expect(widget.launcher).to_be_visible()
    widget.page.wait_for_load_state("networkidle")
    return widget.requests[before:]


@pytest.mark.parametrize("end", ["stop", "reset"])
def test_a_page_loads_the_chat_only_while_an_answer_is_awaited(
    make_bot: Callable[..., Bot], visit: Visit, end: str
) -> None:
    widget = visit(make_bot("sim:chunks=200,interval=100"))
    widget.open()
    widget.ask("Tell me everything")
    widget.wait(WAITING)
    if end == "stop":
        expect(widget.panel.get_by_role("button", name="Stop")).to_be_visible()
        widget.panel.get_by_role("button", name="Stop").click()
    else:
        widget.page.evaluate("chatwright.reset()")
    widget.page.wait_for_function(f"() => !({WAITING})()")
    widget.page.evaluate("chatwright.close()")
    asked = reload(widget)
    assert any("/widget.js" in url for url in asked)
    assert [url for url in asked if "/widget/assets/chat-" in url] == []


def test_what_was_not_seen_is_counted_on_over_a_reload(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1,latency=2500")
    widget = visit(bot)
    widget.open()
    widget.page.evaluate("chatwright.close()")
    other = visit(bot, context=widget.page.context)  # the same visitor's other tab
    other.open()
    other.ask("First")
    other.wait_answers(1)
    expect(widget.launcher).to_have_accessible_name(re.compile(r"\(1\)"))
    other.ask("Second")
    widget.wait(WAITING)
    widget.page.reload()
    expect(widget.launcher).to_have_accessible_name(re.compile(r"\(1\)"))
    expect(widget.launcher).to_have_accessible_name(re.compile(r"\(2\)"), timeout=ANSWER_WITHIN_MS)


def test_of_two_languages_asked_for_the_last_one_stays(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_bot())
    widget.open()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    widget.page.route(re.compile(r"locale=de|/assets/de-"), hold)
    widget.page.evaluate("chatwright.setLocale('de'); chatwright.setLocale('fr')")
    expect(widget.panel.get_by_role("textbox", name="Votre message")).to_be_visible()
    for route in held:
        route.continue_()
    widget.page.wait_for_load_state("networkidle")
    assert held, "German was asked for"
    expect(widget.panel.get_by_role("textbox", name="Votre message")).to_be_visible()
    expect(widget.launcher).to_have_accessible_name("Fermer le chat")


def test_a_draft_is_there_after_a_reload(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_bot("sim:echo=1"))
    widget.open()
    widget.ask("Hello")
    widget.wait_answers(1)
    widget.box.press_sequentially("Do you ship to")
    widget.page.reload()
    widget.open_again()
    expect(widget.box).to_have_value("Do you ship to")
    widget.page.evaluate("chatwright.send('By the page')")
    expect(widget.box).to_have_value("Do you ship to")

    def send() -> None:
        widget.box.press("Enter")

    def reset() -> None:
        widget.page.evaluate("chatwright.reset()")

    for words, end in ((" Norway?", send), ("Never mind", reset)):
        widget.box.press_sequentially(words)
        end()
        expect(widget.box).to_have_value("")
        widget.page.reload()
        widget.open_again()
        expect(widget.box).to_have_value("")


def test_nobody_becomes_a_visitor_who_is_signed_in(make_bot: Callable[..., Bot], visit: Visit, live: "Live") -> None:
    bot = make_bot("sim:echo=1")
    made = live.http("POST", "/api/v1/widget/token", {"widget_id": bot.widget_id, "visitor_id": "customer-9"})
    user = f"{{ id: 'customer-9', token: async () => '{made.json['token']}' }}"
    widget = visit(bot, init=f"window.chatwright = [['setUser', {user}]];")
    widget.open()
    widget.ask("As myself")
    widget.wait_answers(1)
    assert [url for url in widget.requests if "/widget/token" in url] == []
    assert widget.page.evaluate("Object.keys(localStorage).filter((name) => name.includes(':visitor:'))") == []


def test_what_is_being_written_stays_while_the_page_vouches_for_the_same_person(
    make_bot: Callable[..., Bot], visit: Visit, live: "Live"
) -> None:
    bot = make_bot("sim:echo=1")
    made = live.http("POST", "/api/v1/widget/token", {"widget_id": bot.widget_id, "visitor_id": "customer-10"})
    init = f"window.vouch = async () => '{made.json['token']}'; window.chatwright = [['setUser', {{ token: vouch }}]];"
    widget = visit(bot, init=init)
    widget.open()
    widget.box.press_sequentially("Do you ship to")
    widget.page.evaluate("chatwright.setUser({ token: vouch, traits: { plan: 'pro' } })")
    expect(widget.box).to_have_value("Do you ship to")
    widget.page.evaluate("chatwright.setUser({ token: async () => vouch() })")
    expect(widget.box).to_have_value("")
