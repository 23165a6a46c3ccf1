"""Counters begun, turned, removed and mended while calls go on: what they say is what the ledger says."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.errors import BudgetExceeded, Forbidden
from chatwright.domain.ids import CallId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features import budgets, tenancy
from chatwright.features.budgets import Budget, BudgetStatus, CallEnd, CallStart, Drift, Ledger, open_ledger

NEED = 1_000


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, min_connections=1, max_connections=8) as database:
        yield database


@pytest.fixture
async def scope(db: Database) -> Scope:
    return await new_tenant(db)


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    async with open_ledger(db) as opened:
        yield opened


async def new_tenant(db: Database, *, time_zone: str = "UTC") -> Scope:
    async with db.operator() as connection:
        tenant = await tenancy.create_tenant(connection, name="T", plan="standard", time_zone=time_zone, weight=1.0)
    return Scope(tenant_id=tenant.id)


async def put(db: Database, scope: Scope, limit_nano: int, **fields: Any) -> Budget:
    usual: dict[str, Any] = {"scope_kind": "tenant", "scope_id": "", "period": "day", "action": "block"}
    async with db.transaction(scope) as connection:
        return await budgets.put_budget(connection, scope, limit_nano=limit_nano, **{**usual, **fields})


async def remove(db: Database, scope: Scope, budget: Budget, **by: Any) -> bool:
    async with db.transaction(scope) as connection:
        return await budgets.delete_budget(connection, scope, budget.id, **by)


async def status(db: Database, scope: Scope, budget: Budget) -> BudgetStatus:
    async with db.transaction(scope) as connection:
        return {one.budget.id: one for one in await budgets.list_budgets(connection, scope)}[budget.id]


async def drifts(db: Database, scope: Scope) -> list[Drift]:
    async with db.transaction(scope) as connection:
        return await budgets.reconcile(connection, scope)


def call(scope: Scope, reserved_nano: int = NEED, **fields: Any) -> CallStart:
    return CallStart(
        id=CallId(new_id()),
        tenant_id=scope.tenant_id,
        provider="openai",
        model="m",
        reserved_nano=reserved_nano,
        **fields,
    )


def end(start: CallStart, cost_nano: int) -> CallEnd:
    return CallEnd(id=start.id, state="ok", provider="openai", model="m", cost_nano=cost_nano)


async def settle(ledger: Ledger, *ends: CallEnd) -> None:
    for one in ends:
        ledger.close(one)
    assert await ledger.flush(timeout_s=10)


async def as_superuser(url: str, statement: str, *arguments: object) -> None:
    connection: Any = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def age(superuser_url: str, scope: Scope, ago: str) -> None:
    await as_superuser(
        superuser_url,
        f"UPDATE calls SET opened_at = opened_at - interval '{ago}' WHERE tenant_id = $1",
        scope.tenant_id,
    )


# Operators' and tenants' ---------------------------------------------------------------------------------------------


async def test_an_operators_budget_and_the_tenants_own_both_hold(db: Database, scope: Scope, ledger: Ledger) -> None:
    theirs = await put(db, scope, 5 * NEED, set_by="operator")
    own = await put(db, scope, 100 * NEED)
    assert theirs.id != own.id
    again = await put(db, scope, 50 * NEED)
    assert (again.id, again.set_by) == (own.id, "tenant")
    assert (await status(db, scope, theirs)).budget.limit_nano == 5 * NEED, "a tenant's PUT leaves it alone"
    for _ in range(5):
        await ledger.open(call(scope))
    with pytest.raises(BudgetExceeded, match="ask an operator to raise its limit") as refused:
        await ledger.open(call(scope))
    assert refused.value.budget_id == theirs.id
    await put(db, scope, 3 * NEED)
    await put(db, scope, 50 * NEED, set_by="operator")
    with pytest.raises(BudgetExceeded, match=": raise its limit") as refused:
        await ledger.open(call(scope))
    assert refused.value.budget_id == own.id
    assert await drifts(db, scope) == []


async def test_a_tenant_cannot_remove_what_an_operator_set(db: Database, scope: Scope) -> None:
    theirs = await put(db, scope, NEED, set_by="operator")
    with pytest.raises(Forbidden, match="an operator set this budget"):
        await remove(db, scope, theirs, by="tenant")
    other = await new_tenant(db)
    assert not await remove(db, other, theirs, by="operator")
    assert (await status(db, scope, theirs)).budget.set_by == "operator"
    assert await remove(db, scope, theirs, by="operator")
    own = await put(db, scope, NEED)
    assert await remove(db, scope, own, by="tenant")


# Sums made ahead -----------------------------------------------------------------------------------------------------


async def test_a_counter_begun_over_an_old_ledger_knows_all_of_it(
    db: Database, scope: Scope, ledger: Ledger, superuser_url: str
) -> None:
    """Most of the sum is made before the tenant is held up: what is old and settled, what is old and may still change,
    and what is new each come in once."""
    old_done, old_lost, old_running = call(scope), call(scope, 2_000), call(scope, 4_000)
    for start in (old_done, old_lost):
        await ledger.open(start)
    await settle(ledger, end(old_done, 700))
    async with db.operator() as connection:
        assert await budgets.abandon_open_calls(connection, older_than_s=0) == 1
    await ledger.open(old_running)
    await age(superuser_url, scope, "40 minutes")
    new_done, new_running = call(scope), call(scope, 8_000)
    for start in (new_done, new_running):
        await ledger.open(start)
    await settle(ledger, end(new_done, 30))
    budget = await put(db, scope, 10**9, period="total")
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano) == (700 + 2_000 + 30, 4_000 + 8_000)
    assert await drifts(db, scope) == []
    await settle(ledger, end(old_running, 1), end(old_lost, 20), end(new_running, 300))
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano) == (700 + 30 + 1 + 20 + 300, 0)
    assert await drifts(db, scope) == []


async def test_calls_are_not_held_up_while_the_old_part_is_summed(
    db: Database, scope: Scope, ledger: Ledger, superuser_url: str
) -> None:
    """As slow a sum as there may be: it waits for a lock on the ledger's rows, and calls are opened meanwhile."""
    slow: Any = await asyncpg.connect(superuser_url)
    try:
        await slow.execute(
            """CREATE OR REPLACE FUNCTION settled_of_budget(of_tenant uuid, in_scope text, of_id text, since timestamptz,
                                                            until timestamptz)
               RETURNS TABLE (spent_nano bigint, unsettled uuid[]) LANGUAGE plpgsql AS $$
               BEGIN PERFORM pg_advisory_xact_lock(77); RETURN QUERY SELECT 0::bigint, '{}'::uuid[]; END $$"""
        )
        await slow.execute("SELECT pg_advisory_lock(77)")
        setting = asyncio.create_task(put(db, scope, 10**9, period="total"), name="setting")
        while not await slow.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            for _ in range(3):
                await ledger.open(call(scope))
        assert not setting.done()
        await slow.execute("SELECT pg_advisory_unlock(77)")
        budget = await setting
    finally:
        await slow.close()
    assert (await status(db, scope, budget)).reserved_nano == 3 * NEED
    assert await drifts(db, scope) == []


