"""Shows what the provider drill found. Called by both drills' command lines."""

import dataclasses
import math
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.drill.measured import Check
from bench.drill.providers.run import ProviderResult


def show(console: Console, result: ProviderResult) -> None:
    """Phases, checks, violations."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("phase", overflow="fold")
    for name in (
        "asked",
        "faulty",
        "complete",
        "by the secondary",
        "partial",
        "errors",
        "calls an answer",
        "to the primary",
        "slowest",
    ):
        table.add_column(name, justify="right")
    for phase in result.phases:
        table.add_row(
            phase.name,
            f"{phase.questions:,}",
            f"{phase.faulty:,}",
            f"{phase.complete:,}",
            f"{phase.by_secondary:,}",
            f"{phase.partial:,}",
            f"{phase.errors:,}",
            f"{phase.calls / max(1, phase.questions):.2f}",
            f"{phase.to_primary:,}",
            f"{phase.slowest_s:.1f} s",
        )
    console.print(table)
    show_checks(console, result.checks)
    for violation in result.violations:
        console.print(f"[red]providers[/red] {violation}", highlight=False)
    if result.keep:
        console.print(f"providers: logs in {result.keep}", highlight=False)


def show_checks(console: Console, checks: list[Check]) -> None:
    """One number a line, with its limit."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("scenario", overflow="fold")
    for name in ("value", "limit", "samples"):
        table.add_column(name, justify="right")
    table.add_column("")
    for check in checks:
        value = "–" if math.isnan(check.value) else f"{check.value:,.2f} {check.unit}"
        held = "[green]held[/green]" if check.held else "[red]broken[/red]"
        table.add_row(check.name, value, f"≤ {check.limit:g}", str(check.samples), f"{held} {check.note}")
    console.print(table)


def to_json(result: ProviderResult) -> dict[str, Any]:
    """Everything, as plain values; what could not be taken is null."""
    found = dataclasses.asdict(result)
    for check, plain in zip(result.checks, found["checks"], strict=True):
        plain |= {"value": None if math.isnan(check.value) else check.value, "held": check.held}
    return {"held": result.held, **found}
