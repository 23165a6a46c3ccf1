"""The avatar in a real browser, drawn by software: tiers, loss of the context, still poses, pauses, freeing."""

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.e2e.avatar_page import (
    COLORS,
    COUNT_FRAMES,
    base,
    built,
    complaints,
    context,
    drawn_frames,
    draws,
    mount,
    mount_drawn,
    page,
    until,
    wait_still,
)
from tests.e2e.widget_support import browser_marks

__all__ = ["base", "built", "complaints", "context", "page"]  # fixtures

# A graphics card by its name alone: drawn by software, the full tier takes far more than its 400 ms.
PRETEND_GPU = """
    const read = WebGL2RenderingContext.prototype.getParameter;
    WebGL2RenderingContext.prototype.getParameter = function (name) {
        return name === 0x9246 ? "ANGLE (NVIDIA GeForce RTX 3060)" : read.call(this, name);
    };
"""

pytestmark = browser_marks()


def test_the_face_is_there_at_once_and_the_stage_comes_behind_it(page: Page, complaints: list[str]) -> None:
    mount(page)
    assert page.evaluate("avatar.tier") == "2d"
    assert page.locator("#box svg").count() == 1
    until(page, "avatar.tier === 'low'")
    until(page, "document.querySelectorAll('#box > *').length === 1")
    assert page.evaluate("tiers") == [["2d", "loading"], ["low", "setting"]]
    assert page.locator("#box canvas").count() == 1
    draws(page)
    assert complaints == []


def test_software_rendering_gets_the_low_tier_by_itself(page: Page) -> None:
    assert mount_drawn(page, tier="auto")[-1] == ["low", "software-renderer"]


def test_the_full_tier_is_drawn_when_it_is_set(page: Page, complaints: list[str]) -> None:
    mount(page, tier="full")
    until(page, "avatar.tier === 'full'", within_s=90)
    assert page.evaluate("tiers.at(-1)") == ["full", "setting"]
    assert complaints == []


def test_a_machine_that_draws_its_first_frame_slowly_steps_down_and_remembers(
    context: BrowserContext, base: str, complaints: list[str]
) -> None:
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script(PRETEND_GPU)
    page.goto(base)
    until(page, "globalThis.avatarParts !== undefined")
    mount(page, tier="auto")
    until(page, "avatar.tier === 'low'", within_s=90)
    assert page.evaluate("tiers") == [["2d", "loading"], ["full", "capable"], ["low", "slow-first-frame"]]
    until(page, "document.querySelectorAll('#box > *').length === 1")
    page.evaluate("avatar.dispose()")
    assert mount_drawn(page, tier="auto")[-1] == ["low", "measured-before"]
    assert complaints == []


@pytest.mark.parametrize(
    ("more", "tier", "left"), [({"tier": "2d"}, "2d", 1), ({"kind": "face"}, "2d", 1), ({"tier": "text"}, "text", 0)]
)
def test_without_3d_nothing_of_it_is_loaded(page: Page, more: dict[str, Any], tier: str, left: int) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    mount(page, **more)
    page.wait_for_timeout(600)
    assert page.evaluate("tiers") == [[tier, "setting"]]
    assert page.locator("#box > *").count() == left
    assert asked == []


def test_without_webgl_it_is_the_face(context: BrowserContext, base: str) -> None:
    page = context.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(base)
    until(page, "globalThis.avatarParts !== undefined")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    mount(page, tier="auto")
    page.wait_for_timeout(400)
    assert page.evaluate("tiers") == [["2d", "no-webgl"]]
    assert asked == []


def test_a_stage_that_cannot_be_loaded_leaves_the_face(page: Page) -> None:
    page.route("**/stage-*.js", lambda route: route.abort())
    mount(page)
    until(page, "tiers.length > 1")
    tier, reason = page.evaluate("tiers.at(-1)")
    assert tier == "2d"
    assert reason.startswith("failed: ")
    assert page.locator("#box svg").count() == 1


LOSE = "document.querySelector('canvas').getContext('webgl2').getExtension('WEBGL_lose_context')"


def test_a_lost_context_shows_the_face_and_a_restored_one_the_stage(page: Page, complaints: list[str]) -> None:
    mount_drawn(page)
    page.evaluate("avatar.play('thinking')")
    page.evaluate(f"globalThis.lost = {LOSE}; lost.loseContext()")
    until(page, "avatar.tier === '2d'")
    assert page.evaluate("tiers.at(-1)") == ["2d", "context-lost"]
    until(page, "document.querySelectorAll('#box canvas').length === 0")
    assert page.locator("#box svg").count() == 1
    assert page.evaluate("avatar.playing") == "thinking"
    page.evaluate("lost.restoreContext()")
    until(page, "avatar.tier === 'low'")
    until(page, "document.querySelectorAll('#box > *').length === 1")
    assert page.evaluate("avatar.playing") == "thinking"
    draws(page)
    assert complaints == []


