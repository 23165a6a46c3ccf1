"""The demo chat page in a real browser against a running chatwright with its demo tenant (fixture `live_url`)."""

import json
import re
import shutil
from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
    "--enable-unsafe-swiftshader",
]
QUESTION = "What happens if a worker crashes?"
ANSWER_WITHIN_MS = 20_000
PHONE_WIDTH = 390

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Generator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    yield context
    context.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: script errors and breaches of the content security policy."""
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str], live_url: str) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(f"{live_url}/demo")
    expect(page.locator("#status-text")).to_have_text("Online")
    return page


def _ask(page: Page, text: str) -> None:
    box = page.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")


def _answers(page: Page, count: int) -> None:
    expect(page.locator(".them .origin")).to_have_count(count, timeout=ANSWER_WITHIN_MS)


def test_a_question_gets_a_streamed_answer_whose_source_opens(page: Page, complaints: list[str]) -> None:
    _ask(page, QUESTION)
    log = page.get_by_role("log", name="Conversation")
    expect(log.locator(".me .bubble")).to_have_text(QUESTION)
    _answers(page, 1)
    assert len(log.locator(".them .bubble").inner_text()) > len("I don't know.")
    expect(log.get_by_text("no LLM")).to_be_visible()

    chip = log.get_by_role("list", name="Sources").get_by_role("button").first
    chip.click()
    drawer = page.get_by_role("dialog")
    expect(drawer).to_be_visible()
    assert drawer.locator("#drawer-quote").inner_text().strip()
    expect(drawer.locator("#drawer-title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(chip).to_be_focused()
    assert complaints == []


def test_a_suggested_question_starts_the_conversation(page: Page) -> None:
    choice = page.get_by_role("list", name="Suggested questions").get_by_role("button").first
    question = choice.inner_text().strip()
    choice.click()
    expect(page.get_by_role("log").locator(".me .bubble")).to_have_text(question)
    _answers(page, 1)
    expect(page.locator("#empty")).to_be_hidden()


def test_a_suggested_action_asks_on_and_its_link_opens_apart(page: Page, complaints: list[str]) -> None:
    _ask(page, QUESTION)
    _answers(page, 1)
    group = page.get_by_role("group", name="What you can do next")
    link = group.get_by_role("link").first
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    follow_up = group.get_by_role("button").first
    asked = follow_up.inner_text()
    follow_up.click()
    _answers(page, 2)
    expect(page.locator(".me .bubble").last).to_have_text(asked)
    expect(page.locator(".them").last.locator(".actions button", has_text=asked)).to_have_count(0)
    assert complaints == []


def test_two_answers_that_know_nothing_offer_a_person(page: Page) -> None:
    for count, question in enumerate(("Who won the football league in 1987?", "Who painted the Mona Lisa?"), start=1):
        _ask(page, question)
        _answers(page, count)
    page.get_by_role("button", name="Talk to a person").click()
    expect(page.locator(".action-note")).to_contain_text("A person was asked for.")


def test_a_reload_keeps_the_conversation_and_it_goes_on(page: Page) -> None:
    _ask(page, QUESTION)
    _answers(page, 1)
    before = page.locator(".them .bubble").inner_text()
    page.reload()
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".me .bubble")).to_have_text(QUESTION)
    expect(page.locator(".them .bubble")).to_have_text(before, use_inner_text=True)
    expect(page.get_by_role("list", name="Sources").get_by_role("button").first).to_be_visible()
    _ask(page, "How do I connect OpenAI?")
    _answers(page, 2)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#empty")).to_be_visible()


def test_the_stop_button_cancels_the_message(context: BrowserContext, live_url: str) -> None:
    """The answer's pieces are held back in the browser until the visitor stopped it: else it is over too soon."""
    page = context.new_page()
    held: list[str | bytes] = []
    sent: list[dict[str, str]] = []
    accepted: list[str] = []
    released = False

    def on_socket(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def from_page(message: str | bytes) -> None:
            frame = json.loads(message)
            sent.append(frame)
            server.send(message)
            if frame["type"] == "cancel":
                nonlocal released
                released = True
                for one in held:
                    socket.send(one)

        def from_server(message: str | bytes) -> None:
            frame = json.loads(message)
            if frame["type"] == "message_accepted":
                accepted.append(frame["message_id"])
            if not released and frame["type"] in {"stream_chunk", "stream_complete", "message_replace"}:
                held.append(message)
            else:
                socket.send(message)

        socket.on_message(from_page)
        server.on_message(from_server)

    page.route_web_socket(re.compile(r"/api/v1/ws$"), on_socket)
    page.goto(f"{live_url}/demo")
    _ask(page, QUESTION)
    stop = page.get_by_role("button", name="Stop the answer")
    expect(stop).to_be_visible()
    expect(page.locator(".them[data-phase=waiting], .them[data-phase=streaming]")).to_be_visible()
    stop.click()
    expect(stop).to_be_hidden(timeout=ANSWER_WITHIN_MS)
    cancels = [frame for frame in sent if frame["type"] == "cancel"]
    assert [frame["message_id"] for frame in cancels] == accepted[:1]


def test_a_message_written_offline_goes_out_after_a_reload(context: BrowserContext, page: Page, live_url: str) -> None:
    context.route("**/api/v1/widget/token", lambda route: route.abort())
    page.reload()
    _ask(page, QUESTION)
    expect(page.get_by_text("Goes out when the connection is back")).to_be_visible()
    context.unroute("**/api/v1/widget/token")
    page.reload()
    _answers(page, 1)
    expect(page.locator(".me .bubble")).to_have_count(1)


def test_markup_in_a_message_stays_text(page: Page, complaints: list[str]) -> None:
    text = "<img src=x onerror=alert(1)> <b>bold?</b> [x](javascript:alert(1))"
    _ask(page, text)
    expect(page.locator(".me .bubble")).to_have_text(text)
    assert page.locator(".log img[src=x], .log .me b, .log a[href^=javascript]").count() == 0
    _answers(page, 1)
    assert complaints == []


def test_everything_has_a_name_and_a_place(page: Page) -> None:
    """The basic checks of an accessibility audit, on the first view and on an answer."""
    _ask(page, QUESTION)
    _answers(page, 1)
    faults: list[str] = page.evaluate(
        """() => {
          const faults = [];
          const visible = (element) => element.checkVisibility({ visibilityProperty: true });
          const name = (element) => (element.getAttribute("aria-label") ?? "").trim() || element.textContent.trim()
            || element.labels?.[0]?.textContent.trim() || element.title;
          for (const element of document.querySelectorAll("button, a, textarea, input, dialog"))
            if (visible(element) && !name(element)) faults.push(`no name: ${element.outerHTML.slice(0, 80)}`);
          for (const image of document.images) if (!image.hasAttribute("alt")) faults.push(`no alt: ${image.src}`);
          const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
          for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`twice: #${id}`);
          for (const attribute of ["aria-labelledby", "aria-describedby", "for"])
            for (const element of document.querySelectorAll(`[${attribute}]`))
              for (const id of element.getAttribute(attribute).split(" "))
                if (!document.getElementById(id)) faults.push(`${attribute} leads nowhere: ${id}`);
          if (!document.documentElement.lang) faults.push("no language");
          if (!document.title) faults.push("no title");
          if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
          if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
          if (document.querySelector("[style], style, script:not([src]), [onclick]")) faults.push("inline style or script");
          return faults;
        }"""
    )
    assert faults == []
    for control in ("button.chip", "#send", "#stop", "#new", "#theme", ".cite"):
        for element in page.locator(control).all():
            if element.is_visible():
                box = element.bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) >= 20, control


