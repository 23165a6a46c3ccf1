"""The pages that ship with the product, in a real browser: a chatbot's demo page with its playground, start page, guide."""

import json
import re
import uuid
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.widget_node import need_axe
from tests.e2e.widget_support import ANSWER_WITHIN_MS, browser_marks

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

pytestmark = browser_marks()

PHONE_WIDTH = 390
ANIMATIONS = ["idle", "wave", "happy", "thumbs up", "nod", "thinking", "confused", "talk calm", "talk explain"]


@pytest.fixture
def context(chromium: Browser) -> Generator[BrowserContext]:
    # Still poses: what is tested is the page, and drawing costs a small machine seconds.
    context = chromium.new_context(viewport={"width": 1366, "height": 860}, reduced_motion="reduce")
    context.set_default_timeout(ANSWER_WITHIN_MS)
    yield context
    context.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: script errors and breaches of the content security policy."""
    return []


def _open(context: BrowserContext, url: str, complaints: list[str]) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(url)
    return page


@pytest.fixture
def demo(context: BrowserContext, live: "Live", complaints: list[str]) -> Page:
    assert not live.widget_fault, live.widget_fault
    page = _open(context, f"{live.base_url}/demo", complaints)
    expect(page.get_by_role("button", name="thumbs up")).to_be_visible(timeout=ANSWER_WITHIN_MS)
    return page


def test_the_demo_page_carries_the_widget_by_the_line_that_it_shows(
    demo: Page, live: "Live", complaints: list[str]
) -> None:
    line = demo.locator("#line").inner_text()
    assert line == f'<script async src="{live.base_url}/widget.js" data-chatbot="{live.widget_id}"></script>'
    assert demo.locator(f'script[src="/widget.js"][data-chatbot="{live.widget_id}"]').count() == 1
    expect(demo.get_by_role("heading", level=1)).to_contain_text("Demo")
    demo.locator("#open").click()
    expect(demo.locator("chatwright-chat").get_by_role("textbox").first).to_be_editable(timeout=ANSWER_WITHIN_MS)
    assert complaints == []


def test_a_question_of_the_page_is_asked_in_the_chat(demo: Page, complaints: list[str]) -> None:
    question = demo.locator("#questions button").first
    text = question.inner_text()
    demo.evaluate("() => { window.answers = 0; chatwright.on('answered', () => { answers += 1; }); }")
    question.click()
    log = demo.locator("chatwright-chat").get_by_role("log")
    expect(log.get_by_text(text).first).to_be_visible(timeout=ANSWER_WITHIN_MS)
    demo.wait_for_function("() => answers === 1", timeout=ANSWER_WITHIN_MS)
    assert complaints == []


def test_all_nine_animations_can_be_tried(demo: Page, complaints: list[str]) -> None:
    tiles = demo.locator("#animations button")
    assert tiles.all_inner_texts() == ANIMATIONS
    demo.get_by_text("2d", exact=True).click()
    demo.locator("#open").click()
    expect(demo.locator("#tier")).to_contain_text("2d", timeout=ANSWER_WITHIN_MS)
    demo.evaluate("() => { window.played = []; chatwright.on('animation', (name) => { played.push(name); }); }")
    for name in reversed(ANIMATIONS[1:]):  # it waves when it is opened, and what plays already is no event
        demo.get_by_role("button", name=name, exact=True).click()
        demo.wait_for_function("(name) => played.includes(name)", arg=name.replace(" ", "_"), timeout=ANSWER_WITHIN_MS)
    expect(demo.get_by_role("button", name="idle")).to_have_attribute("aria-pressed", "true", timeout=ANSWER_WITHIN_MS)
    assert complaints == []


def test_choices_change_the_widget_the_line_and_the_command(demo: Page, complaints: list[str]) -> None:
    element = demo.locator("chatwright-chat")
    demo.get_by_role("button", name="Forest").click()
    demo.get_by_role("group", name="Look").get_by_text("Left").click()
    demo.get_by_role("group", name="Look").get_by_text("Dark").click()
    demo.locator("#locale").select_option("ar")
    expect(element).to_have_attribute("data-scheme", "dark")
    assert element.evaluate("(one) => getComputedStyle(one).getPropertyValue('--cw-accent')") == "#0f766e"
    launcher = element.locator("[part~=launcher]")
    box = launcher.bounding_box()
    assert box is not None
    assert box["x"] < 200, "it stands on the left"
    expect(launcher).to_have_attribute("aria-label", re.compile("[\u0600-\u06ff]"))
    line = demo.locator("#line").inner_text()
    for attribute in ('data-accent="#0f766e"', 'data-position="left"', 'data-scheme="dark"', 'data-locale="ar"'):
        assert attribute in line
    command = demo.locator("#command").inner_text()
    found = re.fullmatch(r"chatwright chatbot set \S+ 'widget=(.*)'", command)
    assert found is not None, command
    assert json.loads(found[1])["theme"] == {"accent": "#0f766e", "scheme": "dark", "position": "left"}
    demo.get_by_role("button", name="Back to what the chatbot has").click()
    assert "data-accent" not in demo.locator("#line").inner_text()
    assert complaints == []


def test_the_command_of_the_playground_is_taken_by_the_server(demo: Page, live: "Live") -> None:
    demo.get_by_role("button", name="Plum").click()
    demo.get_by_text("low", exact=True).click()
    found = re.fullmatch(r".*'widget=(.*)'", demo.locator("#command").inner_text())
    assert found is not None
    widget = json.loads(found[1])
    made = live.http(
        "POST", "/api/v1/chatbots", {"name": "Plum", "slug": f"plum-{uuid.uuid4().hex[:8]}", "widget": widget}
    )
    assert made.status == 201, made.body
    assert made.json["widget"] == widget


@pytest.mark.parametrize("mode", ["Inline", "Frame"])
def test_the_modes_can_be_tried(demo: Page, complaints: list[str], mode: str) -> None:
    demo.get_by_text(mode, exact=True).click()
    element = demo.locator("chatwright-chat")
    expect(element).to_have_attribute("data-mode", mode.lower())
    if mode == "Inline":
        expect(demo.locator("#slot").get_by_role("textbox").first).to_be_editable(timeout=ANSWER_WITHIN_MS)
        expect(element.locator("[part~=launcher]")).to_have_count(0)
    else:
        expect(demo.frame_locator("chatwright-chat iframe").get_by_role("textbox").first).to_be_editable(
            timeout=ANSWER_WITHIN_MS
        )
    demo.get_by_text("Floating", exact=True).click()
    expect(element.locator("[part~=launcher]")).to_be_visible()
    expect(element.get_by_role("textbox").first).to_be_editable(timeout=ANSWER_WITHIN_MS)
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_demo_page_holds_on_a_phone_and_passes_an_audit(chromium: Browser, live_url: str, scheme: str) -> None:
    context = chromium.new_context(
        viewport={"width": PHONE_WIDTH, "height": 844},
        has_touch=True,
        is_mobile=True,
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(f"{live_url}/demo")
    expect(page.get_by_role("button", name="wave")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH
    page.evaluate(need_axe())
    violations: list[dict[str, str]] = page.evaluate("axe.run(document).then((run) => run.violations)")
    assert [one["id"] for one in violations] == []
    context.close()


def test_without_the_widgets_files_the_page_says_so(
    context: BrowserContext, live: "Live", complaints: list[str]
) -> None:
    context.route("**/widget.js", lambda route: route.fulfill(status=404, body=""))
    page = _open(context, f"{live.base_url}/demo", complaints)
    expect(page.get_by_role("alert")).to_contain_text("make widget")


def test_an_unknown_chatbot_is_told(context: BrowserContext, live_url: str) -> None:
    reply = context.new_page().goto(f"{live_url}/demo/no-such-chatbot")
    assert reply is not None
    assert reply.status == 404


def test_a_name_is_text_on_the_demo_page(context: BrowserContext, live: "Live", complaints: list[str]) -> None:
    name = '<img src=x onerror="document.title=1">{{slug}}'
    slug = f"odd-{uuid.uuid4().hex[:8]}"
    made = live.http("POST", "/api/v1/chatbots", {"name": name, "slug": slug})
    assert made.status == 201, made.body
    page = _open(context, f"{live.base_url}/demo/{slug}", complaints)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Meet {name}.")
    assert page.title().startswith("<img src=x")


@pytest.mark.parametrize("path", ["/", "/docs", "/guide/", "/guide/how-to/embed-the-widget"])
def test_the_other_pages_load_without_complaint(
    context: BrowserContext, complaints: list[str], live_url: str, path: str
) -> None:
    outside: list[str] = []
    context.on("request", lambda request: outside.append(request.url) if not request.url.startswith(live_url) else None)
    page = _open(context, live_url + path, complaints)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    if path == "/":
        expect(page.locator("#health")).to_have_attribute("data-state", "ok")
    if path == "/docs":
        page.locator("details summary", has_text="/api/v1/chatbots").first.click()
        expect(page.locator("details[open] .sample")).to_be_visible()
        page.get_by_role("searchbox").fill("widget token")
        expect(page.locator(".operation:visible")).to_have_count(1)
    assert complaints == []
    assert outside == []
