"""The avatar's ways down and back in a page: no WebGL, a lost context, a model that is none, reduced motion."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.widget_hosts import Hosts
from tests.e2e.widget_support import Bot, Visit, Widget, browser_marks

pytestmark = browser_marks()

STAGE_WITHIN_MS = 30_000
NO_WEBGL = """
const getContext = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return /webgl|webgpu/.test(kind) ? null : getContext.call(this, kind, ...rest);
};
OffscreenCanvas.prototype.getContext = () => null;
"""
COUNT_FRAMES = """
window.drawn = 0;
for (const kind of [WebGLRenderingContext, WebGL2RenderingContext])
  for (const name of ["drawElements", "drawArrays"]) {
    const draw = kind.prototype[name];
    kind.prototype[name] = function (...rest) { drawn += 1; window.context = this; return draw.apply(this, rest); };
  }
"""


STILL = """async () => { const next = () => new Promise((done) => requestAnimationFrame(done));
  for (let tries = 0; tries < 40; tries += 1) { const before = drawn; for (let n = 0; n < 30; n += 1) await next();
    if (drawn === before) return true; } return false; }"""
"""Until nothing was drawn for thirty frames of the page: half a second, or longer on a busy machine."""


def tiers(widget: Widget) -> list[str]:
    """The tiers that were told, in order."""
    return [str(detail["tier"]) for _, detail in widget.events("tier")]


def wait_tier(widget: Widget, *wanted: str) -> None:
    """Until the newest tier is one of these."""
    widget.wait(
        "(wanted) => wanted.includes(seen.events.findLast(([name]) => name === 'tier')?.[1].tier)",
        list(wanted),
        within_ms=STAGE_WITHIN_MS,
    )


def open_drawn(make_bot: Callable[..., Bot], visit: Visit, **options: Any) -> Widget:
    """A page whose avatar is drawn in the low tier. `drawn` counts its draw calls, `context` is its WebGL context."""
    widget = visit(make_bot("sim:echo=1", tier="low"), init=COUNT_FRAMES, **options)
    widget.open()
    wait_tier(widget, "low")
    widget.wait("() => drawn > 0")
    return widget


def wait_still(widget: Widget) -> int:
    """Until nothing is drawn any more. Returns what was drawn before."""
    assert widget.page.evaluate(STILL), "it goes on drawing"
    return widget.page.evaluate("drawn")


def chat_works(widget: Widget) -> None:
    count = len(widget.events("answered"))
    widget.ask("Still there?")
    widget.wait_answers(count + 1)
    widget.page.evaluate("chatwright.play('happy')")
    assert widget.complaints == []


def test_the_stage_comes_in_behind_the_face(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_bot("sim:echo=1", tier="auto"), init=COUNT_FRAMES)
    widget.open()
    wait_tier(widget, "full", "low")
    widget.wait("() => drawn > 0")
    chat_works(widget)


def test_without_webgl_there_is_the_face(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = visit(make_bot("sim:echo=1", tier="auto"), init=NO_WEBGL)
    widget.open()
    wait_tier(widget, "2d")
    chat_works(widget)
    assert widget.panel.locator("svg").first.is_visible()
    heavy = [url for url in widget.requests if "/widget/assets/stage" in url]
    assert heavy == [], "a browser without WebGL is not made to load three.js"


def test_a_lost_context_is_the_face_and_comes_back(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = open_drawn(make_bot, visit)
    widget.page.evaluate("window.loss = context.getExtension('WEBGL_lose_context'); loss.loseContext()")
    wait_tier(widget, "2d")
    chat_works(widget)
    widget.page.evaluate("loss.restoreContext()")
    wait_tier(widget, "low")
    before = widget.page.evaluate("drawn")
    widget.wait("(before) => drawn > before", before)


def test_a_lost_context_that_stays_lost_is_the_face_for_good(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = open_drawn(make_bot, visit)
    widget.page.evaluate("context.getExtension('WEBGL_lose_context').loseContext()")
    wait_tier(widget, "2d")
    chat_works(widget)
    assert tiers(widget)[-1] == "2d"
    assert widget.page.locator("chatwright-chat canvas").count() == 0


@pytest.mark.parametrize("what", ["missing", "html", "truncated"])
def test_a_model_that_is_none_leaves_our_robot(
    make_bot: Callable[..., Bot], visit: Visit, hosts: Hosts, what: str
) -> None:
    hosts.put("/page.glb", "<!doctype html><p>Not found</p>", {"access-control-allow-origin": "*"})
    truncated = b'glTF\x02\x00\x00\x00\xff\xff\x00\x00\x10\x00\x00\x00JSON{"asset":'
    hosts.put("/half.glb", truncated, {"access-control-allow-origin": "*", "content-type": "model/gltf-binary"})
    path = {"missing": "/nowhere.glb", "html": "/page.glb", "truncated": "/half.glb"}[what]
    avatar = {"kind": "model", "url": hosts.origin + path}
    widget = visit(make_bot("sim:echo=1", tier="low", widget={"avatar": avatar}))
    widget.open()
    told = "() => seen.events.some(([name, to]) => name === 'tier' && to.reason.startsWith('model:'))"
    widget.wait(told, within_ms=STAGE_WITHIN_MS)
    wait_tier(widget, "low", "2d")
    widget.complaints[:] = [one for one in widget.complaints if "Failed to load" not in one and "CORS" not in one]
    chat_works(widget)


def test_reduced_motion_draws_no_frames_but_the_stills(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = open_drawn(make_bot, visit, reduced_motion="reduce")
    widget.ask("Calmly")
    widget.wait_answers(1)
    before = wait_still(widget)
    widget.page.evaluate("chatwright.play('thumbs_up')")
    widget.wait("(before) => drawn > before", before)


def test_a_closed_widget_draws_nothing(make_bot: Callable[..., Bot], visit: Visit) -> None:
    widget = open_drawn(make_bot, visit)
    widget.page.evaluate("chatwright.close()")
    expect(widget.panel).to_be_hidden()
    before = wait_still(widget)
    widget.page.evaluate("chatwright.open()")
    widget.wait("(before) => drawn > before", before)


@pytest.mark.parametrize("tier", ["2d", "text"])
def test_the_lighter_tiers_load_no_3d(make_bot: Callable[..., Bot], visit: Visit, tier: str) -> None:
    widget = visit(make_bot("sim:echo=1", tier=tier))
    widget.open()
    chat_works(widget)
    widget.page.wait_for_load_state("networkidle")
    assert widget.page.locator("chatwright-chat canvas").count() == 0
    assert [url for url in widget.requests if "stage" in url or "three" in url] == []
