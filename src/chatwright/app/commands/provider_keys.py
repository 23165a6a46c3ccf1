"""`provider-key`: keys for providers over the REST API, and on the server itself what seals them.

A secret never stands in the arguments, where every user of the machine sees it: it is asked for, read from standard
input, or taken from the environment.
"""

import os
import sys
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
    from chatwright.pipeline.provider_keys import Resealed

_SECRET_AT_MOST = 65_536

_from_env = click.option(
    "--from-env", metavar="NAME", help="Take the secret from this environment variable. [default: ask, or read stdin]"
)
_platform = click.option(
    "--platform", is_flag=True, help="The platform's keys, for all tenants (admin key), not a tenant's own."
)


@click.group(
    "provider-key",
    epilog=examples(
        "chatwright provider-key add openai --name main            # asks for the secret",
        "chatwright provider-key add openai --from-env OPENAI_API_KEY",
        "chatwright provider-key add vertex < service-account.json",
        "chatwright provider-key rotate 0190… --overlap-s 3600     # a new secret, the old one for another hour",
        "chatwright provider-key rotate-kek && chatwright provider-key reseal",
    ),
)
def provider_key() -> None:
    """Keys for providers, a tenant's own or the platform's. They are stored sealed and never shown again."""


@provider_key.command(
    "add",
    epilog=examples(
        "chatwright provider-key add anthropic --name main",
        "chatwright provider-key add openai --from-env OPENAI_API_KEY --request-limit 3000 --token-limit 90000",
        "chatwright provider-key add azure --base-url https://example.openai.azure.com < key.txt",
        "chatwright provider-key add openai --platform             # for all tenants",
    ),
)
@click.argument("provider")
@click.option("--name", default="", help="What the key is for.")
@_from_env
@click.option("--base-url", help="A server of your own in place of the provider's.")
@click.option("--request-limit", type=int, help="Requests a minute. [default: what the provider's answers say]")
@click.option("--token-limit", type=int, help="Tokens a minute. [default: what the provider's answers say]")
@_platform
@server_options
def add(
    provider: str,
    name: str,
    from_env: str | None,
    base_url: str | None,
    request_limit: int | None,
    token_limit: int | None,
    platform: bool,
    target: Target,
) -> None:
    """Store a key. Every process may use it within a second."""
    given = {"base_url": base_url, "request_limit": request_limit, "token_limit": token_limit}
    body = {
        "provider": provider,
        "secret": _read_secret(from_env),
        "name": name,
        **{field: value for field, value in given.items() if value is not None},
    }

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            return await api.post("/api/v1/provider-keys", body)

    emit(run(work()), as_json=target.as_json, human=details)


@provider_key.command("list")
@_platform
@server_options
def list_all(platform: bool, target: Target) -> None:
    """List keys, without their secrets."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            return await api.pages("/api/v1/provider-keys")

    def human(items: list[dict[str, Any]]) -> None:
        columns = ("id", "provider", "name", "hint", "created_at", "last_used_at", "ends_at")
        table(columns, [[item.get(column) for column in columns] for item in items], empty="no provider keys")

    emit(run(work()), as_json=target.as_json, human=human)


@provider_key.command("show")
@click.argument("key_id")
@_platform
@server_options
def show(key_id: str, platform: bool, target: Target) -> None:
    """Show one key, without its secret."""

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            return await api.get(f"/api/v1/provider-keys/{key_id}")

    emit(run(work()), as_json=target.as_json, human=details)


@provider_key.command(
    "rotate",
    epilog=examples(
        "chatwright provider-key rotate 0190… --overlap-s 3600",
        "chatwright provider-key rotate 0190… --from-env NEW_KEY --json",
    ),
)
@click.argument("key_id")
@_from_env
@click.option("--overlap-s", type=float, default=0.0, help="Seconds for which the old key stays in use. [default: 0]")
@_platform
@server_options
def rotate(key_id: str, from_env: str | None, overlap_s: float, platform: bool, target: Target) -> None:
    """Put a new secret in a key's place. Chatbots that name the old key use the new one."""
    body = {"secret": _read_secret(from_env), "overlap_s": overlap_s}

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            return await api.post(f"/api/v1/provider-keys/{key_id}/rotate", body)

    emit(run(work()), as_json=target.as_json, human=details)