async def test_periods_that_turned_are_begun_ahead_of_the_first_call(db: Database, superuser_url: str) -> None:
    scopes = [await new_tenant(db) for _ in range(3)]
    made = [await put(db, scope, NEED, period=period) for scope in scopes for period in ("day", "total")]
    assert await budgets.begin_due(db, at_most=100) == 0
    await as_superuser(
        superuser_url,
        "UPDATE budget_periods SET starts_at = starts_at - (ends_at - now()), ends_at = now() - interval '1 minute'"
        " WHERE ends_at < '9000-01-01'",
    )
    begun = await asyncio.gather(*(budgets.begin_due(db, at_most=2) for _ in range(2)))
    assert sum(begun) >= 2, "two sweepers at once may begin the same"
    while await budgets.begin_due(db, at_most=2):
        pass
    async with db.operator() as connection:
        rows = await connection.fetch(
            "SELECT budget_id, count(*) AS count FROM budget_periods WHERE starts_at <= now() AND now() < ends_at GROUP BY 1"
        )
    assert {row["budget_id"]: row["count"] for row in rows} == {budget.id: 1 for budget in made}


# Periods -------------------------------------------------------------------------------------------------------------


async def test_a_call_is_paid_by_the_period_in_which_it_was_opened(
    db: Database, scope: Scope, ledger: Ledger, superuser_url: str
) -> None:
    budget = await put(db, scope, 3 * NEED)
    over_midnight = call(scope, 2 * NEED)
    await ledger.open(over_midnight)
    await as_superuser(
        superuser_url,
        "UPDATE budget_periods SET starts_at = starts_at - (ends_at - now()) - interval '1 minute',"
        " ends_at = now() - interval '1 minute'",
    )
    await age(superuser_url, scope, "2 minutes")
    await ledger.open(call(scope, 3 * NEED))  # the new period is whole
    assert await drifts(db, scope) == []
    await settle(ledger, end(over_midnight, 1_500))
    async with db.transaction(scope) as connection:
        rows = await connection.fetch(
            "SELECT spent_nano, reserved_nano FROM budget_periods WHERE tenant_id = $1 ORDER BY starts_at",
            scope.tenant_id,
        )
    assert [tuple(row.values()) for row in rows] == [(1_500, 0), (0, 3 * NEED)]
    assert (await status(db, scope, budget)).reserved_nano == 3 * NEED
    assert await drifts(db, scope) == []


