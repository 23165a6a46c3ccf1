"""`python -m bench.drill`: several seeds of faults under load, the measured scenarios, the provider and the money drill.

Exit code 1 if a rule broke.
"""

import argparse
import asyncio
import dataclasses
import json
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.drill.checks import run_checks
from bench.drill.evidence import Violation
from bench.drill.measured import Check
from bench.drill.money.evidence import Part
from bench.drill.money.report import show as show_money
from bench.drill.money.report import to_json as money_to_json
from bench.drill.money.run import CALLS, PENNIES, SCENARIOS, MoneyResult, run_money_drill, seeds_in
from bench.drill.providers.report import show as show_providers
from bench.drill.providers.report import show_checks
from bench.drill.providers.report import to_json as providers_to_json
from bench.drill.providers.run import ProviderResult, run_provider_drill
from bench.drill.seed import SeedResult, run_seed
from bench.machine import describe

_SEED_AT_MOST_S = 240.0


class Teller:
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[what]:<9}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=100, what="")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, what: str, words: str, step: int | None = None) -> None:
        if self._console.is_terminal:
            self._bar.update(self._task, what=what, description=words, completed=step)
        else:
            self._console.print(f"{what}: {words}", highlight=False)


async def run_all(
    seeds: list[int], *, messages: int, with_checks: bool, teller: Teller
) -> tuple[list[SeedResult], list[Check]]:
    results: list[SeedResult] = []
    for seed in seeds:

        def tell(words: str, step: int, seed: int = seed) -> None:
            teller.tell(f"seed {seed}", words, step)

        began_s = time.monotonic()
        try:
            result = await asyncio.wait_for(run_seed(seed, messages=messages, tell=tell), _SEED_AT_MOST_S)
        except Exception as error:
            broken = Violation(rule="the seed could not be judged", count=1, examples=[repr(error)[:1_500]])
            result = SeedResult(
                seed=seed, violations=[broken], messages=0, states={}, provider_calls=0, retries=0, mended=0, settle_s=None,
                took_s=time.monotonic() - began_s,
            )  # fmt: skip
        results.append(result)
        for violation in result.violations:
            teller.tell(f"seed {seed}", str(violation))
    checks: list[Check] = []
    if with_checks:
        data_dir, notes = (
            Path(tempfile.mkdtemp(prefix="cw-drill-x-")),
            Path(tempfile.mkdtemp(prefix="cw-drill-x-notes-")),
        )
        try:
            checks = await run_checks(notes, data_dir, lambda words: teller.tell("checks", words, 50))
        except Exception as error:
            checks = [Check(name="the scenarios", value=math.nan, unit="", limit=0, note=f"broke: {error!r}"[:1_500])]
        finally:
            shutil.rmtree(data_dir, ignore_errors=True)
        if all(check.held for check in checks):
            shutil.rmtree(notes, ignore_errors=True)
        else:
            teller.tell("checks", f"logs in {notes}")
    return results, checks


async def providers_or_why(*, seed: int, seconds: float, teller: Teller) -> ProviderResult:
    """The provider drill; if it breaks, that is its finding."""
    began_s = time.monotonic()
    at_most_s = 10 * seconds + 600
    try:
        drill = run_provider_drill(seed=seed, seconds=seconds, tell=lambda words: teller.tell("providers", words))
        return await asyncio.wait_for(drill, at_most_s)
    except Exception as error:
        broken = Violation(rule="the provider drill could not be judged", count=1, examples=[repr(error)[:1_500]])
        return ProviderResult(violations=[broken], checks=[], phases=[], took_s=time.monotonic() - began_s)


