"""`budget`: how much may be spent, how much has been, and whether the counters agree with the ledger."""

from typing import Any

import click

from chatwright.app.commands.base import confirm, emit, examples, run
from chatwright.app.commands.charts import gauge
from chatwright.app.commands.rest import Target, open_api, server_options
from chatwright.domain.money import format_usd

_PATH = "/api/v1/budgets"


@click.group(
    "budget",
    epilog=examples(
        "chatwright budget set 50 --period month                   # the tenant's, all chatbots together",
        "chatwright budget set 2.50 --period day --chatbot demo --action downgrade",
        "chatwright budget list",
        "chatwright budget set 100 --tenant 0190…                  # the operator's: the tenant cannot change it",
        "chatwright budget reconcile                               # do counters and ledger agree?",
    ),
)
def budget() -> None:
    """Budgets: the most that may be spent in a day, a month or in all."""


@budget.command(
    "set",
    epilog=examples(
        "chatwright budget set 50",
        "chatwright budget set 2.50 --period day --chatbot demo --action extractive",
        "chatwright budget set 0.05 --period day --visitor user-42",
        "chatwright budget set 100 --period month --action alert   # only tell, never refuse",
    ),
)
@click.argument("limit_usd")
@click.option("--period", type=click.Choice(["day", "month", "total"]), default="month", show_default=True)
@click.option("--chatbot", help="Of this chatbot (slug or id), not of the tenant.")
@click.option("--visitor", help="Of this visitor.")
@click.option("--import", "import_id", help="Of this import.")
@click.option(
    "--action",
    type=click.Choice(["block", "downgrade", "extractive", "alert"]),
    default="block",
    show_default=True,
    help="At the limit: refuse, use cheap models, answer from knowledge only, or only tell.",
)
@click.option("--tenant", "tenant_id", help="As an operator, of this tenant (admin key).")
@server_options
def put(
    limit_usd: str,
    period: str,
    chatbot: str | None,
    visitor: str | None,
    import_id: str | None,
    action: str,
    tenant_id: str | None,
    target: Target,
) -> None:
    """Set a budget to LIMIT_USD, in the tenant's time zone. The same owner and period again changes it.

    What an operator sets (--tenant) a tenant can neither change nor remove; its own stand beside it, and both hold.
    """
    named = [
        (scope, name)
        for scope, name in (("chatbot", chatbot), ("visitor", visitor), ("import", import_id))
        if name is not None
    ]
    if len(named) > 1:
        raise click.UsageError("Name one of --chatbot, --visitor and --import.")
    scope, scope_id = named[0] if named else ("tenant", None)
    body = {"scope": scope, "scope_id": scope_id, "period": period, "limit_usd": limit_usd, "action": action}

    async def work() -> dict[str, Any]:
        async with open_api(target, tenant_id=tenant_id) as api:
            return await api.put(_PATH, body)

    emit(run(work()), as_json=target.as_json, human=_show)


@budget.command("list")
@click.option("--tenant", "tenant_id", help="As an operator, of this tenant (admin key).")
@server_options
def list_all(tenant_id: str | None, target: Target) -> None:
    """Show each budget with what is spent and reserved of it, and where this pace leads."""

    async def work() -> list[dict[str, Any]]:
        async with open_api(target, tenant_id=tenant_id) as api:
            return await api.pages(_PATH)

    def human(items: list[dict[str, Any]]) -> None:
        for item in items:
            _show(item)
        if not items:
            click.echo("no budgets: nothing limits what is spent; see `chatwright budget set --help`")

    emit(run(work()), as_json=target.as_json, human=human)


@budget.command("remove")
@click.argument("budget_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--tenant", "tenant_id", help="As an operator, of this tenant (admin key).")
@server_options
def remove(budget_id: str, yes: bool, tenant_id: str | None, target: Target) -> None:
    """Remove a budget. What was spent stays in the ledger."""
    confirm(f"Remove budget {budget_id}?", yes=yes)

    async def work() -> dict[str, Any]:
        async with open_api(target, tenant_id=tenant_id) as api:
            await api.delete(f"{_PATH}/{budget_id}")
            return {"id": budget_id, "state": "removed"}

    emit(run(work()), as_json=target.as_json, human=lambda value: click.echo(f"removed {value['id']}"))


@budget.command(
    "reconcile",
    epilog=examples("chatwright budget reconcile", "chatwright budget reconcile --repair --all-tenants"),
)
@click.option("--repair", is_flag=True, help="Set counters that are off to what the ledger says.")
@click.option("--all-tenants", is_flag=True, help="Of all tenants (admin key).")
@server_options
def reconcile(repair: bool, all_tenants: bool, target: Target) -> None:
    """Add the ledger up anew and compare it with the budgets' counters. Exits with 1 when some stay different."""

    async def work() -> dict[str, Any]:
        async with open_api(target, kind="admin" if all_tenants else "tenant") as api:
            return await api.post(f"{_PATH}/reconcile", {"repair": repair})

    def human(found: dict[str, Any]) -> None:
        for drift in found["drifts"]:
            spent = f"spent {format_usd(drift['counter_spent_nano'])}, ledger {format_usd(drift['ledger_spent_nano'])}"
            held = (
                f"reserved {format_usd(drift['counter_reserved_nano'])}, "
                f"ledger {format_usd(drift['ledger_reserved_nano'])}"
            )
            click.echo(f"{drift['budget_id']}  from {drift['starts_at']}  {spent}; {held}")
        if not found["drifts"]:
            click.echo("ledger and counters agree")
        else:
            click.echo(f"{len(found['drifts'])} {'repaired' if found['repaired'] else 'differ; --repair mends them'}")

    found = run(work())
    emit(found, as_json=target.as_json, human=human)
    if found["drifts"] and not found["repaired"]:
        raise SystemExit(1)


def _show(item: dict[str, Any]) -> None:
    whose = "" if item["scope"] == "tenant" else f" {item.get('scope_name') or item['scope_id']}"
    by = ", set by the operator" if item["set_by"] == "operator" else ""
    click.echo(f"{item['scope']}{whose}, {item['period']}, at the limit: {item['action']}{by}    {item['id']}")
    bar = gauge(item["spent_nano"], item["reserved_nano"], item["limit_nano"])
    held = f" and {format_usd(item['reserved_nano'])} reserved" if item["reserved_nano"] else ""
    used = f"{format_usd(item['spent_nano'])} spent{held} of {format_usd(item['limit_nano'])} USD"
    click.echo(f"  {bar} {item['percent']:5.1f} %  {used}")
    if item["forecast_nano"] is not None and item["ends_at"]:
        when = item["ends_at"][:16].replace("T", " ")
        click.echo(f"  at this pace the {item['period']} ends at {format_usd(item['forecast_nano'])} USD ({when} UTC)")
    if item.get("refused"):
        click.echo(f"  {item['refused']} calls refused in this period")
