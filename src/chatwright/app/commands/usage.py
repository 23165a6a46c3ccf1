"""`usage`: what was used and what it cost, as a table with a chart, as JSON, or as a CSV file."""

import sys
from pathlib import Path
from typing import Any

import click

from chatwright.app.commands.base import details, emit, examples, run, table
from chatwright.app.commands.charts import Bar, chart
from chatwright.app.commands.rest import Api, Target, open_api, server_options
from chatwright.domain.money import format_usd

_NAMED = {"chatbot": "chatbot_slug", "tenant": "tenant_name"}
_COUNTED = {  # and short headings, because the table has to fit a terminal
    "calls": "calls",
    "cache_hits": "hits",
    "input_tokens": "input",
    "cached_tokens": "cached",
    "output_tokens": "output",
}


@click.group("usage")
def usage() -> None:
    """What was used and what it cost."""


@usage.command(
    "report",
    epilog=examples(
        "chatwright usage report --group-by day,model",
        "chatwright usage report --from 2026-01-01 --json",
        "chatwright usage report --group-by chatbot --chart tokens",
        "chatwright usage report --group-by day,chatbot,model --csv usage.csv",
        "chatwright usage report --group-by day --time-zone Europe/Berlin",
        "chatwright usage report --group-by tenant --all-tenants",
    ),
)
@click.option(
    "--group-by",
    default="day",
    show_default=True,
    help="day, model, provider, chatbot, tenant, purpose, kind, key, visitor, import; several with commas.",
)
@click.option("--from", "since", help="First day, e.g. 2026-01-01. [default: 30 days ago]")
@click.option("--to", "until", help="Last day.")
@click.option("--time-zone", help="IANA name whose days are meant. [default: the tenant's]")
@click.option(
    "--chart",
    "charted",
    type=click.Choice(["cost", "saved", "calls", "tokens", "none"]),
    default="cost",
    show_default=True,
    help="What the bars show; calls where nothing was charged.",
)
@click.option("--csv", "csv_file", metavar="FILE", help="Write the rows into a CSV file; - is standard output.")
@click.option("--all-tenants", is_flag=True, help="Of all tenants (admin key).")
@server_options
def report(
    group_by: str,
    since: str | None,
    until: str | None,
    time_zone: str | None,
    charted: str,
    csv_file: str | None,
    all_tenants: bool,
    target: Target,
) -> None:
    """Show calls, tokens, cost and what caches saved, in groups."""
    groups = [part.strip() for part in group_by.split(",") if part.strip()]
    params = {"group_by": ",".join(groups), "from": since, "to": until, "time_zone": time_zone}

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if all_tenants else "tenant") as api:
            if csv_file is not None:
                return await _download(api, csv_file, params)
            return await api.get("/api/v1/usage", **params)

    found = run(work())
    if csv_file is None:
        emit(found, as_json=target.as_json, human=lambda value: _show(value, groups, charted))
    elif csv_file != "-":
        emit(found, as_json=target.as_json, human=details)


async def _download(api: Api, name: str, params: dict[str, str | None]) -> dict[str, Any]:
    """Write the report into a file; one that broke off leaves nothing behind."""
    if name == "-":
        return {"bytes": await api.download("/api/v1/usage", sys.stdout.buffer.write, format="csv", **params)}
    file = Path(name)
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        with unfinished.open("wb") as stream:
            size = await api.download("/api/v1/usage", stream.write, format="csv", **params)
        unfinished.replace(file)
    except OSError as error:
        raise click.UsageError(f"--csv: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return {"file": str(file), "bytes": size}


def _show(found: dict[str, Any], groups: list[str], charted: str) -> None:
    total = found["total"]
    if not (total["calls"] or total["cache_hits"]):
        click.echo(f"nothing was used between {_minute(found['since'])} and {_minute(found['until'])} (UTC)")
        return

    def cells(row: dict[str, Any], names: list[Any]) -> list[Any]:
        money = [format_usd(row["cost_nano"]), format_usd(row["saved_nano"])]
        return [*names, *(row[counted] for counted in _COUNTED), *money]

    rows = [cells(row, [_label(row, group) for group in groups]) for row in found["rows"]]
    rows.append(cells(found["total"], ["total", *([""] * (len(groups) - 1))][: len(groups)]))
    table([*groups, *_COUNTED.values(), "USD", "saved"], rows)
    if "day" in groups and found["time_zone"] != "UTC":
        click.echo(f"days of {found['time_zone']}")
    if total["unpriced_calls"]:
        click.echo(f"{total['unpriced_calls']} calls have no known price and are not in the cost")
    if total["estimated_calls"]:
        click.echo(f"{total['estimated_calls']} calls are estimated: they were cut before their usage was known")
    if groups and charted != "none":
        _chart(found["rows"], groups, charted)


def _chart(rows: list[dict[str, Any]], groups: list[str], charted: str) -> None:
    if charted == "cost" and not any(row["cost_nano"] for row in rows):
        charted = "calls"

    def bar(row: dict[str, Any]) -> Bar:
        label = "  ".join(_label(row, group) for group in groups)
        match charted:
            case "cost" | "saved":
                nano = row[f"{charted}_nano"]
                return Bar(label, nano, format_usd(nano))
            case "tokens":
                tokens = row["input_tokens"] + row["output_tokens"]
                return Bar(label, tokens, f"{tokens:,}")
            case _:
                return Bar(label, row["calls"], f"{row['calls']:,}")

    unit = {"cost": "cost in USD", "saved": "saved USD"}.get(charted, charted)
    chart(f"{unit} by {', '.join(groups)}", [bar(row) for row in rows])


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _label(row: dict[str, Any], group: str) -> str:
    """What a group's value is called: names for ids where there are some, and a word where there is nothing."""
    return str(row.get(_NAMED.get(group, "")) or row.get(group) or "none")
