"""The widget for everybody: by keyboard, for screen readers, zoomed, on a phone, from right to left."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.widget_node import need_axe
from tests.e2e.widget_proxy import Proxy
from tests.e2e.widget_support import Bot, Visit, Widget, browser_marks

pytestmark = browser_marks()

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FOCUSED = """() => { let one = document.activeElement; while (one?.shadowRoot?.activeElement) one = one.shadowRoot.activeElement;
  return one && one !== document.body ? [one.getAttribute("aria-label") ?? one.textContent.trim().slice(0, 60), one.localName] : ["", "body"]; }"""
OUTLINED = """() => { let one = document.activeElement; while (one?.shadowRoot?.activeElement) one = one.shadowRoot.activeElement;
  const seen = (element) => { const style = getComputedStyle(element); return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1)
    || style.boxShadow !== "none"; }; for (let at = one, n = 0; at instanceof Element && n < 4; at = at.parentElement, n += 1) if (seen(at)) return true; return false; }"""
OVERFLOWING = """() => { const found = []; const root = document.querySelector("chatwright-chat").shadowRoot; const width = innerWidth;
  for (const one of root.querySelectorAll("*")) { if (!one.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (one.closest("pre, table, svg, canvas, .figure")) continue;
    if (getComputedStyle(one).position === "absolute" && one.getBoundingClientRect().width <= 2) continue;
    const box = one.getBoundingClientRect(); if (box.width && (box.left < -1 || box.right > width + 1)) found.push(`${one.localName}.${one.className} ${Math.round(box.left)}..${Math.round(box.right)} of ${width}`); }
  return found; }"""
SMALL = """() => [...document.querySelector("chatwright-chat").shadowRoot.querySelectorAll("button, a[href], textarea, [role=menuitem]")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !one.closest("p, li, td, h1, h2, h3, h4, h5, h6"))
  .map((one) => { const box = one.getBoundingClientRect(); return [one.getAttribute("aria-label") ?? one.textContent.trim().slice(0, 30), Math.round(box.width), Math.round(box.height)]; })
  .filter(([, width, height]) => Math.min(width, height) < 44)"""


def focused(page: Page) -> tuple[str, str]:
    """The name and the kind of the element with the focus, in the innermost shadow tree."""
    name, kind = page.evaluate(FOCUSED)
    return str(name), str(kind)


def tab_until(page: Page, wanted: str, *, backwards: bool = False, at_most: int = 60) -> None:
    """Press Tab until the focused element's name matches."""
    passed: list[str] = []
    for _ in range(at_most):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        name, _ = focused(page)
        if re.search(wanted, name):
            return
        passed.append(name)
    raise AssertionError(f"{wanted!r} is not reached by Tab; passed {passed}")


def audit(widget: Widget) -> list[str]:
    """axe's violations: rule, impact and places. It looks into the open shadow root by itself."""
    widget.page.evaluate(need_axe())
    found: dict[str, Any] = widget.page.evaluate(
        "(tags) => axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] })", TAGS
    )
    return [
        f"{one['id']} ({one['impact']}): "
        + " | ".join(f"{node['target']} {node['html'][:120]} {node['failureSummary'][:200]}" for node in one["nodes"])
        for one in found["violations"]
    ]


@pytest.fixture
def long_answer() -> str:
    return (
        "# Title\n\nText with `code`, a [link](https://example.com/a) and **weight**.\n\n- one\n- two\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint('a rather long line of code that does not fit on a phone at all')\n```\n\n"
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["closed", "empty", "answered", "error", "drawer", "menu", "rating", "offline"])
def test_axe_finds_nothing(
    make_bot: Callable[..., Bot],
    make_reader: Callable[..., Bot],
    visit: Visit,
    proxy: Proxy,
    scheme: str,
    state: str,
    long_answer: str,
) -> None:
    questions = ["What happens if a worker crashes?", "How do I connect OpenAI?"]
    bot = {
        "drawer": make_reader,
        "error": lambda: make_bot("sim:status=401", suggested_questions=questions),
    }.get(state, lambda: make_bot("sim:echo=1", suggested_questions=questions))()
    widget = visit(bot, base=proxy.url, attributes={"scheme": scheme}, reduced_motion="reduce")
    expect(widget.launcher).to_be_visible()
    if state != "closed":
        widget.open()
    if state in {"answered", "rating", "menu"}:
        widget.ask(long_answer)
        widget.wait_answers(1)
    if state == "drawer":
        widget.ask(questions[0])
        widget.wait_answers(1)
        widget.log.get_by_role("button", name=re.compile(r"^(Source|Citation) 1\b")).first.click()
        expect(widget.panel.get_by_role("button", name="Close sources")).to_be_visible()
    if state == "error":
        widget.ask("Are you well?")
        expect(widget.log.get_by_role("button", name="Try again")).to_be_visible(timeout=60_000)
    if state == "menu":
        widget.panel.get_by_role("button", name="More options").click()
        expect(widget.panel.get_by_text("Download transcript").first).to_be_visible()
    if state == "rating":
        widget.log.get_by_role("button", name="Poor answer").click()
        expect(widget.panel.get_by_role("button", name="Send feedback")).to_be_visible()
    if state == "offline":
        widget.page.context.set_offline(True)
        proxy.cut()
        expect(widget.panel.get_by_text("You are offline", exact=False).first).to_be_visible()
    assert audit(widget) == []


@pytest.mark.parametrize("accent", ["#ffff00", "#000000", "#ff6600", "#00ffcc"])
def test_any_accent_can_be_read(make_bot: Callable[..., Bot], visit: Visit, accent: str) -> None:
    bot = make_bot("sim:echo=1", widget={"theme": {"accent": accent}}, suggested_questions=["What is this?"])
    widget = visit(bot, reduced_motion="reduce")
    widget.open()
    widget.ask("Text and a [link](https://example.com)")
    widget.wait_answers(1)
    for scheme in ("light", "dark"):
        widget.element.evaluate("(element, scheme) => element.setAttribute('scheme', scheme)", scheme)
        expect(widget.element).to_have_attribute("data-scheme", scheme)
        assert audit(widget) == []


def test_everything_by_keyboard(make_reader: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_reader())
    page = widget.page
    expect(widget.launcher).to_be_visible()
    tab_until(page, "Open chat")
    assert page.evaluate(OUTLINED), "the focus is seen"
    page.keyboard.press("Enter")
    expect(widget.box).to_be_focused()
    page.keyboard.type("What happens if")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("a worker crashes?")
    assert widget.box.input_value() == "What happens if\na worker crashes?"
    page.keyboard.press("Enter")
    expect(widget.box).to_have_value("")
    widget.wait_answers(1)
    expect(widget.box).to_be_focused()
    tab_until(page, r"^(Source|Citation) 1\b", backwards=True)
    assert page.evaluate(OUTLINED)
    opener = focused(page)
    page.keyboard.press("Enter")
    expect(widget.panel.get_by_role("button", name="Close sources")).to_be_visible()
    page.keyboard.press("Escape")
    expect(widget.panel.get_by_role("button", name="Close sources")).to_be_hidden()
    assert focused(page) == opener
    for name in ("Copy answer", "Good answer", "Poor answer"):
        tab_until(page, name)
        assert page.evaluate(OUTLINED), name
    page.keyboard.press("Shift+Tab")
    assert focused(page)[0] == "Good answer"
    page.keyboard.press("Space")
    expect(widget.log.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    tab_until(page, "More options", backwards=True)
    page.keyboard.press("Enter")
    expect(widget.panel.get_by_text("Download transcript").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(widget.panel.get_by_text("Download transcript").first).to_be_hidden()
    expect(widget.panel).to_be_visible()
    assert focused(page)[0] == "More options"
    page.keyboard.press("Escape")
    expect(widget.panel).to_be_hidden()
    expect(widget.launcher).to_be_focused()
    page.keyboard.press("Space")
    expect(widget.box).to_be_focused()


def test_the_focus_is_not_trapped(make_bot: Callable[..., Bot], visit: Visit) -> None:
    """The floating panel is not modal: Tab leads through it and out to the page again."""
    widget = visit(make_bot(), body='<a href="#before">Before</a>')
    widget.open()
    kinds: set[str] = set()
    for _ in range(40):
        widget.page.keyboard.press("Tab")
        kinds.add(focused(widget.page)[0])
    assert "Before" in kinds


def test_screen_readers_hear_each_answer_once(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1,interval=40")
    widget = visit(bot)
    widget.open()
    widget.page.evaluate(
        """() => { window.spoken = []; const root = document.querySelector("chatwright-chat").shadowRoot;
        for (const region of root.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]")) {
          const live = region.getAttribute("aria-live") ?? (region.getAttribute("role") === "alert" ? "assertive" : "polite");
          if (live === "off") continue;
          new MutationObserver((changes) => { for (const change of changes) for (const node of change.addedNodes)
            if (!region.closest("[aria-busy=true]")) spoken.push(node.textContent); else void 0;
            for (const change of changes) if (change.type === "characterData" && !region.closest("[aria-busy=true]")) spoken.push(change.target.data);
          }).observe(region, { subtree: true, childList: true, characterData: true }); } }"""
    )
    words = " ".join(f"word{number}" for number in range(30))
    widget.ask(words)
    widget.wait_answers(1)
    widget.wait("() => spoken.some((text) => text.includes('word29'))")
    spoken: list[str] = widget.page.evaluate("spoken")
    pieces = [text for text in spoken if "word7" in text and "word29" not in text]
    assert pieces == [], "an answer is not read out piece by piece"
    assert len([text for text in spoken if "word29" in text]) == 1
    dialog = widget.panel
    assert (dialog.get_attribute("role"), dialog.get_attribute("aria-modal")) in {("dialog", None), ("dialog", "false")}
    expect(dialog).to_have_accessible_name(re.compile("Ada"))


@pytest.mark.parametrize("width", [640, 550], ids=["200 percent", "233 percent"])
def test_zoomed_in_nothing_is_lost(make_bot: Callable[..., Bot], visit: Visit, long_answer: str, width: int) -> None:
    """200 % on a window of 1280 by 800 is a window of 640 by 400."""
    bot = make_bot("sim:echo=1", suggested_questions=["What is this?"])
    widget = visit(bot, viewport={"width": width, "height": width * 5 // 8}, device_scale_factor=2)
    widget.open()
    for name in ("Close chat", "More options", "Send"):
        expect(widget.panel.get_by_role("button", name=name, exact=True)).to_be_in_viewport(ratio=0.99)
    expect(widget.box).to_be_in_viewport(ratio=0.99)
    widget.ask(long_answer)
    widget.wait_answers(1)
    log = widget.log.bounding_box()
    assert log is not None
    assert log["height"] >= 100, "room to read"
    assert widget.page.evaluate(OVERFLOWING) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_it_full_screen(make_bot: Callable[..., Bot], visit: Visit, long_answer: str, scheme: str) -> None:
    bot = make_bot(
        "sim:echo=1", suggested_questions=["What is this?", "And what is a rather long question doing here?"]
    )
    phone: dict[str, Any] = {
        "viewport": {"width": 375, "height": 667},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    }
    widget = visit(bot, color_scheme=scheme, **phone)
    widget.launcher.tap()
    expect(widget.box).to_be_editable()
    widget.wait(
        """() => { const box = document.querySelector("chatwright-chat").shadowRoot.querySelector("[part~=panel]").getBoundingClientRect();
        return Math.abs(box.x) < 1 && Math.abs(box.y) < 1 && Math.abs(box.width - 375) < 1 && Math.abs(box.height - 667) < 2; }"""
    )
    assert widget.page.evaluate(SMALL) == []
    assert widget.page.evaluate(OVERFLOWING) == []
    size = widget.box.evaluate("(one) => parseFloat(getComputedStyle(one).fontSize)")
    assert size >= 16, "below 16 px phones zoom in when the field gets the focus"
    widget.ask(long_answer)
    widget.wait_answers(1)
    assert widget.page.evaluate(OVERFLOWING) == []
    assert widget.page.evaluate(SMALL) == []
    widget.panel.get_by_role("button", name="Close chat").tap()
    expect(widget.panel).to_be_hidden()
    expect(widget.launcher).to_be_visible()


def test_from_right_to_left(make_bot: Callable[..., Bot], visit: Visit) -> None:
    bot = make_bot("sim:echo=1")
    widget = visit(bot, attributes={"locale": "ar"})
    expect(widget.launcher).to_be_visible()
    widget.launcher.click()
    expect(widget.box).to_be_editable()
    assert widget.panel.evaluate("(one) => getComputedStyle(one).direction") == "rtl"
    expect(
        widget.panel.or_(widget.element).locator("[lang=ar]").or_(widget.page.locator("chatwright-chat[lang=ar]")).first
    ).to_be_attached()
    widget.ask("مرحبا `code` 123")
    widget.wait_answers(1)
    names: list[str] = widget.panel.get_by_role("button").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-label') ?? one.textContent)"
    )
    assert names
    assert [name for name in names if re.search("[a-z]{3}", name.replace("Ada", ""))] == [], "every label is in Arabic"
    mine = widget.log.get_by_text("مرحبا").first.bounding_box()
    log = widget.log.bounding_box()
    assert mine is not None
    assert log is not None
    assert mine["x"] + mine["width"] / 2 < log["x"] + log["width"] / 2, "the visitor's messages stand at the end: left"
    assert widget.log.locator("code").first.evaluate("(one) => getComputedStyle(one).direction") == "ltr"
    assert audit(widget) == []


@pytest.mark.parametrize("locale", ["de", "fr", "es", "it", "pt", "nl", "pl", "zh"])
def test_each_language_is_loaded_when_it_is_wanted(make_bot: Callable[..., Bot], visit: Visit, locale: str) -> None:
    widget = visit(make_bot(languages=[locale]), locale=locale)
    widget.launcher.click()
    expect(widget.box).to_be_editable()
    close = widget.panel.get_by_role("button", name="Close chat", exact=True)
    expect(close).to_have_count(0)
    expect(widget.box).not_to_have_accessible_name("Your message")
    assert [
        url
        for url in widget.requests
        if re.search(r"/assets/(de|fr|es|it|pt|nl|pl|zh|ar)-", url) and f"/{locale}-" not in url
    ] == []
    assert widget.complaints == []


def test_forced_colours_leave_edges(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_bot("sim:echo=1"), forced_colors="active")
    widget.open()
    widget.ask("Edges?")
    widget.wait_answers(1)
    edge = (
        "(one) => getComputedStyle(one).borderTopStyle !== 'none' && parseFloat(getComputedStyle(one).borderTopWidth)"
    )
    for place in (widget.panel, widget.part("composer").locator(".field"), widget.log.locator(".answer-text").first):
        assert place.evaluate(edge) >= 1, place


def test_reduced_motion_moves_nothing(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_bot("sim:echo=1"), reduced_motion="reduce")
    widget.open()
    widget.ask("Calmly")
    widget.wait_answers(1)
    running = """() => document.getAnimations().filter((one) => one.playState === "running" && one.effect.getComputedTiming().duration > 50)
      .map((one) => `${one.animationName ?? one.transitionProperty} ${one.effect.target?.className}`)"""
    widget.wait(f"() => ({running})().length === 0")
    assert widget.page.evaluate(running) == []
