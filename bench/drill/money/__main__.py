"""`python -m bench.drill.money`: budgets, ledger, alerts and rate limits under fire. Exit code 1 if a rule broke."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from rich.console import Console

from bench.drill.money.report import show, to_json
from bench.drill.money.run import CALLS, PENNIES, SCENARIOS, run_money_drill, seeds_in
from bench.machine import describe


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.drill.money", description="Budgets, ledger, alerts and limits over several processes."
    )
    parser.add_argument("--seeds", type=seeds_in, default=seeds_in("1-5"), help="such as 1-5 (default), 3 or 1,4")
    parser.add_argument("--only", default=",".join(SCENARIOS), help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls with mixed endings (default {CALLS:,})")
    parser.add_argument("--pennies", type=int, default=PENNIES, help=f"calls of $0.0000015 (default {PENNIES:,})")
    parser.add_argument("--json", type=Path, default=None, help="write the findings there")
    arguments = parser.parse_args()
    only = {name.strip() for name in arguments.only.split(",")}
    if not only <= set(SCENARIOS):
        parser.error(f"there are {', '.join(SCENARIOS)}")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140

    def tell(words: str) -> None:
        console.print(f"money: {words}", highlight=False, markup=False)

    try:
        drill = run_money_drill(
            seeds=arguments.seeds, calls=arguments.calls, pennies=arguments.pennies, only=only, tell=tell
        )
        result = asyncio.run(drill)
    except KeyboardInterrupt:
        return 130
    show(console, result)
    if arguments.json is not None:
        report = {**to_json(result), "machine": describe()}
        arguments.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    console.print("[green]every rule held[/green]" if result.held else "[red]a rule broke[/red]")
    return 0 if result.held else 1


if __name__ == "__main__":
    sys.exit(main())
