"""One line on somebody else's page: what it loads, where it holds, and what pages may do with it."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.widget_hosts import HOSTILE_CSS, Hosts, document, snippet, strict_policy
from tests.e2e.widget_proxy import Proxy
from tests.e2e.widget_support import ANSWER_WITHIN_MS, Bot, Visit, Widget, browser_marks

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

pytestmark = browser_marks()

BLOCKED_STORAGE = """
for (const name of ["localStorage", "sessionStorage", "indexedDB"])
  Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });
window.BroadcastChannel = undefined;
"""
FULL_STORAGE = """
Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
"""


def paths_of(widget: Widget, base: str) -> list[str]:
    """The paths that the page asked of the widget's server, in order."""
    return [urlsplit(url).path for url in widget.requests if url.startswith(base)]


def painted(widget: Widget) -> str:
    """The launcher's background, colours as the browser writes them."""
    return widget.launcher.evaluate("(element) => getComputedStyle(element).background")


def fill(page: Page, color: str) -> str:
    """A CSS colour as the browser writes it."""
    return page.evaluate(
        """(color) => { const one = document.createElement("i"); one.style.color = color; document.body.append(one);
        const found = getComputedStyle(one).color; one.remove(); return found; }""",
        color,
    )


def test_one_line_is_a_chat(make_bot: Callable[..., Bot], visit: Visit, live: "Live") -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot)
    expect(widget.launcher).to_be_visible()
    widget.open()
    widget.ask("Do you ship to Norway?")
    widget.wait_answers(1)
    assert widget.log.inner_text().count("Do you ship to Norway?") == 2
    assert bot.texts() == [("visitor", "Do you ship to Norway?"), ("assistant", "Do you ship to Norway?")]
    assert widget.complaints == []
    elsewhere = [
        url for url in widget.requests if not url.startswith((live.base_url, widget.page.url, "blob:", "data:"))
    ]
    assert [url for url in elsewhere if not url.endswith("/favicon.ico")] == []


def test_nothing_heavy_before_the_first_opening(make_bot: Callable[..., Bot], visit: Visit, live: "Live") -> None:
    bot = make_bot(tier="auto")
    widget = visit(bot)
    expect(widget.launcher).to_be_visible()
    widget.wait("() => document.readyState === 'complete'")
    widget.page.wait_for_load_state("networkidle")
    assert sorted(set(paths_of(widget, live.base_url))) == ["/api/v1/widget/config", "/widget.js"]
    before = len(paths_of(widget, live.base_url))
    widget.open()
    widget.wait(
        "() => seen.events.some(([name, to]) => name === 'tier' && !JSON.stringify(to).includes('2d'))",
        within_ms=30_000,
    )
    loaded = paths_of(widget, live.base_url)[before:]
    assert any(path.startswith("/widget/assets/") for path in loaded), "the recorder sees what is loaded later"


@pytest.mark.alone
def test_no_long_task_before_the_first_opening(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_bot(tier="auto"))
    expect(widget.launcher).to_be_visible()
    widget.page.wait_for_load_state("networkidle")
    assert [took_ms for took_ms in widget.page.evaluate("seen.longTasks") if took_ms > 50] == []
    widget.page.evaluate(
        "setTimeout(() => { const began = performance.now(); while (performance.now() < began + 120); })"
    )
    widget.wait(
        "() => seen.longTasks.some((tookMs) => tookMs > 50)"
    )  # they are seen: else this test would show nothing


def test_a_strict_policy_is_never_breached(make_bot: Callable[..., Bot], visit: Visit, live: "Live") -> None:
    bot = make_bot("sim:echo=1", tier="auto")
    widget = visit(bot, headers={"content-security-policy": strict_policy(live.base_url)})
    # The policy is in force: the page's own inline style is refused. Else this test would show nothing.
    widget.page.evaluate("document.body.setAttribute('style', 'color: red')")
    widget.wait("() => seen.violations.length === 1")
    widget.page.evaluate("seen.violations.length = 0")
    widget.complaints.clear()
    widget.open()
    widget.ask("# Hello\n\n**bold** `code`\n\n| a | b |\n|:-:|--:|\n| 1 | 2 |\n\n```py\nprint(1)\n```")
    widget.wait_answers(1)
    widget.wait(
        "() => seen.events.some(([name, to]) => name === 'tier' && !JSON.stringify(to).includes('2d'))",
        within_ms=30_000,
    )
    expect(widget.log.locator("table")).to_be_visible()
    assert widget.violations == []
    assert [one for one in widget.complaints if "Content Security Policy" in one or "Refused" in one] == []
    box = widget.panel.bounding_box()
    assert box is not None
    assert box["width"] >= 300, "the styles hold without style elements"