def test_a_machine_that_loses_contexts_again_and_again_keeps_its_face(page: Page) -> None:
    mount_drawn(page)
    for _ in range(4):
        until(page, "avatar.tier === 'low' && document.querySelector('canvas') !== null")
        page.evaluate(f"globalThis.lost = {LOSE}; lost.loseContext()")
        until(page, "avatar.tier === '2d'")
        page.evaluate("lost.restoreContext()")
    page.wait_for_timeout(800)
    assert page.evaluate("avatar.tier") == "2d"
    assert page.locator("#box svg").count() == 1


def test_reduced_motion_is_one_frame_for_each_animation(page: Page) -> None:
    mount_drawn(page, reduced=True)
    shown = page.evaluate("frames3d")
    assert wait_still(page) - shown <= 1
    before = page.screenshot()
    page.evaluate("avatar.speak(1); avatar.look(1, 1)")
    assert drawn_frames(page) == 0
    drawn = page.evaluate("frames3d")
    page.evaluate("avatar.play('happy')")
    until(page, f"frames3d > {drawn}")
    assert wait_still(page) == drawn + 1
    assert page.screenshot() != before


TELL = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest.mark.parametrize(
    ("hide", "show"),
    [
        ("avatar.setActive(false)", "avatar.setActive(true)"),
        ("scrollTo(0, 2000)", "scrollTo(0, 0)"),
        (
            f"Object.defineProperty(document, 'hidden', {{ value: true, configurable: true }}); {TELL}",
            f"delete document.hidden; {TELL}",
        ),
    ],
    ids=["closed", "off-screen", "tab"],
)
def test_nothing_is_drawn_that_nobody_sees(page: Page, hide: str, show: str) -> None:
    mount_drawn(page)
    draws(page)
    before = page.evaluate(f"() => {{ {hide}; return frames3d; }}")
    assert wait_still(page) - before <= 12, "a fifth of a second at the most"
    page.evaluate(show)
    draws(page)


def test_a_coarse_pointer_gets_at_most_30_frames_a_second(chromium: Browser, base: str) -> None:
    context = chromium.new_context(viewport={"width": 360, "height": 240}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.add_init_script(COUNT_FRAMES)
    page.goto(base)
    until(page, "globalThis.avatarParts !== undefined")
    mount_drawn(page)
    draws(page)
    began = page.evaluate("[frames3d, performance.now()]")
    page.wait_for_timeout(2000)
    ended = page.evaluate("[frames3d, performance.now()]")
    frames, seconds = ended[0] - began[0], (ended[1] - began[1]) / 1000
    assert frames <= 31 * seconds + 1
    draws(page)
    context.close()


def test_colours_change_at_once(page: Page) -> None:
    mount_drawn(page, reduced=True)
    drawn = wait_still(page)
    before = page.screenshot()
    page.evaluate(f"avatar.setColors({json.dumps({**COLORS, 'shell': '#e03030'})})")
    until(page, f"frames3d > {drawn}")
    assert page.screenshot() != before


def test_a_tier_that_is_set_replaces_the_one_that_is_shown(page: Page) -> None:
    mount_drawn(page)
    page.evaluate("avatar.setTier('2d')")
    assert page.evaluate("[avatar.tier, document.querySelectorAll('canvas').length]") == ["2d", 0]
    page.evaluate("avatar.setTier('low')")
    until(page, "avatar.tier === 'low'")
    page.evaluate("avatar.setTier('text')")
    assert page.evaluate("[avatar.tier, document.querySelector('#box').childElementCount]") == ["text", 0]


def test_disposing_while_the_stage_is_made_leaves_nothing(page: Page, complaints: list[str]) -> None:
    for wait_ms in (0, 20, 60, 120, 250):
        mount(page)
        page.wait_for_timeout(wait_ms)
        page.evaluate("avatar.dispose()")
        page.wait_for_timeout(600)
        assert page.locator("#box > *").count() == 0
    assert complaints == []


def test_disposing_frees_everything_that_the_renderer_holds(page: Page) -> None:
    found = page.evaluate(
        """async (config) => {
            const { createStage } = await avatarParts.load.stage();
            const stage = await createStage({
                container: document.querySelector("#box"), config, colors: config.colors, tier: "low", reducedMotion: false,
                playing: "idle", active: true, onSlow: null, onLost() {}, signal: new AbortController().signal,
            });
            const before = stage.held();
            const gl = stage.canvas.getContext("webgl2");
            stage.dispose();
            return { before, after: stage.held(), lost: gl.isContextLost(), left: document.querySelector("canvas") };
        }""",
        {"kind": "robot", "url": None, "clips": {}, "colors": COLORS, "tier": "low"},
    )
    assert found["before"]["geometries"] > 10
    assert found["before"]["programs"] > 0
    assert found["after"] == {"geometries": 0, "textures": 0, "programs": 0}
    assert found["lost"] is True
    assert found["left"] is None
