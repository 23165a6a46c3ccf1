"""`feedback`: what visitors say of answers, as a list and as sums. Over the REST API."""

from typing import Any

import click

from chatwright.app.commands.base import emit, examples, run, table
from chatwright.app.commands.charts import Bar, chart
from chatwright.app.commands.rest import Target, open_api, server_options

_PATH = "/api/v1/feedback"
_MARKS = {"up": "👍", "down": "👎"}
_SHOWN_CHARS = 400
_EMPTY = "nobody has rated an answer yet, or nobody in that time: visitors do so in the widget"


@click.group(
    "feedback",
    epilog=examples(
        "chatwright feedback list --rating down              # what to mend first",
        "chatwright feedback summary --chatbot demo",
    ),
)
def feedback() -> None:
    """What visitors say of answers: thumbs up and down, and their comments."""


@feedback.command(
    "list",
    epilog=examples(
        "chatwright feedback list",
        "chatwright feedback list --rating down --chatbot demo",
        "chatwright feedback list --from 2026-01-01 --limit 200 --json",
    ),
)
@click.option("--chatbot", "chatbot_ref", help="Of this chatbot, by id or slug.")
@click.option("--rating", type=click.Choice(["up", "down"]), help="Only these.")
@click.option("--from", "since", help="First day, e.g. 2026-01-01.")
@click.option("--to", "until", help="Last day.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Ratings to show.")
@server_options
def list_feedback(
    chatbot_ref: str | None, rating: str | None, since: str | None, until: str | None, limit: int, target: Target
) -> None:
    """List ratings with their questions and answers, newest first."""
    asked = {"chatbot": chatbot_ref, "rating": rating, "from": since, "to": until, "limit": limit}

    async def work() -> list[dict[str, Any]]:
        async with open_api(target) as api:
            return (await api.get(_PATH, **asked))["items"]

    def human(items: list[dict[str, Any]]) -> None:
        for item in items:
            _show(item)
        if not items:
            click.echo(_EMPTY)

    emit(run(work()), as_json=target.as_json, human=human)


@feedback.command(
    "summary",
    epilog=examples(
        "chatwright feedback summary",
        "chatwright feedback summary --chatbot demo --from 2026-01-01",
        "chatwright feedback summary --time-zone Europe/Berlin --json",
    ),
)
@click.option("--chatbot", "chatbot_ref", help="Of this chatbot, by id or slug.")
@click.option("--from", "since", help="First day. [default: 30 days ago]")
@click.option("--to", "until", help="Last day.")
@click.option("--time-zone", help="IANA name whose days are meant. [default: the tenant's]")
@server_options
def summary(
    chatbot_ref: str | None, since: str | None, until: str | None, time_zone: str | None, target: Target
) -> None:
    """Count thumbs up and down, in all and by day."""
    asked = {"chatbot": chatbot_ref, "from": since, "to": until, "time_zone": time_zone}

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.get(f"{_PATH}/summary", **asked)

    def human(sums: dict[str, Any]) -> None:
        if sums["share"] is None:
            click.echo(_EMPTY)
            return
        rows = [(day["day"], day["up"], day["down"], _percent(day["up"], day["down"])) for day in sums["days"]]
        table(("day", "up", "down", "share up"), [*rows, ("all", sums["up"], sums["down"], f"{sums['share']:.0%}")])
        chart("thumbs down by day", [Bar(day["day"], day["down"], str(day["down"])) for day in sums["days"]])

    emit(run(work()), as_json=target.as_json, human=human)


def _show(item: dict[str, Any]) -> None:
    origin = " ".join(filter(None, (item["provider"], item["model"])))
    cached = "" if item["cached"] == "miss" else f", from the {item['cached']} cache"
    click.secho(f"{_MARKS[item['rating']]} {item['created_at'][:16].replace('T', ' ')}", bold=True, nl=False)
    click.echo(f"  {item['visitor_id']}  ({origin}{cached})  conversation {item['conversation_id']}")
    click.echo(f"   asked     {_short(item['question'])}")
    click.echo(f"   answered  {_short(item['answer'])}")
    for source in item["sources"][:3]:
        click.echo(f"   source    {_short(str(source.get('title') or source.get('url') or ''))}")
    if item["comment"]:
        click.echo(f"   comment   {_short(item['comment'])}")


def _short(text: str) -> str:
    """On one line, and not longer than a few lines of a terminal. Strangers wrote it: nothing in it may move the cursor."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(plain.split())
    return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"


def _percent(up: int, down: int) -> str:
    return f"{up / (up + down):.0%}"