def test_hostile_styles_of_the_page_do_not_reach_it(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    calm = visit(bot, reduced_motion="reduce")  # so that nothing is measured on its way
    calm.open()
    wild = visit(bot, head=f"<style>{HOSTILE_CSS}</style>", reduced_motion="reduce")
    expect(wild.launcher).to_be_visible()
    wild.open()
    look = """(element) => { const root = element.shadowRoot; const names = ["panel", "header", "log", "composer"];
      return names.map((name) => { const one = root.querySelector(`[part~=${name}]`); if (!one) return name;
        const { width, height, x, y } = one.getBoundingClientRect(); const style = getComputedStyle(one);
        return [name, ...[width, height, x, y].map(Math.round), style.fontSize, style.fontFamily, style.color, style.letterSpacing,
          style.textTransform, style.opacity, style.direction, style.lineHeight, style.visibility]; }); }"""
    assert wild.element.evaluate(look) == calm.element.evaluate(look)
    host = """(element) => { const style = getComputedStyle(element); return [style.filter, style.transform, style.opacity,
      style.clipPath, style.visibility, style.zoom]; }"""
    assert wild.element.evaluate(host) == calm.element.evaluate(host)
    wild.ask("Still here?")
    wild.wait_answers(1)
    wild.page.keyboard.press("Escape")
    expect(wild.panel).to_be_hidden()


def test_the_frame_mode_is_a_whole_chat(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot, attributes={"mode": "frame"}, head=f"<style>{HOSTILE_CSS}</style>")
    expect(widget.launcher).to_be_visible()
    assert [frame for frame in widget.page.frames if "/widget/frame/" in frame.url] == [], "nothing before it is opened"
    widget.launcher.click()
    inner = widget.page.frame_locator("chatwright-chat iframe")
    box = inner.get_by_role("textbox")
    expect(box).to_be_editable()
    box.fill("From a frame")
    box.press("Enter")
    expect(inner.get_by_role("log").get_by_text("From a frame").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    widget.wait_answers(1)  # what is shown is stored a little later
    assert bot.texts() == [("visitor", "From a frame"), ("assistant", "From a frame")]
    widget.page.evaluate("chatwright.send('From the page')")
    expect(inner.get_by_role("log").get_by_text("From the page").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    box.press("Escape")
    expect(widget.page.locator("chatwright-chat iframe")).to_be_hidden()
    expect(widget.launcher).to_be_focused()


def test_a_page_that_is_not_allowed_says_so(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot(allowed_origins=["https://shop.example"])
    warnings: list[str] = []
    widget = visit(bot, html=document())
    widget.page.on("console", lambda message: warnings.append(message.text))
    widget.page.evaluate(
        """([base, id]) => { const one = document.createElement("script"); one.async = true; one.src = `${base}/widget.js`;
        one.dataset.chatbot = id; document.body.append(one); }""",
        [bot.live.base_url, bot.widget_id],
    )
    expect(widget.launcher).to_be_visible()
    widget.launcher.click()
    expect(
        widget.element.get_by_text(re.compile("not (enabled|available|set up)", re.IGNORECASE)).first
    ).to_be_visible()
    assert any("allowed_origins" in text for text in warnings), warnings


def test_an_unknown_chatbot_leaves_the_page_alone(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot()
    bot.widget_id = "cw_pub_nobodyknowsthisone"
    widget = visit(bot)
    dialogs: list[str] = []
    widget.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    expect(widget.launcher).to_be_visible()
    widget.launcher.click()
    expect(
        widget.element.get_by_text(re.compile("not (enabled|available)|try again", re.IGNORECASE)).first
    ).to_be_visible()
    assert dialogs == []
    assert [one for one in widget.complaints if "Failed to load" not in one] == []


def test_a_server_that_is_away_at_load_is_told_and_comes_back(
    make_bot: Callable[..., Bot], proxy: Proxy, visit: Visit
) -> None:
    """The script comes from a cache; everything else is refused, until it is not."""
    bot = make_bot("sim:echo=1")
    warm = visit(bot, base=proxy.url)
    expect(warm.launcher).to_be_visible()
    context = warm.page.context
    context.route(re.compile(r"/api/v1/|/widget/assets/"), lambda route: route.abort())
    cold = visit(bot, base=proxy.url, context=context)
    expect(cold.launcher).to_be_visible()
    cold.launcher.click()
    told = cold.element.get_by_text(re.compile("could not|cannot|lost|try again|not available", re.IGNORECASE)).first
    expect(told).to_be_visible(timeout=ANSWER_WITHIN_MS)
    assert [one for one in cold.complaints if "Failed to load" not in one and "ERR_FAILED" not in one] == []
    context.unroute_all()
    again = cold.element.get_by_role("button", name=re.compile("try again|retry", re.IGNORECASE))
    if again.count():
        again.first.click()
    else:
        cold.launcher.click()
        cold.launcher.click()
    expect(cold.box).to_be_editable(timeout=ANSWER_WITHIN_MS)


@pytest.mark.parametrize("init", [BLOCKED_STORAGE, FULL_STORAGE], ids=["blocked", "full"])
def test_it_works_where_nothing_may_be_stored(make_bot: Callable[..., Bot], visit: Visit, init: str) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot, init=init)
    widget.open()
    widget.ask("Remember me?")
    widget.wait_answers(1)
    assert widget.log.inner_text().count("Remember me?") == 2
    assert widget.complaints == []


def test_two_widgets_on_one_page_keep_apart(make_bot: Callable[..., Bot], visit: Visit, hosts: Hosts) -> None:
    one, two = make_bot("sim:echo=1", name="One"), make_bot("sim:echo=1", name="Two")
    first = snippet(one.live.base_url, one.widget_id)
    second = f'<chatwright-chat chatbot="{two.widget_id}" position="left"></chatwright-chat>'
    widget = visit(one, html=document(first + second))
    elements = widget.page.locator("chatwright-chat")
    expect(elements).to_have_count(2)
    for bot in (one, two):
        element = widget.page.locator(f'chatwright-chat[chatbot="{bot.widget_id}"]')
        element.locator("[part~=launcher]").click()
        box = element.get_by_role("textbox")
        expect(box).to_be_editable()
        box.fill(f"To {bot.slug}")
        box.press("Enter")
        expect(element.get_by_role("log").get_by_text(f"To {bot.slug}").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    widget.wait_answers(2)
    assert one.texts() == [("visitor", f"To {one.slug}"), ("assistant", f"To {one.slug}")]
    assert two.texts() == [("visitor", f"To {two.slug}"), ("assistant", f"To {two.slug}")]


def test_the_line_pasted_twice_is_one_widget(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot()
    line = snippet(bot.live.base_url, bot.widget_id)
    widget = visit(bot, html=document(line + line))
    expect(widget.launcher).to_be_visible()
    widget.page.wait_for_load_state("networkidle")
    expect(widget.page.locator("chatwright-chat")).to_have_count(1)
    assert widget.complaints == []


def test_an_element_taken_away_and_put_back_goes_on(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot)
    widget.open()
    widget.ask("Before")
    widget.wait_answers(1)
    widget.page.evaluate("window.kept = document.querySelector('chatwright-chat'); kept.remove()")
    expect(widget.page.locator("chatwright-chat")).to_have_count(0)
    widget.page.evaluate("document.body.append(kept)")
    expect(widget.launcher).to_be_attached()
    widget.page.evaluate("kept.open()")
    expect(widget.box).to_be_editable()
    expect(widget.log.get_by_text("Before").first).to_be_visible()
    widget.ask("After")
    expect(widget.log.get_by_text("After").nth(1)).to_be_visible(timeout=ANSWER_WITHIN_MS)
    assert [text for role, text in bot.texts() if role == "visitor"] == ["Before", "After"]
    assert widget.complaints == []


def test_the_api_works_from_the_page(make_bot: Callable[..., Bot], visit: Visit) -> None:
    """Also what was called before the script was there."""
    bot = make_bot("sim:echo=1")
    early = """window.chatwright = window.chatwright || []; window.heard = [];
      chatwright.push(["on", "answered", (detail) => heard.push(detail)]); chatwright.push(["open"]);
      chatwright.push(["send", "Queued early"]);"""
    widget = visit(bot, init=early)
    expect(widget.box).to_be_editable()
    widget.wait("() => heard.length === 1", within_ms=ANSWER_WITHIN_MS)
    page = widget.page
    page.evaluate("chatwright.close()")
    expect(widget.panel).to_be_hidden()
    page.evaluate("chatwright.toggle()")
    expect(widget.panel).to_be_visible()
    page.evaluate("void (window.off = chatwright.on('sent', (detail) => heard.push(detail)))")
    page.evaluate("chatwright.send('By the page')")
    widget.wait("() => heard.length >= 3", within_ms=ANSWER_WITHIN_MS)
    page.evaluate("off()")
    page.evaluate("chatwright.setLocale('de')")
    expect(
        widget.panel.get_by_role("textbox", name="Ihre Nachricht").or_(
            widget.panel.get_by_role("textbox", name="Deine Nachricht")
        )
    ).to_be_visible()
    page.evaluate("chatwright.setMetadata({ current_page: '/checkout' }); chatwright.play('wave')")
    page.evaluate("document.querySelector('chatwright-chat').send('By the element')")
    widget.wait_answers(3)
    page.evaluate("chatwright.reset()")
    expect(widget.log).not_to_contain_text("Queued early")
    names = [name for name, _ in widget.events()]
    assert {"open", "close", "ready", "sent", "answered"} <= set(names)
    assert names.count("answered") == 3
    assert [text for role, text in bot.texts() if role == "visitor"] == [
        "Queued early",
        "By the page",
        "By the element",
    ]
    assert widget.complaints == []


def test_a_signed_in_user_has_a_conversation_of_his_own(
    make_bot: Callable[..., Bot], visit: Visit, live: "Live"
) -> None:
    """The page's server vouches for its user with a token that it got by its tenant key."""
    bot = make_bot("sim:echo=1")
    made = live.http("POST", "/api/v1/widget/token", {"widget_id": bot.widget_id, "visitor_id": "customer-7"})
    assert made.status == 200, made.body
    widget = visit(bot)
    widget.open()
    widget.ask("As a stranger")
    widget.wait_answers(1)
    widget.page.evaluate(
        "(token) => chatwright.setUser({ id: 'customer-7', token: () => Promise.resolve(token) })", made.json["token"]
    )
    expect(widget.log).not_to_contain_text("As a stranger")
    widget.ask("As a customer")
    widget.wait_answers(2)
    visitors = {one["visitor_id"] for one in bot.conversations()}
    assert len(visitors) == 2
    assert any("customer-7" in str(one) for one in visitors), visitors
    widget.page.evaluate("chatwright.setUser(null)")
    expect(widget.log).to_contain_text("As a stranger")
    expect(widget.log).not_to_contain_text("As a customer")


def test_attributes_and_variables_dress_it(make_bot: Callable[..., Bot], visit: Visit) -> None:
    style = "<style>chatwright-chat.mine { --chatwright-accent: #7c2d12; --chatwright-offset-y: 77px; --chatwright-width: 333px; }</style>"
    widget = visit(make_bot(), attributes={"position": "left", "scheme": "dark", "accent": "#0f766e"}, head=style)
    expect(widget.launcher).to_be_visible()
    page = widget.page
    assert widget.element.get_attribute("data-scheme") == "dark"
    box = widget.launcher.bounding_box()
    assert box is not None
    assert box["x"] < 200
    assert fill(page, "#0f766e") in painted(widget)
    widget.element.evaluate(
        "(element) => { element.setAttribute('scheme', 'light'); element.setAttribute('position', 'right'); }"
    )
    expect(widget.element).to_have_attribute("data-scheme", "light")
    widget.wait(
        "() => document.querySelector('chatwright-chat').shadowRoot.querySelector('[part~=launcher]').getBoundingClientRect().x > 800"
    )
    widget.element.evaluate("(element) => { element.classList.add('mine'); element.removeAttribute('accent'); }")
    widget.wait(
        """(color) => { const root = document.querySelector("chatwright-chat").shadowRoot;
        return getComputedStyle(root.querySelector("[part~=launcher]")).background.includes(color); }""",
        fill(page, "#7c2d12"),
    )
    widget.open()
    panel = widget.panel.bounding_box()
    assert panel is not None
    assert abs(panel["width"] - 333) <= 1


def test_the_chatbots_settings_dress_it(make_bot: Callable[..., Bot], visit: Visit) -> None:
    dress: dict[str, Any] = {
        "theme": {"accent": "#9d174d", "position": "left", "scheme": "dark", "offset_x": 44},
        "texts": {"title": "Ask Ada & Co", "placeholder": "Type <here>", "launcher": "Need help?"},
    }
    widget = visit(make_bot(widget=dress, greeting="Moin!"))
    expect(widget.element).to_have_attribute("data-scheme", "dark")
    assert fill(widget.page, "#9d174d") in painted(widget)
    widget.open()
    expect(widget.panel.get_by_text("Ask Ada & Co").first).to_be_visible()
    expect(widget.box).to_have_attribute("placeholder", "Type <here>")
    expect(widget.log.get_by_text("Moin!").first).to_be_visible()
    assert json.dumps(widget.complaints) == "[]"


def test_auto_follows_the_visitors_system(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_bot(), attributes={"scheme": "auto"}, color_scheme="dark")
    expect(widget.element).to_have_attribute("data-scheme", "dark")
    widget.page.emulate_media(color_scheme="light")
    expect(widget.element).to_have_attribute("data-scheme", "light")
