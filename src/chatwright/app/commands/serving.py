"""`up`, `api`, `worker`, `migrate` and the hidden `seed`: the verbs that run the place."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatwright.app.commands.base import emit, examples, json_option, read_settings, run, settings_options

if TYPE_CHECKING:
    from chatwright.app.up import Ready

_parent = click.option("--parent", type=int, hidden=True, help="End when this process ends.")


@click.command(
    "up",
    epilog=examples(
        "chatwright up",
        "chatwright up --port 9000 --data-dir ~/chat",
        "OPENAI_API_KEY=… chatwright up              # the demo answers through an LLM",
        "OPENAI_BASE_URL=http://127.0.0.1:11434/v1 CHATWRIGHT_OPENAI_MODEL=llama3.2 chatwright up",
    ),
)
@click.option("--port", type=int, help="Port of the API; 0 takes any free one. [default: 8080]")
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--no-demo", is_flag=True, help="Make no demo tenant and chatbot.")
@settings_options
@json_option
def up(
    port: int | None, host: str | None, no_demo: bool, data_dir: Path | None, config_file: Path | None, as_json: bool
) -> None:
    """Start PostgreSQL, Valkey, the API and a worker here, with a demo chatbot. Ctrl-C stops all of it."""
    loaded = read_settings(data_dir, config_file, port=port, host=host, demo=False if no_demo else None)
    from chatwright.app.up import run_up
    from chatwright.telemetry.logging import set_up_logging

    set_up_logging(level=loaded.settings.log_level, style=loaded.settings.log_format, role="up")
    run(run_up(loaded, _JsonTeller() if as_json else _Terminal()))


@click.command("api", epilog=examples("DATABASE_URL=… REDIS_URL=… chatwright api --host 0.0.0.0"))
@click.option("--port", type=int, help="Port; 0 takes any free one. [default: 8080]")
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--fd", type=int, hidden=True, help="A listening socket handed over.")
@_parent
@settings_options
@json_option
def api(
    port: int | None,
    host: str | None,
    fd: int | None,
    parent: int | None,
    data_dir: Path | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Run only the API. Needs DATABASE_URL and REDIS_URL, or a running `chatwright up` in the data directory."""
    del as_json  # errors are printed as JSON then (cli.py); there is no result
    from chatwright.app.children import die_with

    die_with(parent)
    settings = read_settings(data_dir, config_file, port=port, host=host).settings
    from chatwright.app.addresses import find_addresses
    from chatwright.app.serve import run_role, serve_api
    from chatwright.telemetry.logging import set_up_logging

    set_up_logging(level=settings.log_level, style=settings.log_format, role="api")
    run_role(serve_api(settings, find_addresses(settings), fd=fd))


