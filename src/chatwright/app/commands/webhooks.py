"""`webhook`: where alerts are delivered, over the REST API."""

import sys
from typing import Any

import click

from chatwright.app.commands.base import confirm, details, emit, examples, run, table
from chatwright.app.commands.rest import Target, open_api, server_options

_platform = click.option(
    "--platform", is_flag=True, help="The platform's webhooks, which hear everybody's alerts (admin key)."
)
_PATH = "/api/v1/webhooks"
_ADDRESS_AT_MOST = 2000
_KINDS = ("webhook", "slack", "email")


@click.group(
    epilog=examples(
        "chatwright webhook add https://ops.example.com/alerts",
        "chatwright webhook add --kind email ops@example.com --event 'budget.*'",
        "chatwright webhook test 0190…",
    ),
)
def webhook() -> None:
    """Where alerts are delivered, a tenant's own or the platform's: signed webhooks, Slack, e-mail."""


@webhook.command(
    "add",
    epilog=examples(
        "chatwright webhook add https://ops.example.com/alerts --event 'budget.*' --event 'provider_key.*'",
        "chatwright webhook add --kind slack - < slack-url.txt     # keeps the address out of the process list",
        "chatwright webhook add --kind email ops@example.com --platform",
    ),
)
@click.argument("address")
@click.option("--kind", type=click.Choice(_KINDS), default="webhook", show_default=True, help="How it is told.")
@click.option("--event", "events", multiple=True, help="A kind of alert, or a prefix: budget.*; several. [default: *]")
@_platform
@server_options
def add(address: str, kind: str, events: tuple[str, ...], platform: bool, target: Target) -> None:
    """Add a webhook. ADDRESS is a URL or a mail address; - reads it from standard input."""
    if address == "-":
        address = sys.stdin.read(_ADDRESS_AT_MOST).strip()
    body = {"target": address, "kind": kind, "events": list(events) or ["*"]}

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            return await api.post(_PATH, body)

    def human(made: dict[str, Any]) -> None:
        details({name: value for name, value in made.items() if name != "secret"})
        if made.get("secret"):
            click.echo(f"\nsigning secret, shown this once: {made['secret']}")

    emit(run(work()), as_json=target.as_json, human=human)


@webhook.command("list")
@_platform
@server_options
def list_all(platform: bool, target: Target) -> None:
    """List webhooks, without their secrets."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            return await api.pages(_PATH)

    def human(items: list[dict[str, Any]]) -> None:
        columns = ("id", "kind", "target", "events", "enabled", "last_ok_at", "failures", "last_error")
        rows = [[", ".join(one[name]) if name == "events" else one.get(name) for name in columns] for one in items]
        table(columns, rows, empty="no webhooks")

    emit(run(work()), as_json=target.as_json, human=human)


@webhook.command("test")
@click.argument("webhook_id")
@_platform
@server_options
def test(webhook_id: str, platform: bool, target: Target) -> None:
    """Send a sample now and say what came back. Exits with 1 when it did not arrive."""

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            return await api.post(f"{_PATH}/{webhook_id}/test")

    def human(came: dict[str, Any]) -> None:
        said = "delivered" if came["ok"] else f"not delivered: {came['error']}"
        click.echo(f"{said} ({came['took_s']:.2f} s)")

    came = run(work())
    emit(came, as_json=target.as_json, human=human)
    if not came["ok"]:
        sys.exit(1)


@webhook.command("remove")
@click.argument("webhook_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_platform
@server_options
def remove(webhook_id: str, yes: bool, platform: bool, target: Target) -> None:
    """Remove a webhook; what it still had to hear is dropped."""
    confirm(f"Remove webhook {webhook_id}?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            await api.delete(f"{_PATH}/{webhook_id}")
            return {"id": webhook_id, "removed": True}

    emit(run(work()), as_json=target.as_json, human=lambda made: click.echo(f"removed {made['id']}"))
