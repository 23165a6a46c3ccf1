"""`queue`, `dlq`: running the place; queues straight from Valkey, dead letters over the REST API."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatwright.app.commands.base import (
    confirm,
    details,
    emit,
    examples,
    json_option,
    read_settings,
    run,
    settings_options,
    table,
)
from chatwright.app.commands.rest import Target, open_api, server_options

if TYPE_CHECKING:
    from chatwright.adapters.queue import QueueAdmin


@click.group("queue", epilog=examples("chatwright queue stats", "chatwright queue pause    # before maintenance"))
def queue() -> None:
    """The job queues, straight from Valkey (REDIS_URL, or the embedded one of the data directory)."""


@queue.command("stats")
@settings_options
@json_option
def queue_stats(data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Show how many jobs wait, run and failed, per queue, and which workers consume."""

    async def look(admin: "QueueAdmin", valkey: Any) -> dict[str, Any]:
        from chatwright.pipeline.presence import present

        queues = [asdict(stats) for stats in await admin.stats()]
        return {"queues": queues, "workers": [asdict(worker) for worker in await present(valkey)]}

    def human(value: dict[str, Any]) -> None:
        columns = (
            "name",
            "paused",
            "waiting",
            "capped",
            "active",
            "delayed",
            "completed",
            "failed",
            "oldest_waiting_s",
        )
        table(columns, [[_cell(entry[column]) for column in columns] for entry in value["queues"]])
        for worker in value["workers"]:
            click.echo(f"worker {worker['name']}: {worker['in_flight']} running")
        if not value["workers"]:
            click.echo("no worker consumes; start one with `chatwright worker`")

    emit(_with_queues(data_dir, config_file, look), as_json=as_json, human=human)


def _switch(verb: str, help_text: str) -> None:
    @queue.command(verb, help=help_text)
    @click.argument("name", required=False, metavar="[QUEUE]")
    @settings_options
    @json_option
    def switch(name: str | None, data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
        async def work(admin: "QueueAdmin", _valkey: Any) -> dict[str, Any]:
            from chatwright.adapters.queue import QUEUES

            if name is not None and name not in QUEUES:
                raise click.UsageError(f"there is no queue {name!r}; there are {', '.join(QUEUES)}")
            chosen = [known for known in QUEUES if name in (None, known)]
            for known in chosen:
                await (admin.pause(known) if verb == "pause" else admin.resume(known))
            return {f"{verb}d": chosen}

        done = _with_queues(data_dir, config_file, work)
        emit(done, as_json=as_json, human=lambda value: click.echo(f"{verb}d {', '.join(value[f'{verb}d'])}"))

    del switch


_switch("pause", "Stop taking up jobs of all queues, or one; what runs goes on, what arrives waits.")
_switch("resume", "Take up jobs again.")


def _with_queues(
    data_dir: Path | None, config_file: Path | None, work: "Callable[[QueueAdmin, Any], Awaitable[dict[str, Any]]]"
) -> dict[str, Any]:
    from chatwright.adapters.queue import QueueAdmin
    from chatwright.adapters.valkey import open_valkey
    from chatwright.app.addresses import find_valkey

    url = find_valkey(read_settings(data_dir, config_file).settings)

    async def opened() -> dict[str, Any]:
        async with open_valkey(url, retries=1) as valkey:
            return await work(QueueAdmin(valkey), valkey)

    return run(opened())


def _cell(value: Any) -> Any:
    return round(value, 1) if isinstance(value, float) else value


@click.group(
    "dlq",
    epilog=examples(
        "chatwright dlq list", "chatwright dlq replay 0190…", "chatwright dlq replay 0190… --payload @fixed.json"
    ),
)
def dlq() -> None:
    """Dead letters: jobs that failed for good, kept with their reason."""


@dlq.command("list")
@click.option("--state", type=click.Choice(["open", "replayed", "discarded"]), default="open", show_default=True)
@click.option("--all-tenants", is_flag=True, help="Of all tenants (admin key).")
@server_options
def dlq_list(state: str, all_tenants: bool, target: Target) -> None:
    """List dead letters."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target, kind="admin" if all_tenants else "tenant") as api:
            return await api.pages("/api/v1/dead-letters", state=state)

    def human(items: list[dict[str, Any]]) -> None:
        columns = ("id", "job_type", "error_class", "attempts", "created_at", "reason")
        table(columns, [[item.get(column) for column in columns] for item in items], empty="no dead letters")

    emit(run(work()), as_json=target.as_json, human=human)


@dlq.command("show")
@click.argument("dead_letter_id")
@server_options
def dlq_show(dead_letter_id: str, target: Target) -> None:
    """Show one dead letter with its payload."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.get(f"/api/v1/dead-letters/{dead_letter_id}")

    emit(run(work()), as_json=target.as_json, human=details)


@dlq.command("replay")
@click.argument("dead_letter_id")
@click.option("--payload", help="Replay with this JSON instead; @FILE reads a file.")
@server_options
def dlq_replay(dead_letter_id: str, payload: str | None, target: Target) -> None:
    """Run a dead job again. Twice is once."""
    body = {"payload": _payload(payload)} if payload else {}

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.post(f"/api/v1/dead-letters/{dead_letter_id}/replay", body)

    emit(run(work()), as_json=target.as_json, human=details)


@dlq.command("discard")
@click.argument("dead_letter_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def dlq_discard(dead_letter_id: str, yes: bool, target: Target) -> None:
    """Give a dead job up. Its record stays."""
    confirm(f"Discard dead letter {dead_letter_id}?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            await api.post(f"/api/v1/dead-letters/{dead_letter_id}/discard")
            return {"id": dead_letter_id, "state": "discarded"}

    emit(run(work()), as_json=target.as_json, human=details)


def _payload(text: str) -> Any:
    try:
        raw = Path(text[1:]).read_text("utf-8") if text.startswith("@") else text
        return json.loads(raw)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--payload: {error}") from error
