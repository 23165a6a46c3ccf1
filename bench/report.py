"""Shows figures as a table and writes them as JSON. Called by `python -m bench`."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.figure import Figure

RESULTS = Path(__file__).parent / "results"


def show(console: Console, figures: Sequence[Figure]) -> None:
    """Print the table: value, goal, baseline of the same run, ratio."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("figure", overflow="fold", min_width=30)
    table.add_column("profile")
    for name in ("value", "goal", "baseline", "ratio", "samples"):
        table.add_column(name, justify="right")
    table.add_column("")
    group = ""
    for figure in figures:
        if group and figure.group != group:
            table.add_section()
        group = figure.group
        verdict = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[figure.met]
        table.add_row(
            f"{figure.group}: {figure.name}",
            figure.profile,
            f"{_number(figure.value)} {figure.unit}",
            "" if figure.goal is None else str(figure.goal),
            "" if figure.baseline is None else _number(figure.baseline),
            "" if figure.ratio is None else f"{figure.ratio:,.3g}",
            f"{figure.samples:,}" if figure.samples else "",
            verdict,
        )
    console.print(table)


def to_json(
    figures: Sequence[Figure], *, machine: dict[str, Any], quick: bool, problems: Sequence[str]
) -> dict[str, Any]:
    """Everything that was measured, as plain values; what is not a number is null."""
    return _plain(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": quick,
            "machine": machine,
            "problems": list(problems),
            "figures": [
                {
                    **{name: getattr(figure, name) for name in figure.__struct_fields__ if name != "goal"},
                    "goal": None if figure.goal is None else {figure.goal.kind: figure.goal.value},
                    "ratio": figure.ratio,
                    "met": figure.met,
                }
                for figure in figures
            ],
        }
    )


def write(report: dict[str, Any], file: Path | None) -> Path:
    """Write the report to `file`, or under a new name in `bench/results`."""
    if file is None:
        RESULTS.mkdir(exist_ok=True)
        file = RESULTS / f"bench-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return file


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_plain(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.1f}"
