"""`models`: what is known of models and prices, and whether the operator's own file can be meant."""

from pathlib import Path
from typing import Any, cast

import click

from chatwright.app.commands.base import details, emit, examples, read_settings, run, table
from chatwright.app.commands.rest import Target, open_api, server_options
from chatwright.domain.errors import ChatwrightError


@click.group("models", epilog=examples("chatwright models list --provider openai", "chatwright models check"))
def models() -> None:
    """Models: context, capabilities, prices and where each price comes from."""


@models.command("list", epilog=examples("chatwright models list --provider anthropic", "chatwright models list --json"))
@click.option("--provider", help="Only this provider's models.")
@server_options
def models_list(provider: str | None, target: Target) -> None:
    """List the models that have been written down; a provider may serve others."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target) as api:
            return await api.pages("/api/v1/models", provider=provider)

    def human(items: list[dict[str, Any]]) -> None:
        rows = [
            [f"{item['provider']}/{item['model']}", item["context_tokens"], item["max_output_tokens"],
             " ".join(item["capabilities"]), *_first_rates(item), item["price_source"], "cheap" if item["cheap"] else ""]
            for item in items
        ]  # fmt: skip
        columns = ["model", "context", "max output", "capabilities", "in USD/M", "out USD/M", "price", ""]
        table(columns, rows, empty=f"no model of {provider} is written down" if provider else "nothing here yet")

    emit(run(work()), as_json=target.as_json, human=human)


@models.command("show", epilog=examples("chatwright models show openai/gpt-4.1-mini"))
@click.argument("model", metavar="PROVIDER/MODEL")
@server_options
def models_show(model: str, target: Target) -> None:
    """Show one model, written down or not."""
    provider, slash, name = model.partition("/")
    if not (provider and slash and name):
        raise click.UsageError(f"{model!r} is not PROVIDER/MODEL; for example openai/gpt-4.1-mini")

    async def work() -> dict[str, Any]:
        async with open_api(target) as api:
            page = await api.get("/api/v1/models", provider=provider, model=name)
            return {**page["items"][0], "prices": page["prices"]}

    def human(found: dict[str, Any]) -> None:
        details({name: value for name, value in found.items() if name != "rates"})
        for rates in found["rates"]:
            above = rates["above_input_tokens"]
            click.echo(f"\nUSD per million tokens{f', prompts above {above:,} tokens' if above else ''}")
            for label, field in _RATE_LABELS:
                if rates[field] not in (None, "0"):
                    click.echo(f"  {label.ljust(12)} {rates[field]}")

    emit(run(work()), as_json=target.as_json, human=human)


@models.command("check", epilog=examples("chatwright models check", "chatwright models check --file ./models.toml"))
@click.option("--file", type=click.Path(path_type=Path), help="The file to check. [default: the settings' models_file]")
@server_options
def models_check(file: Path | None, target: Target) -> int:
    """Check models.toml, and name the chatbots whose models have no known price.

    Chatbots are those of the key's tenant, or all with an admin key. Exits with 1 if something has to be mended.
    """
    settings = read_settings(target.data_dir).settings
    named = file or (Path(settings.models_file) if settings.models_file else None)
    found: dict[str, Any] = {"file": str(named or settings.data_dir / "models.toml"), "models": 0, "fault": None}
    _check_file(found, must_exist=named is not None)
    try:
        found["unpriced"] = run(_unpriced(target))
        found["not_checked"] = None
    except ChatwrightError as error:
        found["unpriced"], found["not_checked"] = [], error.message

    def human(_value: Any) -> None:
        click.echo(
            found["fault"] or f"{found['file']}: {found['models'] or 'nothing'} to override, and nothing to mend"
        )
        for name in found.get("unknown_providers", ()):
            click.echo(f"note: {name} is no provider of ours; it is met only by chains that give it a base_url")
        if found["not_checked"]:
            click.echo(f"chatbots were not checked: {found['not_checked']}")
            return
        for link in found["unpriced"]:
            click.echo(f"no price: {link['provider']}/{link['model']} of chatbot {link['chatbot']}")
        if found["unpriced"]:
            click.echo(f"→ give them a price in {found['file']}, or set CHATWRIGHT_UNKNOWN_PRICES=flag")
        else:
            click.echo("every chatbot's models have a price")

    emit(found, as_json=target.as_json, human=human)
    return 1 if found["fault"] or found["unpriced"] else 0


_RATE_LABELS = (
    ("input", "input_usd_per_million"),
    ("cached", "cached_usd_per_million"),
    ("cache write", "cache_write_usd_per_million"),
    ("output", "output_usd_per_million"),
    ("a request", "request_usd"),
)


def _check_file(found: dict[str, Any], *, must_exist: bool) -> None:
    from chatwright.adapters.catalogue import ModelsFileError, read_overrides, read_providers

    try:
        overrides = read_overrides(Path(found["file"]))
    except FileNotFoundError:
        found["fault"] = f"there is no file {found['file']}" if must_exist else None
    except ModelsFileError as error:
        found["fault"] = str(error)
    else:
        found["models"] = len(overrides.tables)
        found["unknown_providers"] = [name for name in overrides.providers() if name not in read_providers()]


async def _unpriced(target: Target) -> list[dict[str, Any]]:
    async with open_api(target) as api:
        return await api.pages("/api/v1/models/unpriced")


def _first_rates(item: dict[str, Any]) -> list[Any]:
    rates = cast("list[dict[str, Any]]", item["rates"])
    if not rates:
        return ["?", "?"]
    more = "+" if len(rates) > 1 else ""
    return [f"{rates[0][name] or '?'}{more}" for name in ("input_usd_per_million", "output_usd_per_million")]
