"""`import`: files of conversations, planned on this machine, imported by the server, followed with a progress bar."""

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncGenerator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from chatwright.app.commands.base import confirm, details, emit, examples, run, table
from chatwright.app.commands.progress import Bar, with_bar
from chatwright.app.commands.rest import Api, Target, open_api, server_options
from chatwright.domain.errors import ChatwrightError, Unavailable
from chatwright.domain.ids import is_id

if TYPE_CHECKING:
    from collections.abc import Generator

    from chatwright.features.imports import Plan

_POLL_S = 0.5
_PIECE_BYTES = 1 << 20
_ROWS_AT_ONCE = 2_000
_STEPS = 1_000
_RESTING = ("paused", "done", "failed", "cancelled")
_EMPTY_ID = "00000000-0000-0000-0000-000000000000"
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
                read = await _planned(file, given, presets, redact)
                path = "/api/v1/imports/quote"
                counts = {"conversations": read["conversations"], "characters": read["characters"]}
                return {**read, **await api.get(path, chatbot=await _chatbot(api, chatbot), **counts)}
        except Unavailable as error:
            read = await _planned(file, given, {}, redact)
            return {**read, "quote_nano": None, "quote_usd": None, "note": f"no quote: {error.message}"}

    del source
    emit(run(work()), as_json=target.as_json, human=_show_plan)


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
                return cast("dict[str, Any]", await api.get(f"/api/v1/imports/{made['id']}"))
            return await _followed(api, made["id"], bar)

    _end(with_bar(work, quiet=target.as_json), target)


@import_.command("status")
@click.argument("which", required=False)
@server_options
def status(which: str | None, target: Target) -> None:
    """Show how far an import is: by id, by the file's name, or the latest one."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await _find(api, which)

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

    emit(run(work()), as_json=target.as_json, human=lambda found: click.echo(found["markdown"]))


async def _chatbot(api: Api, chosen: str | None) -> str:
    if chosen is not None:
        return chosen
    known = [str(one["slug"]) for one in await api.pages("/api/v1/chatbots")]
    if len(known) != 1:
        raise click.UsageError(f"name the chatbot with --chatbot; there are {', '.join(known) or 'none'}")
    return known[0]


async def _find(api: Api, which: str | None) -> dict[str, Any]:
    if which is not None and is_id(which):
        return cast("dict[str, Any]", await api.get(f"/api/v1/imports/{which}"))
    name = None if which is None else Path(which).name
    for one in await api.pages("/api/v1/imports"):
        if name is None or one["file"] == name:
            return one
    raise click.UsageError("there is no import yet" if name is None else f"no import of a file named {name}")


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
            return now
        await asyncio.sleep(_POLL_S)


def _end(one: dict[str, Any], target: Target) -> None:
    emit(one, as_json=target.as_json, human=details)
    if one["state"] == "failed":
        raise ChatwrightError(one["error"] or "the import failed")
    if one["state"] == "paused":
        raise ChatwrightError(f"paused ({one['reason']}): {one['error'] or 'resume it when you like'}")


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


# Plans ---------------------------------------------------------------------------------------------------------------


async def _planned(
    file: Path, given: dict[str, Any], presets: dict[str, dict[str, Any]], redact: str | None
) -> dict[str, Any]:
    """The whole file, read as the server would."""
    import msgspec

    from chatwright.domain.errors import Unprocessable
    from chatwright.domain.ids import ChatbotId, TenantId
    from chatwright.features.imports import PRESETS, ItemMaker, Planner, open_records, read_map, read_personal
    from chatwright.pipeline.bulk import redactor
    from chatwright.pipeline.importing import settle_columns

    columns = read_map(given)
    preset = {**PRESETS, **presets}.get(columns.preset or "generic")
    if preset is None:
        raise Unprocessable(f"no preset {columns.preset!r}")
    with _opened(file) as opened:
        rows, head, is_rewritten = await opened(columns.encoding)
        size_bytes = rows.seek(0, io.SEEK_END)
        dialect, settled, _ = settle_columns(
            head, columns, preset, is_all=size_bytes <= len(head), is_rewritten=is_rewritten
        )
        maker = ItemMaker(
            tenant_id=TenantId(_EMPTY_ID),
            chatbot_id=ChatbotId(_EMPTY_ID),
            source="plan",
            columns=settled,
            dialect=dialect,
            redact=redactor(read_personal(redact)),
        )
        planner = Planner(maker)
        reader = open_records(rows, dialect)
        while records := reader.read(_ROWS_AT_ONCE, at_most_bytes=16 << 20):
            planner.add(records)
        found: Plan = planner.plan(size_bytes=size_bytes, is_whole=True)
    plain = cast("dict[str, Any]", msgspec.to_builtins(found))
    shown = cast("dict[str, Any]", msgspec.to_builtins(settled))
    written = {"kind": dialect.kind, "encoding": dialect.encoding, "delimiter": dialect.delimiter}
    return {"file": file.name, "dialect": written, "columns": shown, **plain}


@contextmanager
def _opened(file: Path) -> "Generator[Any]":
    """The file's rows as they would be stored: unpacked, in a narrow encoding."""
    with file.open("rb") as raw, tempfile.TemporaryFile(prefix="chatwright-plan-") as spool:

        async def rows(encoding: str | None) -> tuple[BinaryIO, bytes, bool]:
            from chatwright.features.imports import Arriving

            async def chunks() -> AsyncGenerator[bytes]:
                while piece := raw.read(_PIECE_BYTES):
                    yield piece

            first = raw.read(4)
            raw.seek(0)
            arriving = Arriving(chunks(), limit_bytes=1 << 40, encoding=encoding)
            plain = not first.startswith((b"\x1f\x8b", b"PK\x03\x04"))
            async for piece in arriving:
                if plain and not arriving.is_rewritten and len(arriving.head) >= 1 << 18:
                    raw.seek(0)  # it is read as it stands
                    return raw, arriving.head, False
                spool.write(piece)
            return cast("BinaryIO", spool), arriving.head, arriving.is_rewritten

        yield rows


def _show_plan(found: dict[str, Any]) -> None:
    columns = found["columns"]
    fields = ("conversation", "message_id", "role", "text", "answer", "time", "visitor", "messages")
    shown = [(field, columns.get(field) or "-") for field in fields]
    click.echo(f"{found['file']}: {found['dialect']['kind']}, {found['dialect']['encoding']}")
    table(("field", "column"), [*shown, *(("metadata", name) for name in columns.get("metadata", []))])
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in found["skipped"].items())
    click.echo(
        f"{found['rows']:,} rows: {found['messages']:,} messages in {found['conversations']:,} conversations; "
        f"{found['failed']:,} would fail{f'; skipped: {skipped}' if skipped else ''}"
    )
    for problem in found["problems"]:
        click.echo(f"  row {problem['number']}: {problem['reason']}")
    if found["sample"]:
        table(("role", "time", "text"), [(one["role"], one["time"], one["text"]) for one in found["sample"]])
    if found.get("quote_usd") is not None:
        click.echo(f"summaries by the model cost at most ${float(found['quote_usd']):,.4f}; local ones cost nothing")
    elif found.get("note"):
        click.echo(found["note"])
    else:
        click.echo("summaries by the model: no price is known")
