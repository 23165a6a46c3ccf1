"""The widget on bad networks: drops, restarts, silence, two tabs, reloads. What the visitor sees is what REST has."""

import random
import re
import uuid
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import expect

from tests.e2e import conftest as e2e
from tests.e2e.widget_hosts import Hosts
from tests.e2e.widget_proxy import Proxy, run_proxy
from tests.e2e.widget_support import ANSWER_WITHIN_MS, Bot, Visit, Widget, browser_marks

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

pytestmark = browser_marks()

DROPS = 200
RESTART_WITHIN_MS = 60_000
ONLINE_OFTEN = "setInterval(() => dispatchEvent(new Event('online')), 50);"
"""The widget tries at once when the browser says that the network is back: two hundred drops need no minutes so."""
RELOADED = "() => performance.getEntriesByType('navigation')[0].type === 'reload'"


def numbered(name: str, words: int) -> str:
    """A text in which every word is another, so that a lost or doubled one shows."""
    return " ".join(f"{name}{number:03}" for number in range(words))


def shown(widget: Widget, pattern: str = r"[a-z]+\d{3}") -> list[str]:
    """The numbered words that the log shows, in order: questions and answers."""
    return re.findall(pattern, widget.log.inner_text())


def stored(bot: Bot) -> list[str]:
    return re.findall(r"[a-z]+\d{3}", " ".join(text for _, text in bot.texts()))


