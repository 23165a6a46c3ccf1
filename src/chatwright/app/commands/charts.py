"""Bars for the terminal: blocks and colour there, plain characters on a pipe. Used by `usage` and `budget`."""

from collections.abc import Sequence
from typing import NamedTuple

import click

_EIGHTHS = " ▏▎▍▌▋▊▉"
_BARS_AT_MOST = 50
_NARROWEST = 10
_PLAIN_WIDTH = 40


class Bar(NamedTuple):
    """One line of a chart: whose, how much, and how that is written."""

    label: str
    value: int
    text: str


def chart(title: str, bars: Sequence[Bar]) -> None:
    """Print one bar per line under a title, scaled to the largest. Of many only the largest are shown, in their order."""
    from rich.console import Console

    console = Console()
    floor = sorted((bar.value for bar in bars), reverse=True)[_BARS_AT_MOST - 1] if len(bars) > _BARS_AT_MOST else 0
    shown = [bar for bar in bars if bar.value >= floor][:_BARS_AT_MOST]
    largest = max((bar.value for bar in shown), default=0)
    if not largest:
        return
    labels = max(len(bar.label) for bar in shown)
    texts = max(len(bar.text) for bar in shown)
    width = max(_NARROWEST, min(60, console.width - labels - texts - 5)) if console.is_terminal else _PLAIN_WIDTH
    click.echo(f"\n{title}")
    for bar in shown:
        drawn = _blocks(bar.value, largest, width) if console.is_terminal else _hashes(bar.value, largest, width)
        coloured = click.style(drawn, fg="cyan") if console.is_terminal else drawn
        click.echo(f"{bar.label.ljust(labels)}  {bar.text.rjust(texts)}  {coloured}".rstrip())
    if len(shown) < len(bars):
        click.echo(f"and {len(bars) - len(shown)} smaller")


def gauge(spent: int, reserved: int, limit: int, *, width: int = 20) -> str:
    """How much of a limit is spent and reserved, as one bar. What passes the limit fills it."""
    from rich.console import Console

    terminal = Console().is_terminal
    filled = _cells(spent, limit, width)
    held = min(width - filled, _cells(reserved, limit, width))
    free = width - filled - held
    if not terminal:
        return "#" * filled + "=" * held + "." * free
    share = 1.0 if limit <= 0 else spent / limit
    colour = "red" if share >= 0.95 else "yellow" if share >= 0.8 else "green"
    return click.style("█" * filled, fg=colour) + click.style("▒" * held, fg="blue") + click.style("░" * free, dim=True)


def _blocks(value: int, largest: int, width: int) -> str:
    eighths = _cells(value, largest, width * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _hashes(value: int, largest: int, width: int) -> str:
    return "#" * _cells(value, largest, width)


def _cells(part: int, whole: int, width: int) -> int:
    """How many of `width` cells a part fills: all of them only for the whole, and at least one for what is not 0."""
    if whole <= 0 or part >= whole:
        return width if part > 0 or whole <= 0 else 0
    return max(1, part * width // whole) if part > 0 else 0
