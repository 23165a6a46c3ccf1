"""The gauge of what is left of budgets: the tightest counts, what was removed goes, many tenants share a label."""

from chatwright.domain.money import NANO_PER_USD
from chatwright.domain.scope import Scope
from chatwright.features import budgets
from chatwright.features.budgets import PeriodKind, ScopeKind
from chatwright.pipeline import budgeting, manage
from chatwright.pipeline.services import Services
from chatwright.telemetry.metrics import TENANT_LABELS


async def make_tenant(app: Services) -> Scope:
    tenant, _ = await manage.create_tenant(app, actor="test", name="Thrifty")
    return Scope(tenant_id=tenant.id)


async def put(
    app: Services,
    scope: Scope,
    limit_usd: int,
    *,
    owner: tuple[ScopeKind, str | None] = ("tenant", None),
    period: PeriodKind = "day",
) -> str:
    made = await budgeting.set_budget(
        app,
        scope,
        actor="test",
        scope_kind=owner[0],
        scope_id=owner[1],
        period=period,
        limit_nano=limit_usd * NANO_PER_USD,
        action="block",
    )
    return made.status.budget.id


async def shown(app: Services) -> dict[tuple[str, str, str], float]:
    await budgeting.measure_budgets(app)
    (family,) = app.metrics.budget_remaining_dollars.collect()
    return {
        (sample.labels["tenant_id"], sample.labels["scope"], sample.labels["period"]): sample.value
        for sample in family.samples
    }


async def spend(app: Services, budget_id: str, *, spent_nano: int, reserved_nano: int = 0) -> None:
    async with app.db.operator() as db:
        await db.execute(
            "UPDATE budget_periods SET spent_nano = $2, reserved_nano = $3 WHERE budget_id = $1",
            budget_id,
            spent_nano,
            reserved_nano,
        )


async def test_what_is_spent_and_reserved_is_not_left(app: Services) -> None:
    assert await shown(app) == {}
    scope = await make_tenant(app)
    budget_id = await put(app, scope, 10)
    assert await shown(app) == {(scope.tenant_id, "tenant", "day"): 10.0}
    await spend(app, budget_id, spent_nano=2_500_000_000, reserved_nano=500_000_000)
    assert await shown(app) == {(scope.tenant_id, "tenant", "day"): 7.0}
    await spend(app, budget_id, spent_nano=11 * NANO_PER_USD)
    assert await shown(app) == {(scope.tenant_id, "tenant", "day"): -1.0}


async def test_the_tightest_of_several_is_shown(app: Services) -> None:
    scope = await make_tenant(app)
    for visitor, limit_usd in (("a", 5), ("b", 2), ("c", 9)):
        await put(app, scope, limit_usd, owner=("visitor", visitor), period="total")
    await put(app, scope, 100, period="month")
    assert await shown(app) == {
        (scope.tenant_id, "visitor", "total"): 2.0,
        (scope.tenant_id, "tenant", "month"): 100.0,
    }


async def test_a_period_that_is_over_says_nothing(app: Services) -> None:
    scope = await make_tenant(app)
    budget_id = await put(app, scope, 10)
    await spend(app, budget_id, spent_nano=9 * NANO_PER_USD)
    async with app.db.operator() as db:
        await db.execute(
            "UPDATE budget_periods SET starts_at = starts_at - interval '1 day', ends_at = now() WHERE budget_id = $1",
            budget_id,
        )
    assert await shown(app) == {(scope.tenant_id, "tenant", "day"): 10.0}


async def test_a_removed_budget_goes(app: Services) -> None:
    scope = await make_tenant(app)
    budget_id = await put(app, scope, 10)
    assert len(await shown(app)) == 1
    await budgeting.remove_budget(app, scope, budget_id, actor="test")
    assert await shown(app) == {}
    async with app.db.transaction(scope) as db:
        assert await budgets.list_budgets(db, scope) == []


async def test_many_tenants_share_a_label(app: Services) -> None:
    for place in range(TENANT_LABELS):
        app.metrics.tenant(f"seen-{place}")
    for limit_usd in (8, 3, 5):
        await put(app, await make_tenant(app), limit_usd)
    assert await shown(app) == {("other", "tenant", "day"): 3.0}