@click.command("worker", epilog=examples("DATABASE_URL=… REDIS_URL=… chatwright worker"))
@_parent
@settings_options
@json_option
def worker(parent: int | None, data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Run only a worker. Start as many as you like, on as many machines."""
    del as_json
    from chatwright.app.children import die_with

    die_with(parent)
    settings = read_settings(data_dir, config_file).settings
    from chatwright.app.addresses import find_addresses
    from chatwright.app.serve import run_role, serve_worker
    from chatwright.telemetry.logging import set_up_logging

    set_up_logging(level=settings.log_level, style=settings.log_format, role="worker")
    run_role(serve_worker(settings, find_addresses(settings)))


@click.command("migrate", epilog=examples("DATABASE_URL=… chatwright migrate"))
@settings_options
@json_option
def migrate(data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Bring the schema up to date. Safe to run twice, also at once from several machines."""
    settings = read_settings(data_dir, config_file).settings
    from chatwright.adapters.postgres.migrate import migrate as apply
    from chatwright.app.addresses import find_database

    applied = run(apply(find_database(settings)))

    def human(value: dict[str, list[str]]) -> None:
        click.echo("\n".join(f"applied {name}" for name in value["applied"]) or "the schema is up to date")

    emit({"applied": applied}, as_json=as_json, human=human)


@click.command("seed", hidden=True)
@click.option("--base-url", required=True)
@_parent
@settings_options
def seed(base_url: str, parent: int | None, data_dir: Path | None, config_file: Path | None) -> None:
    """Make the first keys and the demo chatbot; prints JSON lines for `up`."""
    from chatwright.app.children import die_with
    from chatwright.domain.errors import ChatwrightError

    die_with(parent)
    settings = read_settings(data_dir, config_file).settings
    from chatwright.app.addresses import find_addresses
    from chatwright.app.seeding import seed_all
    from chatwright.telemetry.logging import set_up_logging

    set_up_logging(level="warning", style=settings.log_format, role="seed")

    def tell(line: str) -> None:
        click.echo(json.dumps({"progress": line}))

    try:
        made_keys = run(seed_all(settings, find_addresses(settings), base_url=base_url, tell=tell))
    except ChatwrightError as error:
        click.echo(json.dumps({"error": {"code": error.code, "message": error.message}}))
        sys.exit(1)
    click.echo(json.dumps({"made_keys": made_keys}))


def _command() -> str:
    """How this person calls us: `make up` leaves the command in .venv/bin, which is seldom on the path."""
    import os
    import shutil

    if shutil.which("chatwright"):
        return "chatwright"
    own = Path(sys.executable).with_name("chatwright")
    return os.path.relpath(own) if own.exists() else "python -m chatwright"


class _JsonTeller:
    """One line of JSON when everything works, for scripts."""

    quiet = False

    def progress(self, line: str) -> None:
        del line

    def ready(self, ready: "Ready") -> None:
        from dataclasses import asdict

        told = {
            "ready": True,
            "base_url": ready.base_url,
            "credentials_file": str(ready.data_dir / "credentials.json"),
            "first_start": ready.first_start,
            "took_s": round(ready.took_s, 2),
            "pids": dict(ready.pids),
            "chatbot": asdict(ready.credentials)["chatbot"],
        }
        click.echo(json.dumps(told))

    def stopping(self) -> None:
        return


class _Terminal:
    """Short lines while it starts, then a panel with addresses and, at the first start, the keys."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._step = ""
        self.quiet = self._console.is_terminal and sys.stderr.isatty()
        self._status = self._console.status("starting") if self._console.is_terminal else None
        if self._status is not None:
            self._status.start()

    def progress(self, line: str) -> None:
        step = line.partition(":")[0]
        if self._status is not None:
            self._status.update(line)
        elif step != self._step:  # a log needs the steps, not their every movement
            click.echo(step)
        self._step = step

    def ready(self, ready: "Ready") -> None:
        from rich import box
        from rich.panel import Panel
        from rich.table import Table

        self._end_status()
        url, known = ready.base_url, ready.credentials
        rows: list[tuple[str, str]] = []
        if known.chatbot:
            rows.append(("Demo page", f"{url}/demo/{known.chatbot}"))
        rows += [
            ("Console", f"{url}/console"),
            ("API docs", f"{url}/docs"),
            ("OpenAI clients", f"{url}/v1"),
            ("Health", f"{url}/health/ready"),
            ("Metrics", f"{url}/metrics"),
        ]
        if ready.log_file is not None:
            rows.append(("Logs", str(ready.log_file)))
        file = ready.data_dir / "credentials.json"
        if ready.first_start:
            rows.append(("", ""))
            rows.append(("Admin key", known.admin_key))
            if known.tenant_key:
                rows += [("Tenant key", known.tenant_key), ("Widget id", known.widget_id)]
            rows.append(("", f"shown once; kept in {file}"))
        else:
            rows.append(("Keys", str(file)))
        if not self._console.is_terminal:
            click.echo(f"chatwright is ready ({ready.took_s:.1f} s)")
            for name, value in rows:
                click.echo(f"  {name:<15}{value}")
            return
        view = Table.grid(padding=(0, 2))
        view.add_column(style="bold")
        view.add_column(overflow="fold")
        for name, value in rows:
            view.add_row(name, value)
        title = f"chatwright is ready ({ready.took_s:.1f} s)"
        self._console.print(
            Panel(view, title=title, border_style="green", box=box.ROUNDED, expand=False, padding=(1, 2))
        )
        if known.chatbot:
            self._console.print(f"  Ask in the terminal: {_command()} chat {known.chatbot}")
        self._console.print("  Ctrl-C stops everything.\n", style="dim")

    def stopping(self) -> None:
        self._end_status()
        click.echo("stopping (again: do not wait for running answers)")

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
