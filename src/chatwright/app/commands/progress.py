"""A progress bar for verbs that take long: on a terminal only, and never in the way of `--json`."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from chatwright.app.commands.base import run

Result = TypeVar("Result")


class Bar:
    """What the work tells of itself: `grow` by steps to come, `advance` by steps done."""

    def __init__(self, update: Callable[[str, int, int], None] | None = None) -> None:
        self._update = update
        self._total = 0

    def grow(self, steps: int) -> None:
        self._total += steps
        if self._update is not None:
            self._update("", 0, self._total)

    def advance(self, text: str, steps: int) -> None:
        if self._update is not None:
            self._update(text, steps, self._total)


def with_bar(work: Callable[[Bar], Coroutine[Any, Any, Result]], *, quiet: bool) -> Result:
    """Run `work` to its end, under a bar on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return run(work(Bar()))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None)

        def update(text: str, steps: int, total: int) -> None:
            progress.update(task, total=total, advance=steps, description=text[:60] or None)

        return run(work(Bar(update)))