def test_every_control_is_reached_by_keyboard(page: Page) -> None:
    _ask(page, QUESTION)
    _answers(page, 1)
    page.evaluate("document.activeElement.blur()")
    seen: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"new", "theme", "text", "chip"} <= seen
    assert any("copy" in name for name in seen)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_on_a_phone(browser: Browser, live_url: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": PHONE_WIDTH, "height": 844},
        has_touch=True,
        is_mobile=True,
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(f"{live_url}/demo")
    _ask(page, QUESTION)
    _answers(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH
    page.get_by_role("list", name="Sources").get_by_role("button").first.click()
    expect(page.get_by_role("dialog")).to_be_in_viewport()
    context.close()


def test_an_unknown_chatbot_is_told(context: BrowserContext, live_url: str) -> None:
    page = context.new_page()
    reply = page.goto(f"{live_url}/demo/no-such-chatbot")
    assert reply is not None
    assert reply.status == 404 or page.get_by_role("alert").inner_text()


@pytest.mark.parametrize("path", ["/", "/docs", "/guide/", "/guide/how-to/use-an-llm"])
def test_the_other_pages_load_without_complaint(
    context: BrowserContext, complaints: list[str], live_url: str, path: str
) -> None:
    page = context.new_page()
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if not request.url.startswith(live_url) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(live_url + path)
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
