"""`import`: files of conversations, planned on this machine, imported by the server, followed with a progress bar."""

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import click

from chatwright.app.commands.base import confirm, details, emit, examples, run, table
from chatwright.app.commands.import_plan import read_plan, show_plan
from chatwright.app.commands.progress import Bar, with_bar
from chatwright.app.commands.rest import Api, ApiError, Target, open_api, server_options
from chatwright.domain.errors import ChatwrightError, Unavailable
from chatwright.domain.ids import is_id

_POLL_S = 0.5
_STEPS = 1_000
_RESTING = ("paused", "done", "failed", "cancelled")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(
    "import",
    epilog=examples(
        "chatwright import plan chats.csv",
        "chatwright import run chats.csv --chatbot demo --enrich all --limit-usd 5",
        "chatwright import resume chats.csv",
    ),
)
def import_() -> None:
    """Import conversations from CSV or JSON lines, gzip or zip."""


_chatbot_option = click.option("--chatbot", help="Slug or id. [default: the only one there is]")


def _mapping_options(function: Any) -> Any:
    for decorate in (
        click.option("--preset", help="A mapping kept under a name: intercom, zendesk, chatwoot, or one of your own."),
        click.option("--map", "pairs", multiple=True, metavar="FIELD=COLUMN", help="What a column means; repeat it."),
        click.option("--mapping", help="The whole mapping as JSON; @FILE reads a file."),
        click.option("--redact", help="Take out: email, phone, card, iban, or all."),
        click.option("--source", help="Whose ids the file's ids are. The same row of the same source is stored once."),
    ):
        function = decorate(function)
    return function


@import_.command("plan")
@click.argument("file", type=_FILE)
@_chatbot_option
@_mapping_options
@server_options
def plan(
    chatbot: str | None, file: Path, target: Target, source: str | None, redact: str | None, **mapping: Any
) -> None:
    """Read a file to its end on this machine: columns guessed, rows counted, errors shown, summaries quoted. Stores
    nothing."""
    given = _mapping(mapping)

    async def work() -> dict[str, Any]:
        try:
            async with open_api(target) as api:
                presets = {one["name"]: one["columns"] for one in (await api.get("/api/v1/import-presets"))["items"]}
                read = await read_plan(file, given, presets, redact)
                path = "/api/v1/imports/quote"
                counts = {"conversations": read["conversations"], "characters": read["characters"]}
                return {**read, **await api.get(path, chatbot=await _chatbot(api, chatbot), **counts)}
        except Unavailable as error:
            read = await read_plan(file, given, {}, redact)
            return {**read, "quote_nano": None, "quote_usd": None, "note": f"no quote: {error.message}"}

    del source
    emit(run(work()), as_json=target.as_json, human=show_plan)


@import_.command("run")
@click.argument("file", type=_FILE)
@_chatbot_option
@_mapping_options
@click.option("--enrich", help="all, none, or some of sentiment,intent,summary. [default: what costs nothing]")
@click.option("--summaries", type=click.Choice(["local", "model"]), help="Who writes them. [default: the model]")
@click.option("--limit-usd", help="What the import may cost; it is paused there.")
@click.option("--no-wait", is_flag=True, help="Do not wait for its end.")
@server_options
def run_(
    chatbot: str | None,
    file: Path,
    target: Target,
    source: str | None,
    redact: str | None,
    enrich: str | None,
    summaries: str | None,
    limit_usd: str | None,
    no_wait: bool,
    **mapping: Any,
) -> None:
    """Send a file and follow its import. Stopping this command does not stop the import."""
    fields = {
        "mapping": json.dumps(_mapping(mapping)),
        "name": file.name,
        "enrich": enrich,
        "summaries": summaries,
        "redact": redact,
        "source": source,
        "limit_usd": limit_usd,
    }

    async def work(bar: Bar) -> dict[str, Any]:
        async with open_api(target) as api:
            given = {name: value for name, value in fields.items() if value is not None}
            given["chatbot"] = await _chatbot(api, chatbot)
            bar.advance(f"sending {file.name}", 0)
            made = await api.upload("/api/v1/imports", file, fields=given, media_type="application/octet-stream")
            if no_wait:
                return _addressed(api, await api.get(f"/api/v1/imports/{made['id']}"))
            return await _followed(api, made["id"], bar)

    _end(with_bar(work, quiet=target.as_json), target)


