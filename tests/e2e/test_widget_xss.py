"""No text of a model, a source, a visitor or a chatbot's settings becomes a script, a style, a frame or a request.

`xss_corpus.py` has the cases. They go through the Markdown module alone (whole, and split at many places, behind either
second fence) and through the whole widget on a host page, with the real server streaming them.
"""

import json
import re
import subprocess
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.widget_hosts import Hosts
from tests.e2e.widget_node import WIDGET, need_node, need_packages
from tests.e2e.widget_support import Bot, Visit, Widget, browser_marks
from tests.e2e.xss_corpus import ADDRESSES, CASES, ELSEWHERE, SHORT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, WebSocketRoute

BATCH_CHARACTERS = 6_000

pytestmark = browser_marks()

TRIPWIRES = """
window.hits = [];
for (const name of ["alert", "confirm", "prompt", "print", "open"]) window[name] = (...words) => void hits.push([name, ...words].join());
Object.defineProperty(window, "hit", { set: (value) => hits.push(`flag ${value}`), get: () => 0 });
document.addEventListener("securitypolicyviolation", (event) => hits.push(`csp ${event.blockedURI}`));
"""

AUDIT = """(root) => {
  const faults = [];
  const bad = new Set("script style link meta base iframe frame frameset object embed applet portal template math template audio video source track".split(" "));
  for (const element of root.querySelectorAll("*")) {
    const name = element.localName;
    if (bad.has(name)) faults.push(`<${name}>`);
    for (const { name: key, value } of element.attributes) {
      if (/^on|^(srcdoc|formaction|ping|background|action|is|slot)$/i.test(key)) faults.push(`${name} ${key}`);
      if (/^(href|src|srcset|xlink:href)$/i.test(key) && !/^(https?:|mailto:|tel:|#)/.test(value)) faults.push(`${name} ${key}=${value}`);
    }
    if (name === "a" && element.host === "%s" && element.target !== "_blank") faults.push(`a opens here: ${element.href}`);
    if (name === "a" && !/noopener/.test(element.rel)) faults.push(`a with rel=${element.rel}`);
  }
  return faults;
}""" % (ELSEWHERE,)  # noqa: UP031 - braces all over

TORMENT = """async ([cases, images]) => {
  const { createMarkdown } = await import("/xss/entry.js");
  const audit = (%s);
  const allowed = new Set("P H3 H4 H5 H6 DIV SPAN STRONG EM DEL CODE PRE BR HR A IMG UL OL LI BLOCKQUOTE TABLE TR TH TD".split(" "));
  const cite = (n) => n > 3 ? null : Object.assign(document.createElement("button"), { textContent: n });
  const markdown = await createMarkdown({ document, images, cite });
  performance.now = () => 0;
  const faults = [];
  let updates = 0;
  for (const [name, text] of cases) {
    const whole = document.createElement("div");
    const grown = document.createElement("div");
    document.body.append(whole, grown);
    markdown.update(whole, text, true);
    const step = Math.max(1, Math.ceil(text.length / 40));
    for (let end = 1; end < text.length; end += step) {
      markdown.update(grown, text.slice(0, end), false);
      updates += 1;
      for (const element of grown.querySelectorAll("*")) if (!allowed.has(element.tagName) && element.tagName !== "BUTTON") faults.push(`${name}: ${element.tagName}`);
    }
    markdown.update(grown, text, true);
    if (grown.innerHTML !== whole.innerHTML) faults.push(`${name}: another end: ${grown.innerHTML}`);
    for (const fault of audit(whole)) faults.push(`${name}: ${fault}`);
    for (const element of whole.querySelectorAll("*")) {
      for (const kind of ["mouseover", "pointerenter", "focus", "animationstart"]) element.dispatchEvent(new Event(kind));
      if (!element.closest("a")) element.click();
    }
    await new Promise((done) => setTimeout(done));
    whole.remove();
    grown.remove();
  }
  return { faults: faults.slice(0, 20), updates };
}""" % (AUDIT,)  # noqa: UP031


