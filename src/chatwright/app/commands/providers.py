"""`chatwright provider`: which providers are set up, whether they answer, and what was called."""

import sys
from typing import Any

import click

from chatwright.app.commands.base import emit, examples, run, table
from chatwright.app.commands.rest import Target, open_api, server_options
from chatwright.domain.money import format_usd


@click.group("provider")
def provider() -> None:
    """Which providers are set up, and whether they answer."""


@provider.command("list", epilog=examples("chatwright provider list", "chatwright provider list --json"))
@server_options
def provider_list(target: Target) -> None:
    """List the providers that a chatbot's chain can name."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.get("/api/v1/providers")

    def human(found: dict[str, Any]) -> None:
        rows = [
            [row["provider"], row["keys"], row["default_model"], row["state"], _seconds(row["retry_in_s"]),
             row["first_delta_p95_ms"]]
            for row in found["items"]
        ]  # fmt: skip
        empty = "none but extractive; add a key with `chatwright provider-key add openai`, or set OPENAI_API_KEY"
        table(["provider", "keys", "default model", "state", "retry in", "p95 first delta ms"], rows, empty=empty)

    emit(run(work()), as_json=target.as_json, human=human)


@provider.command(
    "test",
    epilog=examples(
        "chatwright provider test",
        "chatwright provider test openai anthropic",
        "chatwright provider test --chatbot demo",
    ),
)
@click.argument("names", nargs=-1, metavar="[PROVIDER]...")
@click.option("--chatbot", help="Try the links of this chatbot's chain instead, with their models.")
@server_options
def provider_test(names: tuple[str, ...], chatbot: str | None, target: Target) -> None:
    """Call each provider once with a tiny prompt and say what works.

    Every key is tried. The calls are real: they are booked to the tenant with purpose `test`. Exits with 1 when one of
    them does not work.
    """

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            body: dict[str, Any] = {"providers": list(names)}
            if chatbot is not None:
                body["chatbot"] = chatbot
            return await api.post("/api/v1/providers/test", body)

    def human(found: dict[str, Any]) -> None:
        rows = [
            ["ok" if row["ok"] else "FAILED", row["provider"], row["model"], row["key_id"] or "", row["took_ms"],
             _usd(row), row["text"] if row["ok"] else row["message"]]
            for row in found["items"]
        ]  # fmt: skip
        empty = "nothing to try: only extractive is set up, and it needs no key"
        table(["", "provider", "model", "key", "ms", "cost USD", "said"], rows, empty=empty)
        for row in found["items"]:
            if row["mend"]:
                click.echo(f"{row['provider']}: {row['mend']}")

    tried = run(work())
    emit(tried, as_json=target.as_json, human=human)
    if not all(row["ok"] for row in tried["items"]):
        sys.exit(1)


@provider.command(
    "calls",
    epilog=examples(
        "chatwright provider calls",
        "chatwright provider calls --message 0198c0de-…",
        "chatwright provider calls --json",
    ),
)
@click.option("--message", "message_id", help="Only the calls made for this message.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 200), help="How many, newest first.")
@server_options
def provider_calls(message_id: str | None, limit: int, target: Target) -> None:
    """Show the latest provider calls, failed and cut ones too."""

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            return await api.get("/api/v1/calls", message_id=message_id, limit=limit)

    def human(found: dict[str, Any]) -> None:
        rows = [
            [row["opened_at"], row["purpose"], row["provider"], row["model"], row["key_id"] or "", row["state"],
             row["error_class"] or "", row["input_tokens"], row["output_tokens"], _usd(row)]
            for row in found["items"]
        ]  # fmt: skip
        columns = ["opened", "purpose", "provider", "model", "key", "state", "error", "input", "output", "cost USD"]
        table(columns, rows, empty="no provider was called yet")

    emit(run(work()), as_json=target.as_json, human=human)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:g} s"


def _usd(row: dict[str, Any]) -> str:
    return "?" if row["cost_nano"] is None else format_usd(row["cost_nano"])