def letters(number: int) -> str:
    """0 is "aa": names that hold no digit."""
    return chr(97 + number // 26) + chr(97 + number % 26)


def random_budgets(seed: int) -> Iterator[int]:
    """Bytes until the next drop: within the handshake's answer, within a frame, after a few frames."""
    draw = random.Random(seed)
    while True:
        yield draw.choice((draw.randint(1, 90), draw.randint(90, 500), draw.randint(300, 1_500)))


def test_two_hundred_random_drops_lose_and_double_nothing(
    make_bot: Callable[..., Bot], proxy: Proxy, visit: Visit
) -> None:
    """Three visitors at once, so that it takes a third of the time."""
    proxy.cut_sockets_after(random_budgets(9))
    bots = [make_bot("sim:echo=1,interval=25") for _ in range(3)]
    widgets = [visit(bot, base=proxy.url, init=ONLINE_OFTEN) for bot in bots]
    for widget in widgets:
        widget.open()
    draw = random.Random(90)
    asked: list[str] = []
    while proxy.cuts_made < DROPS or len(asked) < 3:
        assert len(asked) < 20, f"only {proxy.cuts_made} drops"
        asked.append(numbered(letters(len(asked)), 90))
        for widget in widgets:
            widget.ask(asked[-1])
        if draw.random() < 0.5:
            proxy.cut(sockets_only=True)  # the message may or may not have gone out, its receipt may be lost
        for widget in widgets:
            widget.wait_answers(len(asked), within_ms=2 * ANSWER_WITHIN_MS)
    proxy.cut_sockets_after(iter(()))
    proxy.cut()
    expected = [word for text in asked for word in (*text.split(), *text.split())]
    for bot, widget in zip(bots, widgets, strict=True):
        assert bot.texts() == [one for text in asked for one in (("visitor", text), ("assistant", text))]
        assert shown(widget) == expected
        assert len(widget.events("answered")) == len(asked)
    widgets[0].page.reload()
    widgets[0].open_again()
    widgets[0].wait_words(expected)


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_killed_server_process_costs_no_word(
    make_bot: Callable[..., Bot], live: "Live", visit: Visit, role: str
) -> None:
    bot = make_bot("sim:echo=1,interval=60")
    widget = visit(bot)
    widget.open()
    text = numbered(role, 40)
    widget.ask(text)
    expect(widget.log.get_by_text(f"{role}005").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    live.remember_family()
    victims = [one for one in psutil.Process(live.process.pid).children() if role in one.cmdline()[1:5]]
    assert victims, f"no process has the role {role}"
    for process in victims:
        process.kill()
    widget.wait_answers(1, within_ms=RESTART_WITHIN_MS)
    assert shown(widget) == stored(bot) == text.split() * 2
    widget.ask(numbered("next", 3))
    widget.wait_answers(2, within_ms=RESTART_WITHIN_MS)
    assert shown(widget) == stored(bot)


@pytest.fixture
def own_server(live: "Live") -> Generator["Live"]:
    """An installation that a test may stop and start, beside the one of the session."""
    assert not live.widget_fault, live.widget_fault
    with e2e.short_folder() as data_dir:
        running = e2e.start_up(data_dir, env=environment_like(live))
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()


def environment_like(live: "Live") -> dict[str, str]:
    started_with = psutil.Process(live.process.pid).environ()
    names = ("CHATWRIGHT_WIDGET_DIR", "OPENAI_BASE_URL", "CHATWRIGHT_UNKNOWN_PRICES")
    return e2e.clean_environment(**{name: started_with[name] for name in names if name in started_with})


@pytest.mark.drill
def test_the_whole_server_restarts_mid_stream(
    own_server: "Live", live: "Live", make_bot: Callable[..., Bot], visit: Visit
) -> None:
    bot = make_bot("sim:echo=1,interval=200", of=own_server)
    with run_proxy(int(own_server.base_url.rsplit(":", 1)[1])) as front:
        widget = visit(bot, base=front.url)
        widget.open()
        text = numbered("up", 30)
        widget.ask(text)
        expect(widget.log.get_by_text("up004").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
        own_server.stop()
        expect(
            widget.panel.get_by_text(re.compile("Reconnecting|connection was lost", re.IGNORECASE)).first
        ).to_be_visible()
        again = e2e.start_up(own_server.data_dir, env=environment_like(live))
        try:
            front.target_port = int(again.base_url.rsplit(":", 1)[1])
            widget.wait_answers(1, within_ms=RESTART_WITHIN_MS)
            bot.live = again
            assert shown(widget) == stored(bot)
            assert shown(widget)[:30] == text.split()
            widget.ask(numbered("after", 3))
            widget.wait_answers(2, within_ms=RESTART_WITHIN_MS)
            assert shown(widget) == stored(bot)
        finally:
            assert again.stop() == 0


def test_two_tabs_stay_in_step(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1,interval=25")
    one = visit(bot)
    one.open()
    two = visit(bot, context=one.page.context)
    two.open()
    one.ask(numbered("first", 30))
    expect(two.log.get_by_text("first029").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    one.wait_answers(1)
    assert shown(one) == shown(two) == stored(bot)
    # Both at once: one conversation, the same order in both.
    one.box.fill(numbered("left", 5))
    two.box.fill(numbered("right", 5))
    one.box.press("Enter")
    two.box.press("Enter")
    one.wait_answers(3)
    two.wait_answers(2)
    assert len(bot.conversations()) == 1
    for widget in (one, two):
        expect(widget.log.get_by_text("left004").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
        expect(widget.log.get_by_text("right004").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    assert sorted(shown(one)) == sorted(stored(bot))
    assert shown(one) == shown(two)
    one.page.evaluate("chatwright.reset()")
    expect(two.log).not_to_contain_text("first000")
    expect(one.log).not_to_contain_text("first000")


def test_two_tabs_that_begin_at_once_end_in_one_conversation(
    make_bot: Callable[..., Bot], proxy: Proxy, visit: Visit
) -> None:
    bot = make_bot("sim:echo=1")
    one = visit(bot, base=proxy.url)
    one.open()
    two = visit(bot, base=proxy.url, context=one.page.context)
    two.open()
    proxy.stall()
    one.ask(numbered("left", 3))
    two.ask(numbered("right", 3))
    proxy.flow()
    for widget in (one, two):
        expect(widget.log.get_by_text("left002").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
        expect(widget.log.get_by_text("right002").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    assert len(bot.conversations()) == 1
    assert sorted(text for role, text in bot.texts() if role == "visitor") == [
        numbered("left", 3),
        numbered("right", 3),
    ]


def test_a_reload_mid_stream_goes_on_where_it_was(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1,interval=60")
    widget = visit(bot)
    widget.open()
    text = numbered("load", 50)
    widget.ask(text)
    for word in ("load008", "load020"):
        expect(widget.log.get_by_text(word).nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
        widget.page.reload()
        widget.open_again()
    expect(widget.log.get_by_text("load049").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    widget.wait_words(text.split() * 2)
    widget.wait_answers(1)
    assert stored(bot) == text.split() * 2


def test_what_was_written_offline_survives_a_reload_and_goes_out_once(
    make_bot: Callable[..., Bot], visit: Visit
) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot)
    context = widget.page.context
    away = True
    context.route(
        "**/api/v1/widget/token",
        lambda route: route.abort() if away else route.continue_(),
    )
    widget.open()
    widget.ask(numbered("early", 3))
    widget.ask(numbered("late", 3))
    expect(widget.log).to_contain_text("late002")
    widget.page.reload()
    widget.open_again()
    expect(widget.log).to_contain_text("early002")
    expect(widget.log).to_contain_text("late002")
    assert bot.conversations() == []
    away = False
    expect(widget.log.get_by_text("late002").nth(1)).to_be_visible(timeout=RESTART_WITHIN_MS)
    widget.wait_answers(2)
    visitor = [text for role, text in bot.texts() if role == "visitor"]
    assert visitor == [numbered("early", 3), numbered("late", 3)]
    assert sorted(shown(widget)) == sorted(stored(bot))


def test_offline_is_told_and_ends(make_bot: Callable[..., Bot], proxy: Proxy, visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot, base=proxy.url)
    widget.open()
    widget.ask(numbered("before", 2))
    widget.wait_answers(1)
    widget.page.context.set_offline(True)
    proxy.cut()
    expect(widget.panel.get_by_text("You are offline", exact=False).first).to_be_visible()
    widget.ask(numbered("during", 2))
    expect(widget.log).to_contain_text("during001")
    widget.page.context.set_offline(False)
    widget.wait_answers(2)
    expect(widget.panel.get_by_text("You are offline", exact=False)).to_have_count(0)
    assert shown(widget) == stored(bot)


def test_a_connection_that_went_silent_is_noticed(make_bot: Callable[..., Bot], proxy: Proxy, visit: Visit) -> None:
    """Nothing is closed, nothing arrives: only the heartbeat tells. The page's clock runs ahead, ours does not."""
    bot = make_bot("sim:echo=1")
    widget = visit(bot, base=proxy.url)
    widget.page.clock.install()
    widget.page.reload()
    widget.open()
    widget.ask(numbered("before", 2))
    widget.wait_answers(1)
    proxy.stall()
    widget.ask(numbered("during", 2))
    for _ in range(8):
        widget.page.clock.run_for(5_000)
    expect(
        widget.panel.get_by_text(re.compile("Reconnecting|connection was lost", re.IGNORECASE)).first
    ).to_be_visible()
    proxy.flow()
    widget.page.clock.run_for(20_000)
    widget.wait_answers(2)
    assert shown(widget) == stored(bot)


def test_a_visitor_keeps_the_conversation_of_an_earlier_visit(
    make_bot: Callable[..., Bot], visit: Visit, hosts: Hosts
) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot)
    widget.open()
    widget.ask(numbered("once", 4))
    widget.wait_answers(1)
    widget.page.close()
    later = visit(bot, context=widget.page.context)
    later.open_again()
    later.wait_words(numbered("once", 4).split() * 2)
    assert later.events("answered", "sent") == [], "history is no news"
    assert later.page.url.startswith(hosts.origin)


def test_reset_begins_another_conversation(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot)
    widget.open()
    widget.ask(f"one {uuid.uuid4().hex}")
    widget.wait_answers(1)
    widget.page.evaluate("chatwright.reset()")
    widget.ask(f"two {uuid.uuid4().hex}")
    widget.wait_answers(2)
    assert len(bot.conversations()) == 2