@pytest.mark.parametrize(
    ("before", "after"), [("Pacific/Kiritimati", "Pacific/Niue"), ("Pacific/Niue", "Asia/Kathmandu")]
)
async def test_after_a_move_periods_neither_overlap_nor_leave_out(
    db: Database, ledger: Ledger, superuser_url: str, before: str, after: str
) -> None:
    scope = await new_tenant(db, time_zone=before)
    budget = await put(db, scope, 10**9)
    async with db.operator() as connection:
        await tenancy.update_tenant(connection, scope.tenant_id, time_zone=after)
    starts = [call(scope) for _ in range(3)]
    await ledger.open(starts[0])
    await as_superuser(
        superuser_url,
        "UPDATE budget_periods SET starts_at = starts_at - (ends_at - now()) - interval '1 minute',"
        " ends_at = now() - interval '1 minute'",
    )
    await age(superuser_url, scope, "2 minutes")
    for start in starts[1:]:
        await ledger.open(start)
    now = await status(db, scope, budget)
    async with db.transaction(scope) as connection:
        rows = await connection.fetch(
            "SELECT starts_at, ends_at FROM budget_periods WHERE tenant_id = $1 ORDER BY starts_at", scope.tenant_id
        )
    assert len(rows) == 2
    assert rows[0]["ends_at"] <= rows[1]["starts_at"] == datetime.fromisoformat(now.starts_at)
    assert now.reserved_nano == 2 * NEED
    await settle(ledger, *(end(start, 10) for start in starts))
    assert await drifts(db, scope) == []


# Removed and changed while calls are under way -----------------------------------------------------------------------


async def test_a_budget_removed_while_calls_are_reserved_in_it(db: Database, scope: Scope, ledger: Ledger) -> None:
    first, other = await put(db, scope, 10 * NEED), await put(db, scope, 10 * NEED, period="month")
    start = call(scope)
    await ledger.open(start)
    assert await remove(db, scope, first)
    second = await put(db, scope, 20 * NEED)
    assert (await status(db, scope, second)).reserved_nano == NEED, "set anew it knows what is under way"
    await settle(ledger, end(start, 600))
    for budget in (second, other):
        now = await status(db, scope, budget)
        assert (now.spent_nano, now.reserved_nano) == (600, 0)
    assert await drifts(db, scope) == []


async def test_a_limit_below_what_is_spent_holds_back_and_still_settles(
    db: Database, scope: Scope, ledger: Ledger
) -> None:
    budget = await put(db, scope, 10 * NEED)
    starts = [call(scope) for _ in range(5)]
    for start in starts:
        await ledger.open(start)
    await settle(ledger, end(starts[0], NEED))
    await put(db, scope, NEED // 2)
    with pytest.raises(BudgetExceeded):
        await ledger.open(call(scope, 1))
    await settle(ledger, *(end(start, 900) for start in starts[1:]))
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano, now.refused) == (NEED + 4 * 900, 0, 1)
    await put(db, scope, now.spent_nano + 1)
    await ledger.open(call(scope, 1))


