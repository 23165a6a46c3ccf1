"""What visitors do in the widget, with the real server behind it: ask, watch, stop, rate, look up, take away."""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from playwright.sync_api import expect

from tests.e2e.widget_support import ANSWER_WITHIN_MS, Bot, Visit, Widget, browser_marks

pytestmark = browser_marks()

QUESTION = "What happens if a worker crashes?"
STORY = (
    "Hello and welcome! Sadly I am sorry, that did not work out at all. First you do one thing, then another, and then "
    "a third. Congratulations, you did it, that is wonderful! Would you like to know more about it? Goodbye for now."
)


def animations(widget: Widget) -> list[str]:
    """What the avatar was seen to do."""
    return [str(name) for _, name in widget.events("animation")]


def stream_of(bot: Bot) -> list[dict[str, Any]]:
    """The numbered events of the only conversation, as the server tells them."""
    (conversation,) = bot.conversations()
    request = urllib.request.Request(
        f"{bot.live.base_url}/api/v1/conversations/{conversation['id']}/events?after_seq=0"
    )
    request.add_header("authorization", f"Bearer {bot.live.tenant_key}")
    found: list[dict[str, Any]] = []
    with urllib.request.urlopen(request, timeout=10) as response:
        for line in response:
            if line.startswith(b"data:"):
                found.append(json.loads(line[5:]))
                if found[-1]["type"] in {"stream_complete", "stream_error"}:
                    break
    return found


def is_subsequence(part: Sequence[str], whole: Sequence[str]) -> bool:
    rest = iter(whole)
    return all(one in rest for one in part)


def without_repeats(names: Sequence[str | None]) -> list[str]:
    found: list[str] = []
    for name in names:
        if name and (not found or found[-1] != name):
            found.append(name)
    return found