async def money_or_why(*, seeds: list[int], teller: Teller) -> MoneyResult:
    """The money drill; if it breaks, that is its finding."""
    began_s = time.monotonic()
    try:
        return await run_money_drill(
            seeds=seeds, calls=CALLS, pennies=PENNIES, only=SCENARIOS, tell=lambda words: teller.tell("money", words)
        )
    except Exception as error:
        broken = Violation(rule="the money drill could not be judged", count=1, examples=[repr(error)[:1_500]])
        part = Part(name="money", seed=0, violations=[broken])
        return MoneyResult(parts=[part], took_s=time.monotonic() - began_s)


def show(console: Console, results: list[SeedResult], checks: list[Check]) -> None:
    if results:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in (
            "seed",
            "messages",
            "answered",
            "other ends",
            "provider calls",
            "sent again",
            "mended by the last event",
            "at rest after",
            "took",
        ):
            table.add_column(name, justify="right")
        table.add_column("violations", overflow="fold")
        for result in results:
            answered = result.states.get("answered", 0)
            table.add_row(
                str(result.seed),
                f"{result.messages:,}",
                f"{answered:,}",
                ", ".join(f"{count} {state}" for state, count in sorted(result.states.items()) if state != "answered"),
                f"{result.provider_calls:,}",
                f"{result.retries:,}",
                f"{result.mended:,}",
                "never" if result.settle_s is None else f"{result.settle_s:.1f} s",
                f"{result.took_s:.0f} s",
                "[green]none[/green]"
                if not result.violations
                else f"[red]{'; '.join(f'{one.rule} ({one.count})' for one in result.violations)}[/red]",
            )
        console.print(table)
    if checks:
        show_checks(console, checks)
    for result in results:
        for violation in result.violations:
            console.print(f"[red]seed {result.seed}[/red] {violation}", highlight=False)
        if result.keep:
            console.print(f"seed {result.seed}: logs in {result.keep}", highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.drill", description="Break every part under load; count what is lost."
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds (default 5)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them, to run one again")
    parser.add_argument("--messages", type=int, default=500, help="messages per seed (default 500)")
    parser.add_argument("--no-checks", action="store_true", help="leave the measured scenarios out")
    parser.add_argument("--no-providers", action="store_true", help="leave the provider drill out")
    parser.add_argument(
        "--provider-seconds", type=float, default=60.0, help="length of a phase of the provider drill (default 60)"
    )
    parser.add_argument("--no-money", action="store_true", help="leave the money drill out")
    parser.add_argument(
        "--money-seeds", type=seeds_in, default=seeds_in("1-5"), help="seeds of the money drill (default 1-5)"
    )
    parser.add_argument("--json", type=Path, default=None, help="write the findings there")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    seeds = list(range(arguments.first_seed, arguments.first_seed + arguments.seeds))
    try:
        with Teller(console) as teller:
            results, checks = asyncio.run(
                run_all(seeds, messages=arguments.messages, with_checks=not arguments.no_checks, teller=teller)
            )
            providers = None
            if not arguments.no_providers:
                providers = asyncio.run(
                    providers_or_why(seed=arguments.first_seed, seconds=arguments.provider_seconds, teller=teller)
                )
            money = None
            if not arguments.no_money:
                money = asyncio.run(money_or_why(seeds=arguments.money_seeds, teller=teller))
    except KeyboardInterrupt:
        return 130
    show(console, results, checks)
    held = not any(result.violations for result in results) and all(check.held for check in checks)
    if providers is not None:
        show_providers(console, providers)
        held = held and providers.held
    if money is not None:
        show_money(console, money)
        held = held and money.held
    if arguments.json is not None:
        report: dict[str, Any] = {
            "held": held,
            "machine": describe(),
            "seeds": [dataclasses.asdict(result) for result in results],
            "checks": [
                {
                    **dataclasses.asdict(check),
                    "value": None if math.isnan(check.value) else check.value,
                    "held": check.held,
                }
                for check in checks
            ],
            "providers": None if providers is None else providers_to_json(providers),
            "money": None if money is None else money_to_json(money),
        }
        arguments.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    console.print("[green]every rule held[/green]" if held else "[red]a rule broke[/red]")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
