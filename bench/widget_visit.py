"""One visit to a page with the chat widget, measured in the browser: from the page's first line to an avatar that moves.

`bench.widget` makes the rounds and shows their medians, `times`.
"""

import math
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from playwright.async_api import Browser, Page, Route

from bench.figure import Figure, Goal, at_least, at_most
from bench.widget_sizes import GROUP

AT_MOST_S = 60.0
# Animations that are measured, each for its share of the time: the calmest, the liveliest, the longest.
_PLAYED = ("idle", "happy", "talk_explain")

# Notes long tasks, frames of WebGL and the script time within requestAnimationFrame, from the page's first line on.
PROBE = """
(() => {
  const probe = (globalThis.benchProbe = { long: [], frames: 0, scriptMs: 0, clickedMs: null, usableMs: null, shownMs: null, tiers: [] });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) probe.long.push([entry.startTime, entry.duration]);
  }).observe({ type: "longtask", buffered: true });
  const request = globalThis.requestAnimationFrame.bind(globalThis);
  globalThis.requestAnimationFrame = (callback) => request((now) => {
    const began = performance.now();
    callback(now);
    probe.scriptMs += performance.now() - began;
  });
  addEventListener("chatwright:tier", (event) => probe.tiers.push(`${event.detail.tier} (${event.detail.reason})`), true);
  const clear = WebGL2RenderingContext.prototype.clear;
  WebGL2RenderingContext.prototype.clear = function (mask) {
    probe.frames += 1;
    return clear.call(this, mask);
  };
  const find = (selector, root = document) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.matches(selector)) return element;
      const found = element.shadowRoot && find(selector, element.shadowRoot);
      if (found) return found;
    }
    return null;
  };
  const usable = () => {
    const field = find("textarea");
    return field !== null && !field.disabled && !field.readOnly && field.getBoundingClientRect().height > 0;
  };
  const shown = () => Number(find("canvas")?.style.opacity ?? 0) === 1;
  const watch = () => {
    if (probe.usableMs === null && usable()) probe.usableMs = performance.now();
    if (probe.shownMs === null && shown()) probe.shownMs = performance.now();
    if (probe.usableMs === null || probe.shownMs === null) setTimeout(watch, 2);
  };
  addEventListener("click", (event) => {
    if (probe.clickedMs !== null) return;
    probe.clickedMs = event.timeStamp;
    watch();
  }, true);
})();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the widget is measured."""

    host_url: str
    """The host page: an origin of its own."""
    tier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One visit; nan for what did not happen."""

    usable_ms: float
    shown_ms: float
    fps: float
    script_ms: float
    heap_mb: float
    longest_before_ms: float
    longest_after_ms: float
    heavy_before: int
    requests: int
    tier: str


async def visit(browser: Browser, place: Place, *, seconds: float, heavy: set[str]) -> Round:
    """Load the page, wait, open the chat, look at the avatar for `seconds`, leave. `heavy`: files of the 3D tiers."""
    context = await browser.new_context(viewport={"width": 1000, "height": 720})
    try:
        page = await context.new_page()
        await page.add_init_script(PROBE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        if place.tier != "auto":
            await _force_tier(page, place.tier)
        await page.goto(place.host_url)
        launcher = page.locator("chatwright-chat [part~=launcher]").first
        await launcher.wait_for(state="visible")
        await page.wait_for_timeout(1_500)
        before = await _probe(page)
        heavy_before = sum(url.rpartition("/")[2] in heavy for url in asked)
        await launcher.click()
        await _wait_shown(page)
        opened = await _probe(page)
        clicked_ms = opened["clickedMs"]
        fps: list[float] = []
        script: list[float] = []
        for name in _PLAYED:
            await page.evaluate("(name) => document.querySelector('chatwright-chat').play(name)", name)
            frames_per_s, script_ms = await _watch(page, seconds / len(_PLAYED))
            fps.append(frames_per_s)
            script.append(script_ms)
        session = await context.new_cdp_session(page)
        await session.send("HeapProfiler.collectGarbage")
        heap: dict[str, Any] = await session.send("Runtime.getHeapUsage")
        after = [duration for began_ms, duration in opened["long"] if began_ms > clicked_ms]
        return Round(
            usable_ms=_since(opened["usableMs"], clicked_ms),
            shown_ms=_since(opened["shownMs"], clicked_ms),
            fps=min(fps),
            script_ms=max(script),
            heap_mb=heap["usedSize"] / 1e6,
            longest_before_ms=max((duration for _, duration in before["long"]), default=0.0),
            longest_after_ms=max(after, default=0.0),
            heavy_before=heavy_before,
            requests=len(asked),
            tier=next(reversed((await _probe(page))["tiers"]), "none"),
        )
    finally:
        await context.close()


async def _force_tier(page: Page, tier: str) -> None:
    """Let the chatbot's settings name the tier."""

    async def answer(route: Route) -> None:
        reply = await route.fetch()
        config: dict[str, Any] = await reply.json()
        config["avatar"] = {**config["avatar"], "kind": "robot", "tier": tier}
        await route.fulfill(response=reply, json=config)

    await page.route("**/api/v1/widget/config?*", answer)


async def _probe(page: Page) -> dict[str, Any]:
    return await page.evaluate("benchProbe")


async def _wait_shown(page: Page) -> None:
    """Until the 3D stage is on the screen; a machine that never shows it keeps nan."""
    give_up_at = time.monotonic() + AT_MOST_S / 2
    while time.monotonic() < give_up_at:
        probe = await _probe(page)
        if probe["shownMs"] is not None and probe["usableMs"] is not None:
            return
        await page.wait_for_timeout(100)


async def _watch(page: Page, seconds: float) -> tuple[float, float]:
    """Frames a second, and milliseconds of script in each."""
    look = "[benchProbe.frames, benchProbe.scriptMs, performance.now()]"
    frames, script_ms, now_ms = await page.evaluate(look)
    await page.wait_for_timeout(seconds * 1_000)
    frames_then, script_ms_then, now_ms_then = await page.evaluate(look)
    drawn = frames_then - frames
    if not drawn:
        return 0.0, math.nan
    return drawn * 1_000 / (now_ms_then - now_ms), (script_ms_then - script_ms) / drawn


def _since(then_ms: float | None, began_ms: float | None) -> float:
    return math.nan if then_ms is None or began_ms is None else then_ms - began_ms


def times(rounds: list[Round], tier: str) -> list[Figure]:
    """The medians of the rounds, with their goals. Goals of drawing are those of the low tier."""

    def figure(name: str, unit: str, field: str, goal: Goal | None) -> Figure:
        values = [float(getattr(one, field)) for one in rounds]
        return Figure(
            group=GROUP,
            name=name,
            unit=unit,
            value=median(values) if values else math.nan,
            goal=goal,
            samples=len(values),
            detail={"rounds": values, "tiers": [one.tier for one in rounds]},
        )

    low = tier in ("auto", "low")
    return [
        figure("longest task of the host page before opening", "ms", "longest_before_ms", at_most(50)),
        figure("files of 3D before opening", "", "heavy_before", at_most(0)),
        figure("click until one can type", "ms", "usable_ms", at_most(100)),
        figure("click until the first 3D frame is shown", "ms", "shown_ms", at_most(1_000) if low else None),
        figure("longest task while opening", "ms", "longest_after_ms", None),
        figure("frames a second, slowest animation", "/s", "fps", at_least(30) if low else None),
        figure("script in a frame, slowest animation", "ms", "script_ms", at_most(4) if low else None),
        figure("JavaScript heap, opened", "MB", "heap_mb", at_most(30)),
    ]