def test_an_answer_streams_in_while_the_avatar_plays_along(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1,interval=250")
    widget = visit(bot)
    widget.open()
    widget.page.evaluate(
        """() => { window.lengths = []; const log = document.querySelector("chatwright-chat").shadowRoot.querySelector("[part~=log]");
        new MutationObserver(() => lengths.push(log.textContent.length)).observe(log, { subtree: true, childList: true, characterData: true }); }"""
    )
    widget.ask(STORY)
    widget.wait_answers(1)
    expect(widget.log.get_by_text("Goodbye for now.").nth(1)).to_be_visible()
    grew = widget.page.evaluate("lengths.filter((length, at) => at && length > lengths[at - 1]).length")
    assert grew >= 3, "it came in pieces"
    events = stream_of(bot)
    told = without_repeats(["thinking", *(one.get("animation") for one in events)])
    # Each cue has its dwell: the reaction plays a little after the answer is whole, and may have played before, too.
    widget.wait(
        "(last) => seen.events.filter(([name, what]) => name === 'animation' && what !== 'idle').at(-1)[1] === last",
        told[-1],
    )
    played = animations(widget)
    asked_at = played.index("thinking")
    assert "wave" in played[: asked_at + 1], "it greets"
    cues = [name for name in played[asked_at:] if name != "idle"]
    assert len(set(told)) >= 4, "the story asks for several"
    assert is_subsequence(cues, told), (cues, told)
    assert len(set(cues)) >= 3
    assert cues[-1] == told[-1]
    assert widget.complaints == []


def test_a_suggested_question_is_asked(make_reader: Callable[..., Bot], visit: Visit) -> None:
    bot = make_reader(suggested_questions=[QUESTION, "How do I connect OpenAI?"], greeting="Good day!")
    widget = visit(bot)
    widget.open()
    expect(widget.log.get_by_text("Good day!").first).to_be_visible()
    widget.panel.get_by_role("button", name=QUESTION).click()
    widget.wait_answers(1)
    assert bot.texts()[0] == ("visitor", QUESTION)
    expect(widget.panel.get_by_role("button", name="How do I connect OpenAI?")).to_have_count(0)


def test_sources_open_in_a_drawer(make_reader: Callable[..., Bot], visit: Visit) -> None:
    bot = make_reader()
    widget = visit(bot)
    widget.open()
    widget.ask(QUESTION)
    widget.wait_answers(1)
    source = next(item for item in bot.transcript() if item["role"] == "assistant")["sources"][0]
    opener = widget.log.get_by_role("button", name=re.compile(r"^(Source|Citation) 1\b")).first
    opener.click()
    drawer = widget.panel.get_by_role("button", name="Close sources")
    expect(drawer).to_be_visible()
    shown = " ".join(widget.panel.inner_text().split())
    assert source["title"] in shown
    assert " ".join(source["quote"].split())[:60] in shown
    link = widget.panel.get_by_role("link", name="Open the source")
    # The demo's documents have paths of the server; the page is on another one.
    assert link.get_attribute("href") == urljoin(bot.live.base_url, source["url"])
    assert link.get_attribute("target") == "_blank"
    assert "noopener" in (link.get_attribute("rel") or "")
    widget.page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(widget.panel).to_be_visible()
    expect(opener).to_be_focused()
    assert widget.complaints == []


def test_thumbs_are_stored_and_come_back(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot)
    widget.open()
    widget.ask("Rate me")
    widget.wait_answers(1)

    def rating() -> str | None:
        return next(item for item in bot.transcript() if item["role"] == "assistant")["rating"]

    assert rating() is None
    up = widget.log.get_by_role("button", name="Good answer")
    with widget.page.expect_response(re.compile("/feedback$")) as reply:
        up.click()
    assert reply.value.ok
    assert rating() == "up"
    expect(up).to_have_attribute("aria-pressed", "true")
    with widget.page.expect_response(re.compile("/feedback$")):
        widget.log.get_by_role("button", name="Poor answer").click()
    comment = widget.panel.get_by_role("textbox", name=re.compile("Tell us more|What was wrong"))
    comment.fill("Too short <b>")
    with widget.page.expect_response(re.compile("/feedback$")):
        widget.panel.get_by_role("button", name="Send feedback").click()
    assert rating() == "down"
    listed = bot.live.http("GET", f"/api/v1/feedback?chatbot={bot.slug}")
    assert [(one["rating"], one["comment"], one["question"]) for one in listed.json["items"]] == [
        ("down", "Too short <b>", "Rate me")
    ]
    widget.page.reload()
    widget.open_again()
    expect(widget.log.get_by_role("button", name="Poor answer")).to_have_attribute("aria-pressed", "true")


def test_the_transcript_is_taken_away(make_reader: Callable[..., Bot], visit: Visit, tmp_path: Path) -> None:
    bot = make_reader()
    widget = visit(bot)
    widget.open()
    widget.ask(QUESTION)
    widget.wait_answers(1)
    widget.panel.get_by_role("button", name="More options").click()
    item = widget.panel.get_by_text("Download transcript", exact=False).first
    with widget.page.expect_download() as download:
        item.click()
    file = tmp_path / "transcript"
    download.value.save_as(file)
    text = " ".join(file.read_text("utf-8").split())
    (_, answer) = bot.transcript()
    assert QUESTION in text
    assert " ".join(answer["text"].split())[:80] in text
    assert answer["sources"][0]["title"] in text


def test_an_answer_is_stopped(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:chunks=400,interval=100")
    widget = visit(bot)
    widget.open()
    widget.ask("Go on and on")
    stop = widget.panel.get_by_role("button", name="Stop the answer")
    expect(stop).to_be_visible(timeout=ANSWER_WITHIN_MS)
    stop.click()
    expect(stop).to_be_hidden()
    expect(widget.log.get_by_text("Stopped").first).to_be_visible()
    expect(widget.box).to_be_editable()
    until_s = time.monotonic() + 10  # the widget shows it at once, the server hears of it
    while not all(item["state"] == "cancelled" for item in bot.transcript()) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert {item["role"]: item["state"] for item in bot.transcript()} == {
        "visitor": "cancelled",
        "assistant": "cancelled",
    }


def test_a_failed_answer_can_be_asked_again(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:status=401", widget={"texts": {"error": "Our robot has a cold."}})
    widget = visit(bot)
    widget.open()
    widget.ask("Are you well?")
    again = widget.log.get_by_role("button", name="Try again")
    expect(again).to_be_visible(timeout=60_000)
    expect(widget.log.get_by_text("Our robot has a cold.").first).to_be_visible()
    bot.change(providers=[{"provider": "openai", "model": "sim:echo=1"}])
    bot.wait_until_it_answers()  # workers hear of a change within a second
    again.click()
    widget.wait_answers(1)
    expect(widget.log.get_by_text("Are you well?").last).to_be_visible()
    expect(again).to_have_count(0)


def test_too_much_at_once_is_told_in_the_chatbots_words(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1", limits={"requests_per_minute": 1}, widget={"texts": {"over_limit": "Easy, easy."}})
    widget = visit(bot)
    widget.open()
    widget.ask("One")
    widget.wait_answers(1)
    widget.ask("Two")
    expect(widget.panel.get_by_text("Easy, easy.", exact=False).first).to_be_visible(timeout=ANSWER_WITHIN_MS)
    expect(widget.log.get_by_text("Two").first).to_be_visible()
    assert [text for role, text in bot.texts() if role == "visitor"] == ["One"]


def test_a_text_that_is_too_long_stays_with_the_visitor(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot)
    widget.open()
    text = "x" * 40_000
    widget.box.fill(text)
    widget.box.press("Enter")
    expect(widget.panel.get_by_text(re.compile("too many|too long")).first).to_be_visible()
    assert widget.box.input_value() == text or widget.log.get_by_text("too long").first.is_visible()
    assert bot.conversations() == []
    widget.box.fill("Short")
    widget.box.press("Enter")
    widget.wait_answers(1)


def test_what_was_not_seen_is_counted(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1,latency=1200")
    widget = visit(bot)
    widget.open()
    widget.ask("Answer later")
    expect(widget.log).to_contain_text("Answer later")
    widget.page.evaluate("chatwright.close()")
    widget.wait(
        "() => seen.events.some(([name, detail]) => name === 'unread' && JSON.stringify(detail).includes('1'))",
        within_ms=ANSWER_WITHIN_MS,
    )
    expect(widget.launcher).to_have_accessible_name(re.compile("1"))
    widget.launcher.click()
    expect(widget.log.get_by_text("Answer later").nth(1)).to_be_visible()
    widget.page.evaluate("chatwright.close()")
    expect(widget.launcher).not_to_have_accessible_name(re.compile("1"))


def test_suggested_actions_go_on(make_reader: Callable[..., Bot], visit: Visit) -> None:
    bot = make_reader()
    widget = visit(bot)
    widget.open()
    widget.ask(QUESTION)
    widget.wait_answers(1)
    (_, answer) = bot.transcript()
    actions = answer["suggested_actions"]
    reply = next(one for one in actions if one["kind"] == "reply")
    links = [one for one in actions if one["kind"] == "link"]
    for one in links:
        link = widget.log.get_by_role("link", name=re.compile(re.escape(one["label"][:30]))).first
        assert link.get_attribute("href") == urljoin(bot.live.base_url, one["value"])
        assert link.get_attribute("target") == "_blank"
        assert "noopener" in (link.get_attribute("rel") or "")
    widget.log.get_by_role("button", name=reply["label"]).first.click()
    widget.wait_answers(2)
    assert [text for role, text in bot.texts() if role == "visitor"] == [QUESTION, reply["value"]]


def test_two_answers_that_know_nothing_offer_a_person(make_reader: Callable[..., Bot], visit: Visit) -> None:
    bot = make_reader()
    widget = visit(bot)
    widget.open()
    for count, question in enumerate(("Who won the football league in 1987?", "Who painted the Mona Lisa?"), start=1):
        widget.ask(question)
        widget.wait_answers(count)
    widget.log.get_by_role("button", name="Talk to a person").last.click()
    expect(widget.panel.get_by_text(re.compile("person|team", re.IGNORECASE)).last).to_be_visible()


def test_markup_stays_text_and_markdown_is_drawn(make_bot: Callable[..., Bot], visit: Visit) -> None:
    text = "<img src=x onerror=alert(1)> <b>bold?</b> [x](javascript:alert(1)) **strong**"
    bot = make_bot("sim:echo=1")
    widget = visit(bot)
    widget.open()
    widget.ask(text)
    widget.wait_answers(1)
    expect(widget.log.get_by_text(text, exact=True)).to_be_visible()
    expect(widget.log.locator("strong")).to_have_text("strong")
    assert widget.log.locator("img[src=x], b, a[href^=javascript]").count() == 0
    assert widget.complaints == []


def test_an_answer_is_copied(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot, permissions=["clipboard-read", "clipboard-write"])
    widget.open()
    widget.ask("Copy **this**")
    widget.wait_answers(1)
    widget.log.get_by_role("button", name="Copy answer").click()
    assert widget.page.evaluate("navigator.clipboard.readText()") == "Copy **this**"
