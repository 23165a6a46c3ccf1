"""`python -m bench`: start everything in temporary directories, measure, print a table, write JSON, end.

Loopback only. Every figure stands beside a baseline of the same run. Exit code 1 if a figure could not be taken at all
(a missed goal is a finding, not a failure).
"""

import argparse
import asyncio
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console

from bench.figure import Figure
from bench.figures import gateway, queue, queued, reading, streams
from bench.machine import describe
from bench.product import NotStarted
from bench.report import show, to_json, write
from bench.stage import Lengths, Stage, open_stage

NAMES = ("gateway", "queued", "streams", "queue", "reading")
_AT_MOST_S = 540.0


class Suite:
    """Runs the groups that were asked for and keeps what they found."""

    def __init__(self, console: Console, lengths: Lengths, *, data_dir: Path, log_file: Path) -> None:
        self.figures: list[Figure] = []
        self.problems: list[str] = []
        self._console = console
        self._lengths = lengths
        self._data_dir = data_dir
        self._log_file = log_file

    async def run(self, names: list[str]) -> None:
        on_defaults = [name for name in names if name in ("gateway", "queued")]
        if on_defaults:
            await self._staged({}, {"gateway": gateway.measure, "queued": queued.measure}, on_defaults)
        if "streams" in names:
            await self._staged(streams.OPTIONS, {"streams": streams.measure}, ["streams"])
        if "queue" in names:
            await self._guarded("queue", self._queue)
        if "reading" in names:
            await self._guarded("reading", lambda: reading.measure(self._lengths))

    async def _queue(self) -> list[Figure]:
        return await queue.measure(self._lengths)

    async def _staged(
        self, options: dict[str, str], groups: dict[str, Callable[[Stage], Awaitable[list[Figure]]]], names: list[str]
    ) -> None:
        began_s = time.monotonic()
        try:
            async with open_stage(self._data_dir, self._log_file, self._lengths, options=options) as stage:
                self._tell(
                    f"the product is ready ({stage.product.ready_s:.1f} s, with simulator and tenant {time.monotonic() - began_s:.1f} s)"
                )
                for name in names:
                    await self._guarded(name, lambda name=name: groups[name](stage))
        except (NotStarted, RuntimeError, OSError) as error:
            self.problems.append(f"{', '.join(names)}: {error}")
            self._console.print(f"[red]{', '.join(names)}: not measured[/red]", str(error)[-2_000:], markup=True)

    async def _guarded(self, name: str, measure: Callable[[], Awaitable[list[Figure]]]) -> None:
        began_s = time.monotonic()
        try:
            figures = await measure()
        except Exception as error:
            self.problems.append(f"{name}: {error!r}")
            self._console.print(f"[red]{name}: not measured[/red]: {error!r}")
            return
        self.figures += figures
        for figure in figures:
            # A figure over answers that failed is no figure.
            if figure.detail.get("bad"):
                self.problems.append(
                    f"{figure.group}: {figure.name}: {figure.detail['bad']} failed: {figure.detail['errors']}"
                )
            elif not math.isfinite(figure.value):
                self.problems.append(f"{figure.group}: {figure.name}: not measured")
        self._tell(f"{name} measured ({time.monotonic() - began_s:.0f} s)")

    def _tell(self, line: str) -> None:
        self._console.print(f"[dim]{line}[/dim]")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure chatwright beside baselines.")
    parser.add_argument("--quick", action="store_true", help="shorter: for a look, not for the record")
    parser.add_argument("--only", default="", help=f"comma-separated: {', '.join(NAMES)}")
    parser.add_argument("--json", nargs="?", const="-", default=None, help="write the JSON there; alone: print it")
    parser.add_argument(
        "--data-dir", type=Path, default=None, help="keep the product's data there (default: temporary)"
    )
    arguments = parser.parse_args()
    names = [name.strip() for name in arguments.only.split(",") if name.strip()] or list(NAMES)
    if unknown := set(names) - set(NAMES):
        parser.error(f"no such figures: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    printing = arguments.json == "-"
    console = Console(stderr=printing, highlight=False)
    if not console.is_terminal:
        console.width = 140
    # A directory of its own, not below another temporary one: the servers' account must reach it.
    data_dir = arguments.data_dir or Path(tempfile.mkdtemp(prefix="cw-bench-"))
    log_file = Path(tempfile.gettempdir()) / f"{data_dir.name}.log"
    machine = describe()
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, load {machine['load_average'][0]}"
    )
    suite = Suite(console, Lengths(quick=arguments.quick), data_dir=data_dir, log_file=log_file)
    began_s = time.monotonic()
    try:
        asyncio.run(asyncio.wait_for(suite.run(names), _AT_MOST_S))
    except TimeoutError:
        suite.problems.append(f"the bench did not end within {_AT_MOST_S:.0f} s")
    except KeyboardInterrupt:
        return 130
    finally:
        if arguments.data_dir is None:
            shutil.rmtree(data_dir, ignore_errors=True)
    show(console, suite.figures)
    report = to_json(suite.figures, machine=machine, quick=arguments.quick, problems=suite.problems)
    if printing:
        print(json.dumps(report, ensure_ascii=False))
    else:
        file = write(report, Path(arguments.json) if arguments.json else None)
        console.print(f"[dim]{time.monotonic() - began_s:.0f} s; written to {file}[/dim]")
    for problem in suite.problems:
        console.print(f"[red]{problem}[/red]", markup=True)
    if suite.problems:
        console.print(f"the product's log: {log_file}")
        return 1
    log_file.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
