"""Shows what the money drill found. Called by both drills' command lines."""

import dataclasses
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.drill.money.run import MoneyResult


def show(console: Console, result: MoneyResult) -> None:
    """A line for each scenario and seed, then what broke."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("scenario", overflow="fold")
    table.add_column("seed", justify="right")
    table.add_column("figures", overflow="fold")
    table.add_column("took", justify="right")
    table.add_column("")
    for part in result.parts:
        figures = ", ".join(
            f"{name} {_shown(value)}" for name, value in part.figures.items() if not isinstance(value, dict)
        )
        broken = f"[red]{sum(violation.count for violation in part.violations):,} broken[/red]"
        held = broken if part.violations else "[green]held[/green]"
        table.add_row(part.name, str(part.seed) if part.seed else "", figures, f"{part.took_s:.0f} s", held)
    console.print(table)
    for part in result.parts:
        for violation in part.violations:
            console.print(f"[red]{part.name}, seed {part.seed}[/red] {violation}", highlight=False)
    if result.keep:
        console.print(f"money: logs in {result.keep}", highlight=False)


def to_json(result: MoneyResult) -> dict[str, Any]:
    """Everything, as plain values."""
    return {"held": result.held, **dataclasses.asdict(result)}


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
