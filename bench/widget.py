"""`python -m bench.widget`: what the chat widget weighs, and how fast it is on a machine without a GPU.

Sizes are those of the built files (`files.json`). Times are taken in Chromium with software WebGL on a page that holds nothing
but the widget's line, against a chatwright of its own: a fresh browser context, and so an empty cache, for every round. Shown
is the median of the rounds with its goal; prints a table, and writes JSON under bench/results.
"""

import argparse
import asyncio
import contextlib
import math
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from aiohttp import web
from playwright.async_api import Browser, Page, Route, async_playwright
from rich.console import Console

from bench.figure import Figure, Goal, at_least, at_most
from bench.machine import describe
from bench.product import NotStarted, Rest, start_product
from bench.report import RESULTS, show, to_json, write
from bench.simulator import run_simulator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--headless=new",
    # WebGL by software, and the page by software as well. With --use-angle=swiftshader instead, the page itself would be
    # put together by an emulated GPU, which no machine without one does, and which takes several times as long.
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
)
BUILT = Path(__file__).parents[1] / "src" / "chatwright" / "widget"
_GROUP = "widget"
_KB = 1_000
# Animations that are measured, each for its share of the time: the calmest, the liveliest, the longest.
_PLAYED = ("idle", "happy", "talk_explain")
_AT_MOST_S = 60.0

# Goals of the issue. Bytes are gzip's.
_SIZES = {"launcher": 8, "opened chat without 3D": 40, "3D": 175, "GLB loader": 18, "VRM": 35}

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


class Chunk(msgspec.Struct, frozen=True):
    """A script of the build: what it brings in at once, and later."""

    name: str
    imports: list[str]
    later: list[str]


class File(msgspec.Struct, frozen=True):
    bytes: int
    gzip: int
    brotli: int


class Build(msgspec.Struct, frozen=True):
    """The widget's `files.json`."""

    chat: str
    chunks: dict[str, Chunk]
    files: dict[str, File]

    def closure(self, file: str) -> set[str]:
        """`file` and what it cannot run without."""
        found = {file}
        waiting = [file]
        while waiting:
            for other in self.chunks[waiting.pop()].imports:
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return found

    def named(self, name: str) -> str | None:
        return next((file for file, chunk in self.chunks.items() if chunk.name == name), None)


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


def read_build(folder: Path) -> Build:
    """Raises FileNotFoundError, msgspec.ValidationError."""
    return msgspec.json.decode((folder / "files.json").read_bytes(), type=Build)


def sizes(build: Build) -> list[Figure]:
    """What each step of a visit loads that the steps before it did not."""
    had: set[str] = set()
    chat = build.closure(build.chat)
    steps: list[tuple[str, set[str]]] = [("launcher", {"widget.js"}), ("opened chat without 3D", chat)]
    for name, chunk in (("3D", "stage"), ("GLB loader", "model"), ("VRM", "vrm")):
        if file := build.named(chunk):
            steps.append((name, build.closure(file)))
    figures: list[Figure] = []
    for name, files in steps:
        new = sorted(files - had)
        had |= files
        weights = [build.files[file] for file in new]
        figures.append(
            Figure(
                group=_GROUP,
                name=f"{name}, gzip",
                unit="kB",
                value=sum(weight.gzip for weight in weights) / _KB,
                goal=at_most(_SIZES[name]),
                samples=len(new),
                detail={"brotli_kb": sum(weight.brotli for weight in weights) / _KB, "files": new},
            )
        )
    return figures


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
    give_up_at = time.monotonic() + _AT_MOST_S / 2
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
            group=_GROUP,
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


@asynccontextmanager
async def _place(arguments: argparse.Namespace, folder: Path) -> AsyncGenerator[Place]:
    """A server with one chatbot and a host page on another port, for as long as the block runs."""
    options: Mapping[str, str] = (
        {} if arguments.dir is None else {"CHATWRIGHT_WIDGET_DIR": str(arguments.dir.resolve())}
    )
    async with (
        run_simulator() as simulator,
        start_product(
            folder / "data", log_file=folder / "log", provider_url=simulator.base_url, options=options
        ) as product,
        _host_page(product.base_url) as (host_url, use),
    ):
        rest = Rest(product.base_url, product.admin_key)
        tenant = await rest.make_tenant("Bench")
        chatbot = await rest.make_chatbot(tenant, "bench", allowed_origins=[host_url])
        use(chatbot["widget_id"])
        yield Place(host_url=host_url, tier=arguments.tier)


@asynccontextmanager
async def _host_page(base_url: str) -> AsyncGenerator[tuple[str, Callable[[str], None]]]:
    """A page with nothing on it but the widget's line. Yields its address, and what tells it the widget id."""
    widget_id = ""

    def use(new: str) -> None:
        nonlocal widget_id
        widget_id = new

    async def answer(_: web.Request) -> web.Response:
        line = f'<script async src="{base_url}/widget.js" data-chatbot="{widget_id}"></script>'
        body = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Host</title><h1>Host</h1>{line}</html>'
        return web.Response(text=body, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", use
    finally:
        await runner.cleanup()


async def _measure(console: Console, arguments: argparse.Namespace, build: Build, folder: Path) -> list[Figure]:
    heavy: set[str] = set()
    for name in ("stage", "model", "vrm"):
        if file := build.named(name):
            heavy |= {one.rpartition("/")[2] for one in build.closure(file) - build.closure(build.chat)}
    async with _place(arguments, folder) as place, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            rounds: list[Round] = []
            for _ in range(arguments.rounds):
                async with asyncio.timeout(2 * _AT_MOST_S):
                    rounds.append(await visit(browser, place, seconds=arguments.seconds, heavy=heavy))
                console.print(f"[dim]{rounds[-1].tier}, {rounds[-1].fps:.0f} frames/s[/dim]")
        finally:
            await browser.close()
    return times(rounds, arguments.tier)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.widget", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="visits; the figures are their medians")
    parser.add_argument("--seconds", type=float, default=6.0, help="of watching the avatar in each")
    parser.add_argument("--tier", choices=("auto", "full", "low"), default="auto")
    parser.add_argument("--dir", type=Path, default=None, help="built files (default: the package's)")
    parser.add_argument("--sizes", action="store_true", help="only the sizes")
    parser.add_argument("--json", type=Path, default=None, help="write the JSON there")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    machine = describe()
    console.print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average'][0]}")
    problems: list[str] = []
    figures: list[Figure] = []
    folder = Path(tempfile.mkdtemp(prefix="cw-bench-"))
    folder.chmod(0o755)  # under root the servers run as another user, who has to pass
    try:
        build = read_build(arguments.dir or BUILT)
        figures += sizes(build)
        if not arguments.sizes:
            if CHROMIUM is None:
                raise RuntimeError("no Chromium on this machine")
            figures += asyncio.run(_measure(console, arguments, build, folder))
    except (OSError, RuntimeError, NotStarted, msgspec.MsgspecError) as error:
        problems.append(str(error)[-2_000:])
    except KeyboardInterrupt:
        return 130
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
    problems += [f"{figure.name}: not measured" for figure in figures if not math.isfinite(figure.value)]
    show(console, figures)
    report = to_json(figures, machine=machine, quick=arguments.rounds < 3, problems=problems)
    RESULTS.mkdir(exist_ok=True)
    file = write(report, arguments.json or RESULTS / f"widget-{datetime.now(UTC):%Y%m%d-%H%M%S}.json")
    console.print(f"[dim]written to {file}[/dim]")
    for problem in problems:
        console.print(f"[red]{problem}[/red]", markup=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