@pytest.fixture(scope="module")
def markdown_module(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Markdown module alone, served by the host pages. Returns the address of an empty page beside it."""
    need_packages()
    folder = tmp_path_factory.mktemp("markdown")
    command = [need_node(), "tests/bundle.mjs", "src/ui/markdown.ts", str(folder)]
    made = subprocess.run(command, cwd=WIDGET, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 0, made.stderr
    for file in folder.glob("*.js"):
        hosts.put(f"/xss/{file.name}", file.read_bytes(), {"content-type": "text/javascript"})
    return hosts.put("/xss/", "<!doctype html><title>x</title><body></body>")


@pytest.fixture
def page(chromium: "Browser") -> "Generator[Page]":
    context = chromium.new_context()
    context.add_init_script(TRIPWIRES)
    yield context.new_page()
    context.close()


def outside(requests: Sequence[str], *ours: str) -> list[str]:
    """Requests to anybody but us."""
    known = {urlsplit(one).netloc for one in ours}
    return [
        one for one in requests if urlsplit(one).scheme not in {"blob", "data"} and urlsplit(one).netloc not in known
    ]


def test_the_tripwires_and_the_audit_see_what_they_shall(page: "Page", hosts: Hosts) -> None:
    """Else the tests below would show nothing."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.goto(hosts.put("/xss/bare", "<!doctype html><title>x</title><body></body>"))
    page.evaluate(
        """(html) => { document.body.innerHTML = html; document.querySelector("b").click(); document.querySelector("i").click(); }""",
        '<img src="x" onerror="alert(1)"><b onclick="window.hit=1">x</b><i onclick="window.open(1)">x</i>'
        f'<img src="https://{ELSEWHERE}/x"><a href="javascript:alert(1)">x</a><style></style>',
    )
    page.wait_for_function("() => hits.length >= 3")
    assert sorted(page.evaluate("hits")) == ["alert,1", "flag 1", "open,1"]
    assert outside(seen, hosts.origin) == [f"https://{ELSEWHERE}/x"]
    faults = page.evaluate(f"({AUDIT})(document)")
    for fault in ("img onerror", "b onclick", "img src=x", "a href=javascript:alert(1)", "a with rel=", "<style>"):
        assert fault in faults


@pytest.mark.parametrize("fence", ["sanitizer", "dompurify"])
def test_markdown_alone_whole_and_split(page: "Page", markdown_module: str, hosts: Hosts, fence: str) -> None:
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.on("dialog", lambda dialog: seen.append(f"dialog {dialog.message}"))
    page.on("popup", lambda popup: seen.append(f"popup {popup.url}"))
    if fence == "dompurify":
        page.add_init_script("delete Element.prototype.setHTML;")
    page.goto(markdown_module)
    assert page.evaluate("'setHTML' in Element.prototype") == (fence == "sanitizer")
    result = page.evaluate(TORMENT, [list(CASES.items()), False])
    page.wait_for_timeout(300)
    assert result["faults"] == []
    assert result["updates"] > 10_000
    assert page.evaluate("hits") == []
    assert outside(seen, hosts.origin) == []
    assert any("purify" in one for one in seen) == (fence == "dompurify")


def test_pictures_are_fetched_by_https_only(page: "Page", markdown_module: str, hosts: Hosts) -> None:
    page.route(f"**://{ELSEWHERE}/**", lambda route: route.abort())
    page.goto(markdown_module)
    result = page.evaluate(TORMENT, [[one for one in CASES.items() if "!" in one[1]], True])
    assert result["faults"] == []
    assert page.evaluate("hits") == []
    shown = page.evaluate(
        """async () => { const { createMarkdown } = await import("/xss/entry.js"); const box = document.createElement("div");
        (await createMarkdown({ document, images: true, cite: () => null })).update(box,
          "![a](https://x.invalid/1.png) ![b](http://x.invalid/2.png) ![c](data:image/png;base64,AA==) ![d](javascript:1)", true);
        return [...box.querySelectorAll("img")].map((one) => [one.alt, one.src, one.loading, one.referrerPolicy]); }"""
    )
    assert shown == [["a", "https://x.invalid/1.png", "lazy", "no-referrer"]]


def batches() -> list[str]:
    """All cases in few messages; those that a fence would swallow the rest of come last, each in its own message."""
    loose = [text for text in CASES.values() if "```" not in text and "~~~" not in text]
    found = [""]
    for text in loose:
        if len(found[-1]) + len(text) > BATCH_CHARACTERS:
            found.append("")
        found[-1] += f"{text}\n\nend\n\n"
    return [*found, "\n\n".join(text for text in CASES.values() if "```" in text or "~~~" in text)]


def examine(widget: Widget, bot: Bot, hosts: Hosts) -> None:
    """Nothing ran, nothing left, and nothing stands in the widget that could."""
    widget.page.wait_for_timeout(300)
    assert widget.page.evaluate("hits") == []
    assert outside(widget.requests, hosts.origin, bot.live.base_url) == []
    assert widget.element.evaluate(f"(element) => ({AUDIT})(element.shadowRoot)") == []
    assert widget.page.url.startswith(hosts.origin)


@pytest.mark.timeout(300)
def test_answers_of_the_server_and_the_visitors_own_words(
    make_bot: Callable[..., Bot], visit: Visit, hosts: Hosts
) -> None:
    bot = make_bot("sim:echo")
    widget = visit(bot, init=TRIPWIRES)
    widget.open()
    texts = batches()
    for number, text in enumerate(texts):
        widget.page.evaluate("(text) => chatwright.send(text)", text.replace("\x00", ""))
        widget.wait(
            "(count) => seen.events.filter(([name]) => name === 'answered' || name === 'failed').length >= count",
            number + 1,
            within_ms=40_000,
        )
    answered = [name for name, _ in widget.events("answered", "failed")]
    assert answered.count("answered") >= len(texts) - 2, "most of it came through"
    examine(widget, bot, hosts)
    assert "alert(1)" in widget.log.inner_text()


def hostile(message: str | bytes) -> str | bytes:
    """A frame of the server with sources and actions of an enemy."""
    if isinstance(message, bytes) or '"stream_complete"' not in message:
        return message
    frame: dict[str, Any] = json.loads(message)
    frame["text"] = "See [1] [2] [3]. " + " ".join(SHORT)
    pairs = [(title, address) for title in SHORT[:3] for address in ADDRESSES]
    frame["sources"] = [
        {"n": n, "document_id": title, "title": title, "url": address, "score": 1.0, "quote": SHORT[n % len(SHORT)]}
        for n, (title, address) in enumerate(pairs, 1)
    ]
    frame["suggested_actions"] = [
        {"label": SHORT[n % len(SHORT)], "kind": kind, "value": address}
        for n, address in enumerate(ADDRESSES)
        for kind in ("link", "handoff", "form", "reply")
    ]
    frame["animation"] = SHORT[0]
    return json.dumps(frame)


def test_sources_actions_and_settings_of_an_enemy(make_bot: Callable[..., Bot], visit: Visit, hosts: Hosts) -> None:
    texts = dict.fromkeys(("title", "launcher", "placeholder", "error", "over_limit", "offline", "handoff"), SHORT[0])
    bot = make_bot(
        "sim:chunks=3",
        name=SHORT[1][:60],
        greeting=" ".join(SHORT),
        suggested_questions=list(SHORT)[:4],
        widget={"texts": texts},
    )

    def connect(route: "WebSocketRoute") -> None:
        server = route.connect_to_server()
        route.on_message(server.send)
        server.on_message(lambda message: route.send(hostile(message)))

    widget = visit(bot, init=TRIPWIRES, html="<!doctype html><title>x</title><body>wait</body>")
    widget.page.route_web_socket(re.compile(r"/api/v1/ws"), connect)
    line = f'<script async src="{bot.live.base_url}/widget.js" data-chatbot="{bot.widget_id}"></script>'
    widget.page.goto(hosts.put("/enemy", f'<!doctype html><html lang="en"><title>x</title><body>{line}</body></html>'))
    widget.open()
    examine(widget, bot, hosts)
    widget.ask("Who goes there?")
    widget.wait_answers(1)
    examine(widget, bot, hosts)
    widget.log.get_by_role("button", name=re.compile(r"^(Source|Citation) 1\b")).first.click()
    examine(widget, bot, hosts)
    for _ in range(len(SHORT)):
        widget.page.keyboard.press("ArrowRight")
        following = widget.panel.get_by_role("button", name="Next source")
        if following.count() and following.is_enabled():
            following.click()
    examine(widget, bot, hosts)
    assert widget.panel.locator("a[href^='javascript' i], a[href^='data' i]").count() == 0


def test_errors_of_an_enemy(make_bot: Callable[..., Bot], visit: Visit, hosts: Hosts) -> None:
    bot = make_bot("sim:chunks=3", widget={"texts": {"error": SHORT[0], "over_limit": SHORT[1]}})

    def connect(route: "WebSocketRoute") -> None:
        server = route.connect_to_server()
        route.on_message(server.send)

        def turn_bad(message: str | bytes) -> None:
            if isinstance(message, str) and '"stream_complete"' in message:
                frame = json.loads(message)
                known = ("conversation_id", "message_id", "stream_id", "seq", "ts")
                error = {"type": "stream_error", "code": SHORT[0], "message": SHORT[2], "retriable": True}
                message = json.dumps({**{key: frame[key] for key in known if key in frame}, **error})
            route.send(message)

        server.on_message(turn_bad)

    widget = visit(bot, init=TRIPWIRES, html="<!doctype html><title>x</title><body>wait</body>")
    widget.page.route_web_socket(re.compile(r"/api/v1/ws"), connect)
    line = f'<script async src="{bot.live.base_url}/widget.js" data-chatbot="{bot.widget_id}"></script>'
    widget.page.goto(hosts.put("/bad", f'<!doctype html><html lang="en"><title>x</title><body>{line}</body></html>'))
    widget.open()
    widget.ask("What now?")
    widget.wait("() => seen.events.some(([name]) => name === 'failed')")
    examine(widget, bot, hosts)
