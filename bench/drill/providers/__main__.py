"""`python -m bench.drill.providers`: break one of two providers in every way. Exit code 1 if a rule broke."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from rich.console import Console

from bench.drill.providers.report import show, to_json
from bench.drill.providers.run import run_provider_drill


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.drill.providers", description="Break one of two providers under load; compare every word."
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a full phase (default 60)")
    parser.add_argument("--json", type=Path, default=None, help="write the findings there")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140

    def tell(words: str) -> None:
        console.print(f"providers: {words}", highlight=False)

    try:
        result = asyncio.run(run_provider_drill(seed=arguments.seed, seconds=arguments.seconds, tell=tell))
    except KeyboardInterrupt:
        return 130
    show(console, result)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(to_json(result), indent=2, ensure_ascii=False) + "\n", "utf-8")
    console.print("[green]every rule held[/green]" if result.held else "[red]a rule broke[/red]")
    return 0 if result.held else 1


if __name__ == "__main__":
    sys.exit(main())