@import_.command("status")
@click.argument("which", required=False)
@server_options
def status(which: str | None, target: Target) -> None:
    """Show how far an import is: by id, by the file's name, or the latest one."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return _addressed(api, await _find(api, which))

    emit(run(work()), as_json=target.as_json, human=details)


@import_.command("resume")
@click.argument("which", required=False)
@click.option("--limit-usd", help="What the import may cost from now on, in all.")
@click.option("--no-wait", is_flag=True, help="Do not wait for its end.")
@server_options
def resume(which: str | None, limit_usd: str | None, no_wait: bool, target: Target) -> None:
    """Go on with an import that was paused or failed."""

    async def work(bar: Bar) -> dict[str, Any]:
        async with open_api(target) as api:
            path = f"/api/v1/imports/{(await _find(api, which))['id']}"
            if limit_usd is not None:
                await api.patch(path, {"limit_usd": limit_usd})
            now = cast("dict[str, Any]", await api.post(f"{path}/resume"))
            return now if no_wait else await _followed(api, now["id"], bar)

    _end(with_bar(work, quiet=target.as_json), target)


def _switch(verb: str, help_text: str, *, asks: bool) -> None:
    @import_.command(verb, help=help_text)
    @click.argument("which", required=False)
    @click.option("--yes", is_flag=True, help="Do not ask.", hidden=not asks)
    @server_options
    def switch(which: str | None, yes: bool, target: Target) -> None:
        async def work() -> dict[str, Any]:
            async with open_api(target) as api:
                one = await _find(api, which)
                if asks:
                    confirm(f"Give up the import of {one['file']}? What is stored stays.", yes=yes)
                return cast("dict[str, Any]", await api.post(f"/api/v1/imports/{one['id']}/{verb}"))

        emit(run(work()), as_json=target.as_json, human=details)

    del switch


_switch("pause", "Stop an import before its next batch.", asks=False)
_switch("cancel", "Give an import up. What is stored stays.", asks=True)


@import_.command("delete")
@click.argument("which")
@click.option("--with-conversations", is_flag=True, help="Also the conversations that it brought.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Do not wait until its conversations are gone.")
@server_options
def delete(which: str, with_conversations: bool, yes: bool, no_wait: bool, target: Target) -> None:
    """Delete an import that has ended, by id or the file's name: its file, its report and its rows."""

    async def look() -> dict[str, Any]:
        async with open_api(target) as api:
            return await _find(api, which, is_only=True)

    one = run(look())
    brought = (
        "and the conversations that it brought" if with_conversations else "but not the conversations that it brought"
    )
    confirm(f"Delete the import of {one['file']} ({one['id']}, {one['state']}), {brought}?", yes=yes)

    async def work(bar: Bar) -> dict[str, Any]:
        async with open_api(target) as api:
            path = f"/api/v1/imports/{one['id']}"
            wish = {"with_conversations": "true"} if with_conversations else {}
            begun = cast("dict[str, Any] | None", await api.delete(path, **wish))
            made = {"deleted": one["id"], "file": one["file"], "state": "deleted", "conversations": 0}
            if begun is not None:
                made["conversations"] = begun["conversations"]
                made["state"] = "deleting" if no_wait else await _gone(api, path, begun["conversations"], bar)
            return made

    def human(made: dict[str, Any]) -> None:
        verb = "deleted" if made["state"] == "deleted" else "deleting"
        brought = f" with {made['conversations']:,} conversations" if made["conversations"] else ""
        click.echo(f"{verb} the import of {made['file']}{brought}")

    emit(with_bar(work, quiet=target.as_json), as_json=target.as_json, human=human)


@import_.command("list")
@server_options
def list_(target: Target) -> None:
    """List imports, newest first."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target) as api:
            return await api.pages("/api/v1/imports")

    def human(items: list[dict[str, Any]]) -> None:
        columns = ("id", "file", "state", "rows_read", "rows_stored", "rows_failed", "rows_skipped", "created_at")
        table(columns, [[item.get(column) for column in columns] for item in items], empty="no imports yet")

    emit(run(work()), as_json=target.as_json, human=human)


@import_.command("faq")
@click.argument("which", required=False)
@click.option("--limit", default=50, show_default=True, help="Questions at most.")
@server_options
def faq(which: str | None, limit: int, target: Target) -> None:
    """Print what visitors asked most and agents answered, as Markdown to be reviewed and added with `kb add`."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            one = await _find(api, which)
            return cast("dict[str, Any]", await api.get(f"/api/v1/imports/{one['id']}/faq", limit=limit))

    def human(found: dict[str, Any]) -> None:
        if not found["items"]:
            raise ChatwrightError(
                "no question that was answered; what an earlier import brought is asked by that one's id"
            )
        click.echo(found["markdown"])

    emit(run(work()), as_json=target.as_json, human=human)


