"""`tenant`, `chatbot`, `key`: administration over the REST API."""

from typing import Any

import click

from chatwright.app.commands.base import confirm, details, emit, examples, run, table
from chatwright.app.commands.rest import Target, open_api, server_options


@click.group(epilog=examples("chatwright tenant create 'Corner Shop'", "chatwright tenant list --json"))
def tenant() -> None:
    """Tenants: whose chatbots, conversations and money are kept apart. Needs the admin key."""


@tenant.command(
    "create", epilog=examples("chatwright tenant create 'Corner Shop' --plan standard --time-zone Europe/Paris")
)
@click.argument("name")
@click.option("--plan", help="Plan of the tenant. [default: the server's]")
@click.option("--time-zone", help="IANA name, for daily budgets. [default: UTC]")
@server_options
def tenant_create(name: str, plan: str | None, time_zone: str | None, target: Target) -> None:
    """Create a tenant and its first key. The key is shown once: keep it."""

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin") as api:
            return await api.post("/api/v1/tenants", _given(name=name, plan=plan, time_zone=time_zone))

    def human(made: dict[str, Any]) -> None:
        click.echo(f"tenant {made['name']}  {made['id']}")
        click.echo(f"key    {made['key']['secret']}   (shown once)")

    emit(run(work()), as_json=target.as_json, human=human)


@tenant.command("list")
@server_options
def tenant_list(target: Target) -> None:
    """List all tenants."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target, kind="admin") as api:
            return await api.pages("/api/v1/tenants")

    def human(items: list[dict[str, Any]]) -> None:
        table(
            ["id", "name", "plan", "created"], [[t["id"], t["name"], t.get("plan"), t.get("created_at")] for t in items]
        )

    emit(run(work()), as_json=target.as_json, human=human)


@tenant.command("show")
@click.argument("tenant_id")
@server_options
def tenant_show(tenant_id: str, target: Target) -> None:
    """Show one tenant."""

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin") as api:
            return await api.get(f"/api/v1/tenants/{tenant_id}")

    emit(run(work()), as_json=target.as_json, human=details)


@click.group(
    epilog=examples(
        "chatwright chatbot create helpdesk --name 'Help desk' --provider openai:gpt-4o-mini --provider extractive",
        "chatwright chatbot set helpdesk temperature=0.2 greeting='Hello!'",
    )
)
def chatbot() -> None:
    """Chatbots of a tenant: providers, prompt, knowledge, origins."""


@chatbot.command("create")
@click.argument("slug")
@click.option("--name", help="Name shown to visitors. [default: the slug]")
@click.option(
    "--provider", "providers", multiple=True, metavar="NAME[:MODEL]", help="Provider chain, in order; repeat it."
)
@click.option("--system-prompt", help="What the chatbot is told before every conversation.")
@click.option("--origin", "origins", multiple=True, help="Web origin that may embed the widget; repeat it.")
@server_options
def chatbot_create(
    slug: str,
    name: str | None,
    providers: tuple[str, ...],
    system_prompt: str | None,
    origins: tuple[str, ...],
    target: Target,
) -> None:
    """Create a chatbot. Without --provider it answers from its knowledge alone."""
    body = _given(
        slug=slug,
        name=name or slug,
        system_prompt=system_prompt,
        providers=[_link(text) for text in providers] or None,
        allowed_origins=list(origins) or None,
    )

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.post("/api/v1/chatbots", body)

    def human(made: dict[str, Any]) -> None:
        click.echo(f"chatbot   {made['slug']}  {made['id']}")
        click.echo(f"widget id {made['widget_id']}")
        click.echo(f"next: chatwright kb add {made['slug']} PATH…")

    emit(run(work()), as_json=target.as_json, human=human)


@chatbot.command("list")
@server_options
def chatbot_list(target: Target) -> None:
    """List the tenant's chatbots."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target) as api:
            return await api.pages("/api/v1/chatbots")

    def human(items: list[dict[str, Any]]) -> None:
        rows = [[c["slug"], c["name"], " > ".join(_chain(c)) or "extractive", c["widget_id"], c["id"]] for c in items]
        table(["slug", "name", "providers", "widget id", "id"], rows)

    emit(run(work()), as_json=target.as_json, human=human)


