"""`intent`: a chatbot's own intents, their examples and how well they are told apart. Over the REST API."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any, TextIO
from urllib.parse import quote

import click

from chatwright.app.commands.base import confirm, details, emit, examples, run
from chatwright.app.commands.rest import Target, open_api, server_options

_SHOWN = 5


@click.group(
    "intent",
    epilog=examples(
        "chatwright intent list demo",
        'chatwright intent set demo returns "I want to send this back" "how do I return my order"',
        'chatwright intent test demo "these shoes do not fit"',
    ),
)
def intent() -> None:
    """A chatbot's own intents: learned from a few examples each, within seconds."""


@intent.command("list", epilog=examples("chatwright intent list demo", "chatwright intent list demo --json"))
@click.argument("chatbot_ref", metavar="CHATBOT")
@server_options
def list_intents(chatbot_ref: str, target: Target) -> None:
    """Show the intents, and how often each would be taken for another."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.get(_path(chatbot_ref))

    emit(run(work()), as_json=target.as_json, human=_show)


@intent.command(
    "set", epilog=examples('chatwright intent set demo returns "I want to send this back" "how do I return my order"')
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("name")
@click.argument("sentences", metavar="EXAMPLE…", nargs=-1, required=True)
@server_options
def set_intent(chatbot_ref: str, name: str, sentences: tuple[str, ...], target: Target) -> None:
    """Add an intent, or give it other examples: five to ten sentences that visitors say."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.put(_path(chatbot_ref, name), {"examples": list(sentences)})

    emit(run(work()), as_json=target.as_json, human=_show)


@intent.command(
    "remove", epilog=examples("chatwright intent remove demo returns", "chatwright intent remove demo --all")
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def remove(chatbot_ref: str, name: str | None, everything: bool, yes: bool, target: Target) -> None:
    """Remove one intent, or all of them."""
    if everything == bool(name):
        raise click.UsageError("Name one intent, or say --all.")
    if everything:
        confirm(f"Remove all intents of {chatbot_ref}?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.delete(_path(chatbot_ref, name))

    emit(run(work()), as_json=target.as_json, human=_show)


@intent.command("test", epilog=examples('chatwright intent test demo "these shoes do not fit" "where is my order"'))
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("texts", metavar="TEXT…", nargs=-1, required=True)
@server_options
def test(chatbot_ref: str, texts: tuple[str, ...], target: Target) -> None:
    """Show what texts would be read as."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.post(_path(chatbot_ref, "test"), {"texts": list(texts)})

    def human(tried: dict[str, Any]) -> None:
        for text, result in zip(texts, tried["results"], strict=True):
            name = result["intent"] or f"none (likeliest {result['likeliest']})"
            click.echo(f"{result['confidence']:>5.0%}  {name}  {text}")

    emit(run(work()), as_json=target.as_json, human=human)


@intent.command(
    "import",
    epilog=examples(
        "chatwright intent import demo intents.csv       # columns: intent, example",
        'chatwright intent import demo intents.jsonl     # {"intent": …, "example": …}',
    ),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def import_intents(chatbot_ref: str, file: TextIO, yes: bool, target: Target) -> None:
    """Make the intents of a file all that the chatbot has: CSV or JSON lines, one example a line."""
    wanted = read_intents(file)
    count = sum(len(sentences) for sentences in wanted.values())
    confirm(f"Replace all intents of {chatbot_ref} by {len(wanted)} with {count} examples?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            body = [{"name": name, "examples": sentences} for name, sentences in wanted.items()]
            return await api.put(_path(chatbot_ref), {"intents": body})

    emit(run(work()), as_json=target.as_json, human=_show)


def read_intents(file: TextIO) -> dict[str, list[str]]:
    """Examples by intent, in the file's order. Raises UsageError naming the line that cannot be read."""
    text = file.read()
    rows = _json_rows(text) if text.lstrip()[:1] == "{" else _csv_rows(text)
    found: dict[str, list[str]] = {}
    for number, row in rows:
        name, example = (str(row.get(field) or "").strip() for field in ("intent", "example"))
        if not name and not example:
            continue
        if not name or not example:
            raise click.UsageError(f"Line {number} lacks its {'example' if name else 'intent'}.")
        found.setdefault(name, []).append(example)
    if not found:
        raise click.UsageError("There is no example in this file.")
    return found


def _csv_rows(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text))
    columns = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    if not {"intent", "example"} <= set(columns):
        raise click.UsageError("The first line names the columns: intent, example.")
    rows.fieldnames = columns
    return [(rows.line_num, row) for row in rows]


def _json_rows(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"Line {number} is no JSON: {error}") from error
        if not isinstance(value, Mapping):
            raise click.UsageError(f"Line {number} is no object with intent and example.")
        rows.append((number, value))
    return rows


def _show(shown: dict[str, Any]) -> None:
    for one in shown["intents"]:
        click.secho(one["name"], bold=True)
        for example in one["examples"][:_SHOWN]:
            click.echo(f"  {example}")
        if (more := len(one["examples"]) - _SHOWN) > 0:
            click.echo(f"  … and {more} more")
    if not shown["intents"]:
        click.echo("no intents of its own: `chatwright intent set CHATBOT NAME EXAMPLE…`")
        return
    quality = shown["quality"] or {}
    told: dict[str, str] = {"state": shown["state"], "trained": shown["trained_at"] or "not yet"}
    if quality.get("accuracy") is not None:
        told["right, unseen"] = f"{quality['accuracy']:.0%} of {quality['examples']} examples"
        told["named, unseen"] = f"{quality['named']:.0%}"
    details(told)
    for pair in quality.get("confusions", ())[:_SHOWN]:
        click.echo(f"  {pair['count']} of {pair['intent']} would be read as {pair['read_as']}")


def _path(chatbot_ref: str, last: str | None = None) -> str:
    path = f"/api/v1/chatbots/{chatbot_ref}/intents"
    return path if last is None else f"{path}/{quote(last, safe='')}"
