"""The run of the money drill: all scenarios on one fleet, each scenario's findings for itself."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.drill.evidence import Violation
from bench.drill.money import alerts
from bench.drill.money.alerts import run_alerts
from bench.drill.money.burst import run_burst, run_steady
from bench.drill.money.caps import measure_reservation, run_half, run_whole
from bench.drill.money.counters import install_watch
from bench.drill.money.endings import run_endings
from bench.drill.money.evidence import Part
from bench.drill.money.fleet import Fleet, open_fleet
from bench.drill.money.pennies import run_pennies
from bench.drill.money.receiver import run_receiver

SCENARIOS = ("caps", "burst", "alerts", "endings", "pennies")
CALLS = 3_000
PENNIES = 1_000_000
_SCENARIO_AT_MOST_S = 900.0
_STEADY_S = 30.0
Tell = Callable[[str], None]


def seeds_in(text: str) -> list[int]:
    """`1-5`, `3` or `1,4`. Raises ValueError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        seeds += range(int(first), int(last if dash else first) + 1)
    if not seeds or min(seeds) < 1:
        raise ValueError("seeds are whole numbers from 1")
    return seeds


@dataclass(kw_only=True)
class MoneyResult:
    """What the drill showed."""

    parts: list[Part] = field(default_factory=list[Part])
    took_s: float = 0.0
    keep: str = ""
    """Where the logs lie, if something was wrong."""

    @property
    def held(self) -> bool:
        return bool(self.parts) and not any(part.violations for part in self.parts)


async def run_money_drill(
    *, seeds: Sequence[int], calls: int, pennies: int, only: Collection[str] = SCENARIOS, tell: Tell
) -> MoneyResult:
    """Run the scenarios of `only`, over the seeds where a seed means something. Raises NotStarted, RuntimeError."""
    began_s = time.monotonic()
    data_dir = Path(tempfile.mkdtemp(prefix="cw-drill-m-"))
    notes = Path(tempfile.mkdtemp(prefix="cw-drill-m-notes-"))
    result = MoneyResult()
    try:
        tell("starting two API and three worker processes")
        async with open_fleet(notes, data_dir) as fleet:
            await install_watch(fleet.product)
            run = _Run(fleet, seeds, tell, result.parts)
            if "caps" in only:
                await run.caps()
            if "burst" in only:
                await run.bursts()
            if "alerts" in only:
                await run.alerts()
            await run.books(calls=calls if "endings" in only else 0, pennies=pennies if "pennies" in only else 0)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    result.took_s = time.monotonic() - began_s
    if result.held:
        shutil.rmtree(notes, ignore_errors=True)
    else:
        result.keep = str(notes)
    return result


class _Run:
    def __init__(self, fleet: Fleet, seeds: Sequence[int], tell: Tell, parts: list[Part]) -> None:
        self._fleet = fleet
        self._seeds = seeds
        self._tell = tell
        self._parts = parts

    async def caps(self) -> None:
        need_nano = 0

        async def measure() -> Part:
            nonlocal need_nano
            need_nano = await measure_reservation(self._fleet)
            return Part(name="what a call reserves", seed=0, violations=[], figures={"nano": need_nano})

        await self._add("what a call reserves", 0, measure())
        if not need_nano:
            return
        for seed in self._seeds:
            await self._add("each call uses all", seed, run_whole(self._fleet, seed=seed, need_nano=need_nano))
            await self._add("each call uses half", seed, run_half(self._fleet, seed=seed, need_nano=need_nano))

    async def bursts(self) -> None:
        for seed in self._seeds:
            await self._add("burst", seed, run_burst(self._fleet, seed=seed))
        seed = self._seeds[0]
        await self._add("steady", seed, run_steady(self._fleet, seed=seed, seconds=_STEADY_S))

    async def alerts(self) -> None:
        stage = asyncio.Lock()
        async with run_receiver(alerts.REFUSALS) as receiver, _together() as start:
            for seed in self._seeds:
                work = run_alerts(self._fleet, receiver, seed=seed, stage=stage)
                start(self._add("alerts", seed, work), f"alerts of seed {seed}")

    async def books(self, *, calls: int, pennies: int) -> None:
        """Mixed endings, and the pennies while those come to rest."""
        seed = self._seeds[0]
        loaded = asyncio.Event()

        async def endings() -> None:
            try:
                work = run_endings(self._fleet, seed=seed, least_calls=calls, tell=self._tell, loaded=loaded)
                await self._add("mixed endings", seed, work)
            finally:
                loaded.set()

        async with _together() as start:
            if calls:
                start(endings(), "mixed endings")
                await loaded.wait()
            if pennies:
                work = run_pennies(self._fleet, count=pennies, tell=self._tell)
                start(self._add("pennies", 0, work), "pennies")

    async def _add(self, name: str, seed: int, work: Awaitable[Part]) -> None:
        """Keep what a scenario showed; if it breaks, that is its finding."""
        began_s = time.monotonic()
        try:
            part = await asyncio.wait_for(work, _SCENARIO_AT_MOST_S)
        except Exception as error:
            broken = Violation(rule="the scenario could not be judged", count=1, examples=[repr(error)[:1_500]])
            part = Part(name=name, seed=seed, violations=[broken], took_s=time.monotonic() - began_s)
        self._parts.append(part)
        said = "; ".join(str(violation) for violation in part.violations) or "held"
        self._tell(f"{part.name}{f', seed {seed}' if seed else ''}: {said}")


@asynccontextmanager
async def _together() -> AsyncGenerator[Callable[[Coroutine[Any, Any, None], str], None]]:
    """Start named works with what this yields; leaving waits for all of them."""
    async with asyncio.TaskGroup() as group:

        def start(work: Coroutine[Any, Any, None], name: str) -> None:
            group.create_task(work, name=name)

        yield start