@chatbot.command("show")
@click.argument("chatbot_ref", metavar="CHATBOT")
@server_options
def chatbot_show(chatbot_ref: str, target: Target) -> None:
    """Show one chatbot, by slug or id."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.get(f"/api/v1/chatbots/{chatbot_ref}")

    emit(run(work()), as_json=target.as_json, human=details)


@chatbot.command(
    "set",
    epilog=examples(
        "chatwright chatbot set demo temperature=0.2 max_tokens=400",
        'chatwright chatbot set demo \'providers=[{"provider":"openai","model":"gpt-4o-mini"},{"provider":"extractive","model":"extractive"}]\'',
    ),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.argument("changes", nargs=-1, required=True, metavar="FIELD=VALUE…")
@server_options
def chatbot_set(chatbot_ref: str, changes: tuple[str, ...], target: Target) -> None:
    """Change fields of a chatbot. A value is JSON, or else plain text."""
    body = dict(_change(text) for text in changes)

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.patch(f"/api/v1/chatbots/{chatbot_ref}", body)

    emit(run(work()), as_json=target.as_json, human=details)


@click.group(
    "key",
    epilog=examples(
        "chatwright key create --name ci",
        "chatwright key create --name partner --limits requests_per_minute=300,concurrency=8",
        "chatwright key revoke 0190…",
    ),
)
def key() -> None:
    """API keys of a tenant (with the admin key: of the platform)."""


@key.command("create")
@click.option("--name", default="", help="What the key is for.")
@click.option(
    "--limits",
    metavar="NAME=NUMBER,…",
    help="Rate limits of this key alone, for good: requests_per_minute, tokens_per_minute, concurrency.",
)
@server_options
def key_create(name: str, limits: str | None, target: Target) -> None:
    """Create a key. The secret is shown once: keep it."""
    body = _given(name=name, limits=None if limits is None else _limits(limits))

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.post("/api/v1/keys", body)

    def human(made: dict[str, Any]) -> None:
        click.echo(f"id     {made['id']}")
        click.echo(f"secret {made['secret']}   (shown once)")

    emit(run(work()), as_json=target.as_json, human=human)


@key.command("list")
@server_options
def key_list(target: Target) -> None:
    """List keys, without their secrets."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target) as api:
            return await api.pages("/api/v1/keys")

    def human(items: list[dict[str, Any]]) -> None:
        columns = ("id", "kind", "name", "prefix", "created_at", "last_used_at", "revoked_at")
        rows = [[*(k.get(column) for column in columns), _shown(k.get("limits") or {})] for k in items]
        table([*columns, "limits"], rows)

    emit(run(work()), as_json=target.as_json, human=human)


@key.command("revoke")
@click.argument("key_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def key_revoke(key_id: str, yes: bool, target: Target) -> None:
    """Revoke a key: within a second no process accepts it."""
    confirm(f"Revoke key {key_id}?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            await api.delete(f"/api/v1/keys/{key_id}")
            return {"id": key_id, "revoked": True}

    emit(run(work()), as_json=target.as_json, human=lambda made: click.echo(f"revoked {made['id']}"))


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _link(text: str) -> dict[str, str]:
    provider, _, model = text.partition(":")
    if not model and provider != "extractive":
        raise click.UsageError(f"--provider {text}: name a model too, e.g. {provider}:MODEL")
    return {"provider": provider, "model": model or "extractive"}


def _limits(text: str) -> dict[str, int]:
    """`requests_per_minute=300,concurrency=8` as the server wants it, which knows what may be limited."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        if not equals or not name or not (number.isascii() and number.isdigit()):
            raise click.UsageError(f"--limits {part.strip()!r} is not NAME=NUMBER, such as requests_per_minute=300")
        found[name] = int(number)
    return found


def _shown(limits: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in limits.items())


def _chain(item: dict[str, Any]) -> list[str]:
    return [f"{link['provider']}:{link['model']}" for link in item.get("providers", [])]


def _change(text: str) -> tuple[str, Any]:
    import json

    name, equals, raw = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not FIELD=VALUE")
    try:
        return name, json.loads(raw)
    except ValueError:
        return name, raw
