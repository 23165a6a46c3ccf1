"""What the verbs share: the common options, output for people or as JSON, tables, running a coroutine."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from chatwright.app.settings import Loaded, load_settings

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """Add `--json`: the result as one JSON value on standard output."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function)


def settings_options(function: Function) -> Function:
    """Add `--data-dir` and `--config`."""
    function = click.option(
        "--config", "config_file", type=click.Path(path_type=Path), help="TOML file with settings."
    )(function)
    return click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Folder of servers and credentials. [default: .chatwright]"
    )(function)


def read_settings(data_dir: Path | None = None, config_file: Path | None = None, **flags: Any) -> Loaded:
    """Load the settings with this command's flags on top; the data directory becomes absolute."""
    loaded = load_settings(config_file=config_file, flags={"data_dir": data_dir, **flags})
    from dataclasses import replace

    absolute = replace(loaded.settings, data_dir=loaded.settings.data_dir.absolute())
    return Loaded(settings=absolute, sources=loaded.sources, config_file=loaded.config_file)


def examples(*lines: str) -> str:
    """Build a command's epilog of example lines, which click must not fill."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run one coroutine to its end."""
    return asyncio.run(work)


def emit(value: Any, *, as_json: bool, human: Callable[[Any], None]) -> None:
    """Print `value` as JSON, or by `human`."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
    else:
        human(value)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = "nothing here yet") -> None:
    """Print rows under headings; on a pipe without colour, and never cut off there."""
    if not rows:
        click.echo(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for row in (columns, *rows):
            click.echo("\t".join("" if cell is None else str(cell) for cell in row))
        return
    view = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for column in columns:
        view.add_column(column, overflow="fold")
    for row in rows:
        view.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(view)


def details(value: Mapping[str, Any]) -> None:
    """Print one thing, a line per field; what is empty is left out."""
    shown = {name: inner for name, inner in value.items() if inner not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, inner in shown.items():
        text = json.dumps(inner, ensure_ascii=False) if isinstance(inner, dict | list) else str(inner)
        click.echo(f"{name.ljust(width)}  {text}")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; off a terminal `--yes` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes to go on.")
    click.confirm(question, abort=True)
