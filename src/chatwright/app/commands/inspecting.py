"""`doctor`, `config`, `bench`, `version`: looking at what is there."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chatwright import __version__
from chatwright.app.commands.base import emit, examples, json_option, read_settings, run, settings_options, table
from chatwright.app.settings import all_options, env_name, masked


@click.command("version")
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    emit({"version": __version__}, as_json=as_json, human=lambda value: click.echo(f"chatwright {value['version']}"))


@click.command(
    "config", epilog=examples("chatwright config", "chatwright config --changed", "chatwright config --explain")
)
@click.option("--changed", is_flag=True, help="Only what differs from the default.")
@click.option("--explain", is_flag=True, help="Say what each option means.")
@settings_options
@json_option
def config(changed: bool, explain: bool, data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Show the effective settings and where each came from. Keys and passwords are masked."""
    loaded = read_settings(data_dir, config_file)
    shown: list[dict[str, Any]] = []
    for declared in all_options():
        source = loaded.sources[declared.name]
        if changed and source == "default":
            continue
        shown.append(
            {
                "name": declared.name,
                "value": masked(declared, getattr(loaded.settings, declared.name)),
                "source": source,
                "environment": env_name(declared),
                "unit": declared.metadata["unit"],
                "about": declared.metadata["about"],
            }
        )

    def human(options: list[dict[str, Any]]) -> None:
        columns = ("name", "value", "source", "environment", *(("about",) if explain else ()))
        table(
            columns,
            [[option[column] for column in columns] for option in options],
            empty="everything is at its default",
        )

    emit(shown, as_json=as_json, human=human)


@click.command("doctor", epilog=examples("chatwright doctor", "DATABASE_URL=… REDIS_URL=… chatwright doctor --json"))
@settings_options
@json_option
def doctor(data_dir: Path | None, config_file: Path | None, as_json: bool) -> int:
    """Look at each part and say how to mend what is broken. Exit code 1 if something is."""
    from chatwright.app.checkup import Finding, examine
    from chatwright.telemetry.logging import set_up_logging

    set_up_logging(level="error")
    findings = run(examine(read_settings(data_dir, config_file)))
    broken = any(finding.state == "fail" for finding in findings)

    def human(_value: Any) -> None:
        signs = {
            "ok": click.style("ok  ", fg="green"),
            "warn": click.style("warn", fg="yellow"),
            "fail": click.style("FAIL", fg="red"),
        }
        for finding in findings:
            click.echo(f"{signs[finding.state]}  {finding.part:<15} {finding.detail}")
            if finding.mend and finding.state != "ok":
                click.echo(f"      {'':<15} → {finding.mend}")

    def plain(finding: Finding) -> dict[str, str]:
        return asdict(finding)

    emit({"ok": not broken, "findings": [plain(finding) for finding in findings]}, as_json=as_json, human=human)
    return 1 if broken else 0


@click.command(
    "bench",
    context_settings={"ignore_unknown_options": True},
    epilog=examples("chatwright bench", "chatwright bench --help"),
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@json_option
def bench(arguments: tuple[str, ...], as_json: bool) -> int:
    """Run the benchmark suite of a checkout; prints a table and writes JSON. Arguments are passed on."""
    root = Path(__file__).resolve().parents[4]
    if not (root / "bench" / "__main__.py").is_file():
        raise click.UsageError(
            "the benchmark suite is part of the repository, not of the package: run it in a checkout"
        )
    command = [sys.executable, "-m", "bench", *arguments, *(("--json",) if as_json else ())]
    return subprocess.run(command, cwd=root, check=False).returncode