@pytest.mark.parametrize("seed", range(3))
async def test_everything_at_once_ends_in_true_counters(database_url: str, superuser_url: str, seed: int) -> None:
    """Calls from three processes; meanwhile budgets are set, removed, mended, and open rows settled by the sweeper."""
    dice = random.Random(seed)
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_database(database_url, max_connections=4)) for _ in range(3)]
        ledgers = [await stack.enter_async_context(open_ledger(pool)) for pool in pools]
        db = pools[0]
        scope = await new_tenant(db)
        await put(db, scope, 10**12, period="month")
        going = True

        async def traffic(ledger: Ledger) -> None:
            while going:
                starts = [call(scope, dice.randrange(1, 90), visitor_id=str(dice.randrange(3))) for _ in range(4)]
                await asyncio.gather(*(ledger.open(start) for start in starts))
                await asyncio.sleep(dice.random() / 50)
                dice.shuffle(starts)
                for start in starts:
                    ledger.close(end(start, dice.randrange(100)))

        async def change() -> None:
            while going:
                kind, name = dice.choice([("tenant", ""), ("visitor", "0"), ("visitor", "1")])
                period = dice.choice(["day", "total"])
                made = await put(db, scope, 10**12, scope_kind=kind, scope_id=name, period=period, action="alert")
                if dice.random() < 0.5:
                    await remove(db, scope, made)

        async def mend() -> None:
            while going:
                await as_superuser(
                    superuser_url,
                    "UPDATE budget_periods SET spent_nano = spent_nano + 3"
                    " WHERE id = (SELECT id FROM budget_periods ORDER BY random() LIMIT 1)",
                )
                for drift in await drifts(db, scope):
                    async with db.transaction(scope) as connection:
                        await budgets.repair(connection, scope, drift)

        async def sweep(pool: Database) -> None:
            while going:
                async with pool.operator() as connection:
                    await budgets.abandon_open_calls(connection, older_than_s=0.02)
                await asyncio.sleep(0.01)

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for place in range(6):
                tasks.create_task(traffic(ledgers[place % 3]), name="traffic")
            for pool in pools[1:]:
                tasks.create_task(sweep(pool), name="sweep")
            tasks.create_task(change(), name="change")
            tasks.create_task(mend(), name="mend")
            await asyncio.sleep(2)
            going = False
        for ledger in ledgers:
            assert await ledger.flush(timeout_s=20)
        for drift in await drifts(db, scope):  # the last one planted
            async with db.transaction(scope) as connection:
                await budgets.repair(connection, scope, drift)
        assert await drifts(db, scope) == []
        async with db.transaction(scope) as connection:
            found = await budgets.list_budgets(connection, scope)
            rows = await connection.fetch(
                "SELECT state, count(*) FROM calls WHERE tenant_id = $1 GROUP BY 1", scope.tenant_id
            )
        assert found
        assert all(one.reserved_nano == 0 for one in found)
        assert {row["state"] for row in rows} == {"ok"}, "each end came, and corrected what had been given up"


# What caches saved ---------------------------------------------------------------------------------------------------


async def test_cache_hits_stand_in_the_ledger_once_and_cost_nothing(db: Database, scope: Scope, ledger: Ledger) -> None:
    budget = await put(db, scope, 0, period="total")
    hits = [
        budgets.CacheHit(
            id=CallId(new_id()),
            tenant_id=TenantId(scope.tenant_id),
            provider="openai",
            model="m",
            saved_nano=1_500 + place,
            visitor_id="ada",
            purpose="embedding" if place else "chat",
        )
        for place in range(2)
    ]
    for hit in (*hits, hits[0]):
        ledger.hit(hit)
    assert await ledger.flush()
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano, now.refused) == (0, 0, 0)
    assert await drifts(db, scope) == []
    span: dict[str, Any] = {"since": datetime(2000, 1, 1, tzinfo=UTC), "until": datetime(2100, 1, 1, tzinfo=UTC)}
    async with db.transaction(scope) as connection:
        rows = await budgets.usage_rows(connection, scope, group_by=["kind", "visitor", "purpose"], **span)
    assert [(row["kind"], row["visitor"], row["purpose"], row["cache_hits"], row["calls"]) for row in rows] == [
        ("cache_hit", "ada", "chat", 1, 0),
        ("cache_hit", "ada", "embedding", 1, 0),
    ]
    assert [(row["saved_nano"], row["cost_nano"]) for row in rows] == [(1_500, 0), (1_501, 0)]
