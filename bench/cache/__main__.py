"""`python -m bench.cache` (`make bench-cache`): what the learning cache serves, and how much of it is right.

Streams of BANKING77 and CLINC150 questions, each asked once, out-of-scope ones among them, through the running product from
an empty cache; the simulator answers by each question's label. Beside it, on the same stream and vectors: a plain similarity
threshold and a threshold for each entry. Writes docs/reference/quality.md's section and the pictures unless told not to.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.cache import report
from bench.cache.baselines import Vectors, by_entry, by_similarity, choose_threshold
from bench.cache.run import Run, send, time_hits
from bench.cache.streams import FILES, Arrival, Asked, given, read, stream
from bench.machine import describe, percentile
from bench.product import Rest, start_product
from bench.quality.page import put
from bench.report import RESULTS
from bench.simulator import run_simulator
from chatwright.adapters.models import open_embedder

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
PRECISION = 0.97
MAX_ERROR = 0.02
_TIMED = 400
_TIMED_AT_LEAST = 20


async def run(folder: Path, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "streams": [],
    }
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cw-bench-cache-") as directory:
        data = Path(directory)
        async with (
            run_simulator() as simulator,
            start_product(
                data / "data",
                log_file=data / "product.log",
                provider_url=simulator.base_url,
                options={"CHATWRIGHT_CACHE_MEMORY_MIB": "64"},
            ) as product,
        ):
            rest = Rest(product.base_url, product.admin_key)

            def tell(words: str) -> None:
                console.print(f"cache: {words}", highlight=False, markup=False)

            for name in arguments.sets:
                for arrival in () if arguments.no_streams else arguments.arrivals:
                    asked = stream(folder, name, arrival=arrival, seed=arguments.seed)[: arguments.questions]
                    tenant = await rest.make_tenant(f"{name} {arrival}")
                    told = await send(
                        product, rest, tenant, simulator, name=f"{name}-{arrival}", questions=asked, tell=tell
                    )
                    ways = await _ways(folder, name, arrival, asked, told, seed=arguments.seed)
                    found["streams"].append(report.to_json(told, ways))
                    lines += _section(name, arrival, ways, told, write=arguments.write)
                if not arguments.no_given:
                    lines += await _given(folder, name, arguments, (product, rest, simulator), found, tell)
    for line in lines:
        console.print(line, highlight=False, markup=False)
    if arguments.write:
        put("cache", "\n".join(lines))
    return found


async def _ways(
    folder: Path, name: str, arrival: Arrival, asked: Sequence[Asked], told: Run, *, seed: int
) -> dict[str, list[report.Window]]:
    async with open_embedder(1) as embedder:
        learned_on = stream(folder, name, arrival=arrival, seed=seed, fold="development")
        threshold = choose_threshold(learned_on, await _embed(embedder, learned_on), precision=PRECISION)
        vectors = await _embed(embedder, asked)
    odd = [one.is_stranger for one in asked]
    return {
        "chatwright": report.windows_of(told),
        "similarity": report.windows_of_served(by_similarity(asked, vectors, threshold), odd),
        "threshold per entry": report.windows_of_served(by_entry(asked, vectors, max_error=MAX_ERROR, seed=seed), odd),
    }


async def _embed(embedder: Any, asked: Sequence[Asked]) -> Vectors:
    return np.asarray(await embedder.embed([one.text for one in asked], bulk=True), np.float32)


def _section(name: str, arrival: Arrival, ways: dict[str, list[report.Window]], told: Run, *, write: bool) -> list[str]:
    after = report.LATE if len(told.told) > report.LATE + 500 else len(told.told) // 2
    lines = [f"### {name}, {arrival} arrival", ""]
    lines += [f"{len(told.told):,} questions, each asked once; after the first {after:,}:", "", report.HEAD]
    lines += [report.row(way, report.summed(windows, after=after)) for way, windows in ways.items()]
    lines += ["", f"All of it, chatwright: {_words(report.summed(ways['chatwright']))}.", ""]
    lines += [report.curve(ways["chatwright"]), ""]
    if write:
        picture = f"cache-{name}-{arrival}.svg"
        report.draw(IMAGES / picture, f"{name}, {arrival} arrival", ways)
        lines += [f"![Shares served and right against questions seen](../images/{picture})", ""]
    return lines


async def _given(
    folder: Path,
    name: str,
    arguments: argparse.Namespace,
    parts: tuple[Any, Rest, Any],
    found: dict[str, Any],
    tell: Any,
) -> list[str]:
    product, rest, simulator = parts
    asked = stream(folder, name, arrival="uniform", seed=arguments.seed)
    seeds, fresh = given(asked, 20)
    tenant = await rest.make_tenant(f"{name} given")
    told = await send(
        product,
        rest,
        tenant,
        simulator,
        name=f"{name}-given",
        questions=fresh[: arguments.questions],
        seeds=seeds,
        tell=tell,
    )
    fresh = read(folder, name, "development")[:_TIMED]
    simulator.book = {one.text: one.answer for one in fresh}
    timed = await time_hits(product, tenant, f"{name}-given", fresh)
    found.setdefault("latency_s", {})[name] = timed
    windows = report.windows_of(told)
    found["streams"].append(report.to_json(told, {"chatwright": windows}))
    return [
        f"### {name}, 20 phrasings of each question given up front",
        "",
        f"{len(told.told):,} fresh questions, learning on: {_words(report.summed(windows))}.",
        f"The first 500: {_words(windows[0])}.",
        "",
        report.curve(windows),
        "",
        "One caller, one call after another, whole HTTP calls at the median (95 %): " + _times(timed) + ".",
        "",
    ]


def _times(timed: dict[str, list[float]]) -> str:
    shown = [
        f"{kind} {percentile(took_s, 0.5) * 1000:.1f} ms ({percentile(took_s, 0.95) * 1000:.1f})"
        for kind in ("exact", "semantic", "miss")
        if len(took_s := timed.get(kind, [])) >= _TIMED_AT_LEAST
    ]
    return ", ".join(shown)


def _words(window: report.Window) -> str:
    precision = "none" if window.precision is None else f"{window.precision:.1%}"
    return (
        f"{window.hits:.1%} served, {precision} of them right, {window.checks:.1%} checked, {window.strangers_served} of "
        f"{window.strangers} out-of-scope questions served"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cache", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data"), help="the evaluation data")
    parser.add_argument("--sets", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--arrivals", nargs="+", default=["uniform", "zipf"], choices=["uniform", "zipf"])
    parser.add_argument("--questions", type=int, default=1_000_000, help="of each stream, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-streams", action="store_true", help="only the runs with phrasings given up front")
    parser.add_argument("--no-given", action="store_true", help="leave out the runs with phrasings given up front")
    parser.add_argument("--write", action="store_true", help="write docs/reference/quality.md and its pictures")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"no evaluation data at {arguments.folder}: give the folder as an argument")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    found = asyncio.run(run(arguments.folder, arguments, console))
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"cache-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps(found, indent=1, default=str) + "\n", "utf-8")
    console.print(f"written to {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