@provider_key.command("revoke")
@click.argument("key_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_platform
@server_options
def revoke(key_id: str, yes: bool, platform: bool, target: Target) -> None:
    """Revoke a key and forget its secret: within a second no call is made with it."""
    confirm(f"Revoke provider key {key_id}?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if platform else "tenant") as api:
            await api.delete(f"/api/v1/provider-keys/{key_id}")
            return {"id": key_id, "revoked": True}

    emit(run(work()), as_json=target.as_json, human=lambda made: click.echo(f"revoked {made['id']}"))


@provider_key.command(
    "rotate-kek",
    epilog=examples(
        "chatwright provider-key rotate-kek           # on the server, in its data folder",
        "chatwright provider-key rotate-kek --print   # for CHATWRIGHT_KEY_ENCRYPTION_KEYS",
    ),
)
@click.option(
    "--print", "only_print", is_flag=True, help="Only print a new key as the option takes it; change nothing."
)
@settings_options
@json_option
def rotate_kek(only_print: bool, data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Make a new key-encryption key and put it first in keys/kek.json of the data folder; the old ones stay.

    Running processes seal with it from then on. `provider-key reseal` renews the seals of what is stored; when nothing
    is left, the old keys may go. Copy the file to every machine that runs the API or a worker, and back it up apart from
    the database: until the file is there, the other machines cannot open what is sealed with the new key. With
    CHATWRIGHT_KEY_ENCRYPTION_KEYS: add the new key at the end everywhere first and restart, then put it first, restart
    and reseal.
    """
    from chatwright.app.keyfile import FILE, new_key_text, rotate_key_file

    if only_print:
        made = new_key_text()
        emit({"key_encryption_key": made}, as_json=as_json, human=lambda value: click.echo(value["key_encryption_key"]))
        return
    settings = read_settings(data_dir, config_file).settings
    fresh, kept = rotate_key_file(settings)
    value = {"id": fresh, "kept": kept, "file": str(settings.data_dir / FILE)}

    def human(_: dict[str, Any]) -> None:
        click.echo(f"{fresh} is the newest of {len(kept) + 1} in {value['file']}")
        if kept:
            click.echo("next: chatwright provider-key reseal")

    emit(value, as_json=as_json, human=human)


@provider_key.command(
    "reseal", epilog=examples("chatwright provider-key reseal", "DATABASE_URL=… chatwright provider-key reseal --json")
)
@click.option("--batch", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Keys per transaction.")
@settings_options
@json_option
def reseal(batch: int, data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Seal every stored key with the newest key-encryption key, while everything runs. Safe to stop and to repeat."""
    from dataclasses import asdict

    from chatwright.adapters.postgres import open_database
    from chatwright.app.addresses import find_database
    from chatwright.app.keyfile import open_keks
    from chatwright.pipeline import provider_keys as flows
    from chatwright.telemetry.logging import set_up_logging

    settings = read_settings(data_dir, config_file).settings
    set_up_logging(level="warning", style=settings.log_format, role="cli")
    url, keks = find_database(settings), open_keks(settings)

    def show(report: "Resealed") -> None:
        if not as_json:
            click.echo(f"sealed anew {report.done}, left {report.left}", err=True)

    async def work() -> "Resealed":
        async with open_database(url, min_connections=0, max_connections=2) as db:
            return await flows.reseal(db, keks, batch=batch, progress=show)

    report = run(work())

    def human(value: dict[str, Any]) -> None:
        if value["left"] == 0:
            click.echo("every provider key is sealed with the newest key-encryption key")
        elif value["broken"]:
            click.echo(f"{value['broken']} did not open: restore the key-encryption key that sealed them (see the log)")
        else:
            click.echo(f"{value['left']} are left; run it again")

    emit(asdict(report), as_json=as_json, human=human)
    if report.left:
        sys.exit(1)


def _read_secret(from_env: str | None) -> str:
    """The secret from the named variable, from standard input, or asked for without showing it."""
    if from_env is not None:
        secret = os.environ.get(from_env, "")
        if not secret:
            raise click.UsageError(f"--from-env: {from_env} is not set or empty")
    elif sys.stdin.isatty():
        secret = str(click.prompt("Secret", hide_input=True))
    else:
        secret = sys.stdin.read(_SECRET_AT_MOST)
    if not secret.strip():
        raise click.UsageError("no secret was given; type it when asked, pipe it in, or name its variable: --from-env")
    return secret