async def _chatbot(api: Api, chosen: str | None) -> str:
    if chosen is not None:
        return chosen
    known = [str(one["slug"]) for one in await api.pages("/api/v1/chatbots")]
    if len(known) != 1:
        raise click.UsageError(f"name the chatbot with --chatbot; there are {', '.join(known) or 'none'}")
    return known[0]


async def _find(api: Api, which: str | None, *, is_only: bool = False) -> dict[str, Any]:
    """The import of that id, the latest of that file, or the latest of all. `is_only`: no other one may be meant."""
    if which is not None and is_id(which):
        return cast("dict[str, Any]", await api.get(f"/api/v1/imports/{which}"))
    name = None if which is None else Path(which).name
    found = [one for one in await api.pages("/api/v1/imports") if name is None or one["file"] == name]
    if is_only and len(found) > 1:
        ids = ", ".join(f"{one['id']} ({one['state']}, {one['rows_stored']:,} rows stored)" for one in found)
        raise click.UsageError(f"{len(found)} imports of a file named {name}; name one by its id: {ids}")
    if found:
        return found[0]
    raise click.UsageError("there is no import yet" if name is None else f"no import of a file named {name}")


def _addressed(api: Api, one: dict[str, Any]) -> dict[str, Any]:
    """The import with whole addresses of its report, to be opened from where it is printed."""
    return {name: f"{api.base_url}{value}" if name.endswith("_url") and value else value for name, value in one.items()}


async def _followed(api: Api, import_id: str, bar: Bar) -> dict[str, Any]:
    bar.grow(_STEPS)
    shown = 0
    while True:
        now = cast("dict[str, Any]", await api.get(f"/api/v1/imports/{import_id}"))
        step = round(now["progress"] * _STEPS)
        rate = f", {now['rows_per_s']:,.0f} rows/s" if now["rows_per_s"] and now["stage"] == "reading" else ""
        left = f", {now['eta_s']:,.0f} s left" if now["eta_s"] else ""
        bar.advance(f"{now['stage']}: {now['rows_read']:,} rows{rate}{left}", max(0, step - shown))
        shown = max(shown, step)
        if now["state"] in _RESTING:
            return _addressed(api, now)
        await asyncio.sleep(_POLL_S)


async def _gone(api: Api, path: str, conversations: int, bar: Bar) -> str:
    """Wait until an import that is being deleted is there no more."""
    bar.grow(conversations)
    left = conversations
    while True:
        try:
            now = await api.get(path)
        except ApiError as error:
            if error.http_status != 404:
                raise
            bar.advance("deleting conversations", left)
            return "deleted"
        bar.advance("deleting conversations", max(0, left - now["conversations"]))
        left = min(left, now["conversations"])
        await asyncio.sleep(_POLL_S)


def _end(one: dict[str, Any], target: Target) -> None:
    emit(one, as_json=target.as_json, human=details)
    if one["state"] == "failed":
        raise ChatwrightError(one["error"] or "the import failed")
    if one["state"] == "paused":
        mend = " --limit-usd AMOUNT" if one["reason"] == "budget" else ""
        raise ChatwrightError(
            f"paused ({one['reason']}){': ' if one['error'] else ''}{one['error'] or ''}; "
            f"to go on: chatwright import resume {one['id']}{mend}"
        )


def _mapping(options: dict[str, Any]) -> dict[str, Any]:
    text: str | None = options["mapping"]
    try:
        raw = Path(text[1:]).read_text("utf-8") if text and text.startswith("@") else text
        mapping = cast("dict[str, Any]", json.loads(raw)) if raw else {}
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--mapping: {error}") from error
    for pair in cast("tuple[str, ...]", options["pairs"]):
        field, found, column = pair.partition("=")
        if not found:
            raise click.UsageError(f"--map {pair}: write FIELD=COLUMN")
        mapping[field] = [*mapping.get(field, []), column] if field == "metadata" else column or None
    if options["preset"]:
        mapping["preset"] = options["preset"]
    return mapping
