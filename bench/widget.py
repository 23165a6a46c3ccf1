"""`python -m bench.widget`: what the chat widget weighs, and how fast it is on a machine without a GPU.

Sizes are those of the built files (`widget_sizes`). Times are taken in Chromium with software WebGL on a page that holds nothing
but the widget's line, against a chatwright of its own: a fresh browser context, and so an empty cache, for every round
(`widget_visit`). Shown is the median of the rounds with its goal; prints a table, and writes JSON under bench/results.
"""

import argparse
import asyncio
import contextlib
import math
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from aiohttp import web
from playwright.async_api import async_playwright
from rich.console import Console

from bench.browser import ARGUMENTS, CHROMIUM, MISSING
from bench.figure import Figure
from bench.machine import describe
from bench.product import NotStarted, Rest, start_product
from bench.report import RESULTS, show, to_json, write
from bench.simulator import run_simulator
from bench.widget_sizes import BUILT, Build, read_build, sizes
from bench.widget_visit import AT_MOST_S, Place, Round, times, visit


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
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            rounds: list[Round] = []
            for _ in range(arguments.rounds):
                async with asyncio.timeout(2 * AT_MOST_S):
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
                raise RuntimeError(MISSING)
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
