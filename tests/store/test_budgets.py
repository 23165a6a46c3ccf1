"""Budgets in the ledger, on real PostgreSQL: what is opened, what is held back, what counters say, what is told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.errors import BudgetExceeded, NotFound, Unprocessable
from chatwright.domain.ids import CallId, ChatbotId, TenantId, new_id
from chatwright.domain.money import format_usd
from chatwright.domain.scope import Scope
from chatwright.features import alerts, budgets, tenancy
from chatwright.features.budgets import Action, Budget, CallEnd, CallStart, Ledger, open_ledger

CALL = 1_000
"""What a call reserves, in nanodollars, where it does not matter."""


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


async def put(db: Database, scope: Scope, limit_nano: int, action: Action = "block", **fields: Any) -> Budget:
    given_fields: dict[str, Any] = {"scope_kind": "tenant", "scope_id": "", "period": "day"} | fields
    async with db.transaction(scope) as connection:
        return await budgets.put_budget(connection, scope, limit_nano=limit_nano, action=action, **given_fields)


async def status(db: Database, scope: Scope, budget: Budget) -> budgets.BudgetStatus:
    async with db.transaction(scope) as connection:
        return {one.budget.id: one for one in await budgets.list_budgets(connection, scope)}[budget.id]


def call(scope: Scope, reserved_nano: int | None = CALL, **fields: Any) -> CallStart:
    return CallStart(
        id=CallId(new_id()),
        tenant_id=scope.tenant_id,
        provider="openai",
        model="m",
        reserved_nano=reserved_nano,
        **fields,
    )


def end(start: CallStart, cost_nano: int | None) -> CallEnd:
    return CallEnd(id=start.id, state="ok", provider="openai", model="m", cost_nano=cost_nano)


async def settle(ledger: Ledger, *ends: CallEnd) -> None:
    for one in ends:
        ledger.close(one)
    assert await ledger.flush(timeout_s=10)


async def told(db: Database, scope: Scope) -> list[tuple[str, str]]:
    async with db.transaction(scope) as connection:
        return sorted(
            (one.kind, one.subject) for one in await alerts.list_alerts(connection, scope, after=None, limit=99)
        )


async def reconciled(db: Database, scope: Scope, *, repair: bool = False) -> list[budgets.Drift]:
    async with db.transaction(scope) as connection:
        found = await budgets.reconcile(connection, scope)
    if not repair:
        return found
    async with db.transaction(scope) as connection:
        return [await budgets.repair(connection, scope, drift, actor="test") for drift in found]


# What holds back -----------------------------------------------------------------------------------------------------


async def test_exactly_what_fits_is_opened_by_five_ledgers_at_once(database_url: str) -> None:
    """200 calls against a budget for 50, from five pools; nothing is settled meanwhile, and then some of it is."""
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_database(database_url, max_connections=4)) for _ in range(5)]
        ledgers = [await stack.enter_async_context(open_ledger(pool)) for pool in pools]
        scope = await new_tenant(pools[0])
        budget = await put(pools[0], scope, 50 * CALL)
        sums: list[int] = []
        reasons: set[tuple[str, str | None, str | None]] = set()
        watching = True

        async def watch() -> None:
            while watching:
                now = await status(pools[0], scope, budget)
                sums.append(now.spent_nano + now.reserved_nano)

        async def ask(number: int, start: CallStart) -> bool:
            try:
                await ledgers[number % 5].open(start)
            except BudgetExceeded as error:
                reasons.add((error.action, error.budget_id, error.scope))
                return False
            return True

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(), name="watch")
            calls = [call(scope) for _ in range(200)]
            opened = await asyncio.gather(*(ask(number, start) for number, start in enumerate(calls)))
            assert sum(opened) == 50
            # Ten cost nothing and give their room back, the others use all of theirs.
            made = [start for start, was_opened in zip(calls, opened, strict=True) if was_opened]
            for number, start in enumerate(made):
                ledgers[number % 5].close(end(start, 0 if number < 10 else CALL))
            for ledger in ledgers:
                assert await ledger.flush(timeout_s=10)
            again = await asyncio.gather(*(ask(number, call(scope)) for number in range(40)))
            assert sum(again) == 10
            watching = False
        now = await status(pools[0], scope, budget)
        assert (now.spent_nano, now.reserved_nano, now.refused) == (40 * CALL, 10 * CALL, 180)
        assert reasons == {("block", budget.id, "tenant")}
        assert len(sums) > 3
        assert max(sums) <= 50 * CALL
        assert await reconciled(pools[0], scope) == []


async def test_a_call_is_refused_only_if_it_would_pass_the_limit(db: Database, scope: Scope, ledger: Ledger) -> None:
    """In one group: what is too large for what is left is refused, what comes after it and fits is not."""
    budget = await put(db, scope, 100)
    needs = [60, 50, 30, 20, 10, 1]
    outcomes = await asyncio.gather(*(ledger.open(call(scope, need)) for need in needs), return_exceptions=True)
    assert [outcome is None for outcome in outcomes] == [True, False, True, False, True, False]
    now = await status(db, scope, budget)
    assert (now.reserved_nano, now.refused) == (100, 3)


async def test_every_budget_that_applies_counts_and_the_strictest_speaks(
    db: Database, scope: Scope, ledger: Ledger
) -> None:
    async with db.transaction(scope) as connection:
        chatbot = await tenancy.create_chatbot(
            connection, scope, tenancy.NewChatbot(name="Help", slug="help", widget_id="cw_pub_1")
        )
    of_tenant = await put(db, scope, 1_000, "extractive")
    of_chatbot = await put(db, scope, 500, "downgrade", scope_kind="chatbot", scope_id="help", period="month")
    of_visitor = await put(db, scope, 100, "block", scope_kind="visitor", scope_id="v", period="total")
    await put(db, scope, 10, "alert", period="total")
    assert of_chatbot.scope_id == chatbot.id

    async def refusal(need: int, **fields: Any) -> tuple[str, str | None] | None:
        try:
            await ledger.open(call(scope, need, **fields))
        except BudgetExceeded as error:
            return error.action, error.budget_id
        return None

    mine = {"chatbot_id": chatbot.id, "visitor_id": "v"}
    assert await refusal(100, **mine) is None
    assert await refusal(1, **mine) == ("block", of_visitor.id)
    assert await refusal(401, chatbot_id=chatbot.id, visitor_id="w") == ("downgrade", of_chatbot.id)
    assert await refusal(901, chatbot_id=chatbot.id) == ("extractive", of_tenant.id)
    assert await refusal(901) == ("extractive", of_tenant.id)
    assert await refusal(400, chatbot_id=chatbot.id, visitor_id="w") is None
    assert await refusal(0, **mine) is None, "what costs nothing is held back by nothing"
    # The cheap model goes on past a limit that asks for it, but not past the others.
    assert await refusal(100, chatbot_id=chatbot.id, cheap=True) is None
    assert await refusal(1_000, chatbot_id=chatbot.id, cheap=True) == ("extractive", of_tenant.id)
    assert (await status(db, scope, of_chatbot)).reserved_nano == 600
    assert (await status(db, scope, of_tenant)).reserved_nano == 600


async def test_an_unknown_price_is_refused_by_a_budget_that_has_to_hold(
    db: Database, scope: Scope, ledger: Ledger
) -> None:
    await put(db, scope, 10**9, "alert")
    await ledger.open(call(scope, None))
    await put(db, scope, 10**9, "extractive")
    with pytest.raises(BudgetExceeded, match=r"no price is known .* models\.toml") as refused:
        await ledger.open(call(scope, None))
    assert refused.value.action == "extractive"


async def test_another_tenants_budget_says_nothing(db: Database, scope: Scope, ledger: Ledger) -> None:
    other = await new_tenant(db)
    await put(db, scope, 0)
    outcomes = await asyncio.gather(ledger.open(call(other)), ledger.open(call(scope)), return_exceptions=True)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], BudgetExceeded)
    async with db.transaction(other) as connection:
        assert await budgets.list_budgets(connection, other) == []


# Counters ------------------------------------------------------------------------------------------------------------


async def test_a_new_budget_knows_what_was_spent_and_what_is_under_way(
    db: Database, scope: Scope, ledger: Ledger
) -> None:
    done, running, lost = call(scope), call(scope, 2_000), call(scope, 4_000)
    for start in (done, lost):
        await ledger.open(start)
    await settle(ledger, end(done, 700))
    async with db.operator() as connection:
        assert await budgets.abandon_open_calls(connection, older_than_s=0) == 1
    await ledger.open(running)
    budget = await put(db, scope, 10_000)
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano) == (4_700, 2_000)
    await settle(ledger, end(running, 1_500), end(lost, 100))
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano) == (700 + 1_500 + 100, 0)
    assert await reconciled(db, scope) == []


async def test_budgets_set_amid_traffic_are_true(db: Database, scope: Scope) -> None:
    """Set while calls are opened and closed all the time: nothing falls between the sum and the counter."""
    going = True

    async def traffic(ledger: Ledger) -> None:
        while going:
            starts = [call(scope) for _ in range(5)]
            await asyncio.gather(*(ledger.open(start) for start in starts))
            for start in starts:
                ledger.close(end(start, 300))

    async with open_ledger(db) as one, open_ledger(db) as two, asyncio.TaskGroup() as tasks:
        for ledger in (one, two, one, two):
            tasks.create_task(traffic(ledger), name="traffic")
        for period in ("day", "month", "total"):
            await asyncio.sleep(0.1)
            budget = await put(db, scope, 10**12, period=period)
            assert await reconciled(db, scope) == []
            assert (await status(db, scope, budget)).spent_nano > 0
        going = False
    assert await reconciled(db, scope) == []
    async with db.transaction(scope) as connection:
        for one_budget in await budgets.list_budgets(connection, scope):
            assert one_budget.reserved_nano == 0


async def test_a_row_settles_once_however_often_it_is_closed(db: Database, scope: Scope, ledger: Ledger) -> None:
    budget = await put(db, scope, 10_000)
    start = call(scope)
    await ledger.open(start)
    await settle(ledger, end(start, 400))
    await settle(ledger, end(start, 900), end(start, 900))
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano) == (400, 0)
    late = call(scope)
    await ledger.open(late)
    for _ in range(2):
        async with db.operator() as connection:
            await budgets.abandon_open_calls(connection, older_than_s=0)
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano) == (1_400, 0), "a killed process's reservation is spent, not held"
    await settle(ledger, end(late, 1_100))
    await settle(ledger, end(late, 1_100))
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano) == (1_500, 0), "costs above the reservation are counted as they are"


async def test_many_small_costs_sum_exactly(db: Database, scope: Scope) -> None:
    budget = await put(db, scope, 10**12, period="total")
    async with db.operator() as connection:
        await connection.execute(
            """INSERT INTO calls (id, tenant_id, provider, model, state, cost_nano, closed_at)
               SELECT gen_random_uuid(), $1, 'openai', 'm', 'ok', 1500, now() FROM generate_series(1, 100000)""",
            scope.tenant_id,
        )
    drifts = await reconciled(db, scope, repair=True)
    assert [drift.ledger_spent_nano for drift in drifts] == [150_000_000]
    assert (await status(db, scope, budget)).spent_nano == 150_000_000


async def test_a_new_period_is_begun_by_whoever_finds_it_missing(
    db: Database, scope: Scope, superuser_url: str, database_url: str
) -> None:
    day, month = await put(db, scope, 5_000), await put(db, scope, 50_000, "alert", period="month")
    async with open_ledger(db) as ledger:
        before = call(scope)
        await ledger.open(before)
        await settle(ledger, end(before, 900))
        # The period ends a minute ago, and the call was made in it.
        await move_back(superuser_url, scope, "1 minute")
        assert (await status(db, scope, day)).spent_nano == 0
        async with open_database(database_url, max_connections=4) as other, open_ledger(other) as second:
            starts = [call(scope) for _ in range(8)]
            ledgers = [ledger, second] * 4
            outcomes = await asyncio.gather(
                *(one.open(start) for one, start in zip(ledgers, starts, strict=True)), return_exceptions=True
            )
            assert outcomes.count(None) == 5
    async with db.transaction(scope) as connection:
        rows = await connection.fetch(
            "SELECT budget_id, spent_nano, reserved_nano FROM budget_periods WHERE tenant_id = $1 ORDER BY starts_at",
            scope.tenant_id,
        )
    found = [(row["budget_id"], row["spent_nano"], row["reserved_nano"]) for row in rows]
    assert sorted(found) == sorted([(day.id, 900, 0), (day.id, 0, 5_000), (month.id, 900, 0), (month.id, 0, 5_000)])


async def move_back(superuser_url: str, scope: Scope, ago: str) -> None:
    """Let the tenant's running periods, and the calls in them, have ended `ago`."""
    connection: Any = await asyncpg.connect(superuser_url)
    try:
        shift = f"(ends_at - (now() - interval '{ago}'))"
        await connection.execute(
            f"UPDATE budget_periods SET starts_at = starts_at - {shift}, ends_at = ends_at - {shift} WHERE tenant_id = $1",
            scope.tenant_id,
        )
        await connection.execute(
            f"UPDATE calls SET opened_at = now() - interval '{ago}' * 2 WHERE tenant_id = $1", scope.tenant_id
        )
    finally:
        await connection.close()


async def test_a_tenant_that_moves_keeps_its_running_period(db: Database, ledger: Ledger) -> None:
    scope = await new_tenant(db, time_zone="Pacific/Kiritimati")
    budget = await put(db, scope, 5_000)
    before = await status(db, scope, budget)
    assert datetime.fromisoformat(before.starts_at).hour == 10
    async with db.operator() as connection:
        await tenancy.update_tenant(connection, scope.tenant_id, time_zone="Pacific/Niue")
    await ledger.open(call(scope))
    after = await status(db, scope, budget)
    assert (after.starts_at, after.ends_at, after.reserved_nano) == (before.starts_at, before.ends_at, CALL)


# Alerts --------------------------------------------------------------------------------------------------------------


async def test_levels_are_told_once_although_fifty_cross_them_at_once(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_database(database_url, max_connections=3)) for _ in range(5)]
        ledgers = [await stack.enter_async_context(open_ledger(pool)) for pool in pools]
        scope = await new_tenant(pools[0])
        budget = await put(pools[0], scope, 50 * CALL)
        starts = [call(scope) for _ in range(50)]
        await asyncio.gather(*(ledgers[n % 5].open(start) for n, start in enumerate(starts)))
        for n, start in enumerate(starts):
            ledgers[n % 5].close(end(start, CALL))
        for ledger in ledgers:
            assert await ledger.flush(timeout_s=10)
        assert await told(pools[0], scope) == [(f"budget.{level}", budget.id) for level in (100, 80, 95)]
    # After a restart the next refusals tell nothing again.
    async with open_database(database_url) as db, open_ledger(db) as ledger:
        for _ in range(3):
            with pytest.raises(BudgetExceeded):
                await ledger.open(call(scope))
        assert len(await told(db, scope)) == 3


async def test_one_call_may_cross_two_levels(db: Database, scope: Scope, ledger: Ledger) -> None:
    budget = await put(db, scope, 1_000)
    first, second = call(scope, 700), call(scope, 270)
    for start in (first, second):
        await ledger.open(start)
    await settle(ledger, end(first, 700))
    assert await told(db, scope) == []
    await settle(ledger, end(second, 270))
    assert await told(db, scope) == [("budget.80", budget.id), ("budget.95", budget.id)]
    async with db.transaction(scope) as connection:
        listed = await alerts.list_alerts(connection, scope, after=None, limit=9)
    alert = next(one for one in listed if one.kind == "budget.95")
    now = await status(db, scope, budget)
    assert alert.detail == {
        "spent_nano": 970,
        "limit_nano": 1_000,
        "scope": "tenant",
        "scope_id": scope.tenant_id,
        "period": "day",
        "action": "block",
        "set_by": "tenant",
        "forecast_nano": alert.detail["forecast_nano"],
        "ends_at": now.ends_at,
    }
    if alert.detail["forecast_nano"] is not None:  # an hour after midnight it can be told; later it is a little less
        assert now.forecast_nano is not None
        assert 0.99 * alert.detail["forecast_nano"] <= now.forecast_nano <= alert.detail["forecast_nano"]
    plain = "The daily budget of the tenant has reached 95 %: $0.00000097 of $0.000001 is spent."
    told_of_pace = f"{plain} At this pace the day ends at ${format_usd(alert.detail['forecast_nano'] or 0)}."
    assert alert.message == (plain if alert.detail["forecast_nano"] is None else told_of_pace)
    assert alert.period == now.starts_at


async def test_the_first_refusal_is_told_as_100_and_a_soft_budget_only_tells(
    db: Database, scope: Scope, ledger: Ledger
) -> None:
    hard, soft = await put(db, scope, 1_000), await put(db, scope, 100, "alert", period="month")
    start = call(scope, 600)
    await ledger.open(start)
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            await ledger.open(call(scope, 600))
    assert await told(db, scope) == [("budget.100", hard.id)]
    await settle(ledger, end(start, 850))
    of_soft = [(f"budget.{level}", soft.id) for level in (100, 80, 95)]
    assert await told(db, scope) == sorted([("budget.100", hard.id), ("budget.80", hard.id), *of_soft])


async def test_a_limit_lowered_below_what_is_spent_is_told_at_once(db: Database, scope: Scope, ledger: Ledger) -> None:
    await put(db, scope, 10_000)
    start = call(scope)
    await ledger.open(start)
    await settle(ledger, end(start, CALL))
    budget = await put(db, scope, 1_100)
    assert await told(db, scope) == [("budget.80", budget.id)]


# Reconciling ---------------------------------------------------------------------------------------------------------


async def test_planted_drift_is_found_and_repaired_and_noted(
    db: Database, scope: Scope, ledger: Ledger, superuser_url: str
) -> None:
    budget = await put(db, scope, 100_000)
    done, running = call(scope), call(scope)
    for start in (done, running):
        await ledger.open(start)
    await settle(ledger, end(done, 800))
    assert await reconciled(db, scope) == []
    connection: Any = await asyncpg.connect(superuser_url)
    try:
        await connection.execute("UPDATE budget_periods SET spent_nano = 5, reserved_nano = 77777")
        await connection.execute("UPDATE calls SET counters = NULL")
    finally:
        await connection.close()
    for repaired in (False, True):
        (drift,) = await reconciled(db, scope, repair=repaired)
        assert (drift.budget_id, drift.spent_nano, drift.reserved_nano) == (budget.id, 5, 77777)
        assert (drift.ledger_spent_nano, drift.ledger_reserved_nano, drift.repaired) == (800, CALL, repaired)
    assert await reconciled(db, scope) == []
    await settle(ledger, end(running, 600))
    now = await status(db, scope, budget)
    assert (now.spent_nano, now.reserved_nano) == (1_400, 0)
    async with db.transaction(scope) as tx:
        (entry,) = await tx.fetch(
            "SELECT actor, action, target, detail FROM audit_log WHERE tenant_id = $1", scope.tenant_id
        )
    assert (entry["actor"], entry["action"], entry["target"]) == ("test", "budget.repaired", budget.id)
    assert entry["detail"]["spent_nano"] == [5, 800]


# Setting -------------------------------------------------------------------------------------------------------------


async def test_setting_again_changes_the_limit_and_keeps_the_count(db: Database, scope: Scope, ledger: Ledger) -> None:
    first = await put(db, scope, 1_000)
    await ledger.open(call(scope))
    with pytest.raises(BudgetExceeded):
        await ledger.open(call(scope))
    second = await put(db, scope, 2_000, "alert")
    assert (second.id, second.limit_nano, second.action) == (first.id, 2_000, "alert")
    await ledger.open(call(scope))
    assert (await status(db, scope, second)).reserved_nano == 2_000
    async with db.transaction(scope) as connection:
        assert await budgets.delete_budget(connection, scope, second.id)
        assert not await budgets.delete_budget(connection, scope, second.id)
        assert not await budgets.delete_budget(connection, scope, "nothing")
        assert await budgets.list_budgets(connection, scope) == []
    await ledger.open(call(scope, 10**12))


async def test_what_cannot_be_a_budget_is_refused(db: Database, scope: Scope) -> None:
    other = await new_tenant(db)
    async with db.transaction(other) as connection:
        theirs = await tenancy.create_chatbot(
            connection, other, tenancy.NewChatbot(name="Help", slug="help", widget_id="cw_pub_2")
        )
    for chatbot_id in (theirs.id, "help", "nothing"):
        with pytest.raises(NotFound):
            await put(db, scope, 1, scope_kind="chatbot", scope_id=chatbot_id)
    for limit_nano in (-1, 10**18 + 1):
        with pytest.raises(Unprocessable):
            await put(db, scope, limit_nano)
    with pytest.raises(Unprocessable):
        await put(db, scope, 1, scope_kind="visitor", scope_id="")
    nobody = Scope(tenant_id=TenantId(new_id()))
    with pytest.raises(NotFound):
        await put(db, nobody, 1)


async def test_a_glance_says_who_has_nothing_left(db: Database, scope: Scope, ledger: Ledger) -> None:
    chatbot_id = ChatbotId(new_id())
    budget = await put(db, scope, 1_000)
    await ledger.headroom.check(scope.tenant_id, chatbot_id)
    start = call(scope)
    await ledger.open(start)
    await settle(ledger, end(start, 1_000))
    await asyncio.sleep(1.05)
    with pytest.raises(BudgetExceeded) as refused:
        await ledger.headroom.check(scope.tenant_id, chatbot_id)
    assert refused.value.budget_id == budget.id


# Against a plain model -----------------------------------------------------------------------------------------------

Step = tuple[str, int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 60), st.integers(0, 2)),
        st.tuples(st.just("close"), st.integers(0, 30), st.integers(0, 80)),
        st.tuples(st.just("abandon"), st.just(0), st.just(0)),
        st.tuples(st.just("limit"), st.integers(0, 200), st.just(0)),
    ),
    max_size=25,
)


class Model:
    """What the books have to say: one hard budget for the tenant, one for each of two visitors, one soft one."""

    def __init__(self, limit: int) -> None:
        self.limits = {"tenant": limit, "0": 90, "1": 90}
        self.calls: dict[str, tuple[str, int, str, int]] = {}  # id: visitor, reserved, state, cost

    def sums(self, name: str) -> tuple[int, int]:
        of = [one for one in self.calls.values() if name in ("tenant", one[0])]
        return sum(one[3] for one in of), sum(one[1] for one in of if one[2] == "open")

    def fits(self, need: int, visitor: str) -> bool:
        return need == 0 or all(
            sum(self.sums(name)) + need <= limit for name, limit in self.limits.items() if name in ("tenant", visitor)
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.integers(0, 300), together=st.booleans())
async def test_any_sequence_ends_in_what_a_plain_model_says(
    db: Database, steps: Sequence[Step], limit: int, together: bool
) -> None:
    scope = await new_tenant(db)
    model = Model(limit)
    hard = await put(db, scope, limit)
    soft = await put(db, scope, 7, "alert", period="total")
    visitors = {
        name: await put(db, scope, 90, scope_kind="visitor", scope_id=name, period="month") for name in ("0", "1")
    }
    async with open_ledger(db) as ledger:
        waiting: list[tuple[str, str, int, asyncio.Task[None]]] = []

        async def opened() -> None:
            """Compare the group's outcomes, in its order."""
            for call_id, visitor, need, task in waiting:
                (outcome,) = await asyncio.gather(task, return_exceptions=True)
                assert (outcome is None) == model.fits(need, visitor), outcome
                if outcome is None:
                    model.calls[call_id] = (visitor, need, "open", 0)
            waiting.clear()

        for what, amount, which in steps:
            if what == "open":
                start = call(scope, amount, visitor_id=str(which))
                task = asyncio.create_task(ledger.open(start), name="open")
                waiting.append((start.id, str(which), amount, task))
                if together:
                    continue
            await opened()
            known = list(model.calls)
            if what == "close" and known:
                call_id = known[amount % len(known)]
                visitor, reserved, state, cost = model.calls[call_id]
                # What costs nothing is in no counter: a price that appears between opening and closing is drift.
                spent = which if reserved else 0
                await settle(
                    ledger, CallEnd(id=CallId(call_id), state="ok", provider="openai", model="m", cost_nano=spent)
                )
                closed = (visitor, reserved, "ok", spent)
                model.calls[call_id] = closed if state != "ok" else (visitor, reserved, state, cost)
            elif what == "abandon":
                async with db.operator() as connection:
                    await budgets.abandon_open_calls(connection, older_than_s=0)
                model.calls = {
                    one: (visitor, reserved, "abandoned", reserved)
                    if state == "open"
                    else (visitor, reserved, state, cost)
                    for one, (visitor, reserved, state, cost) in model.calls.items()
                }
            elif what == "limit":
                model.limits["tenant"] = amount
                await put(db, scope, amount)
        await opened()
    for budget, name in ((hard, "tenant"), (soft, "tenant"), (visitors["0"], "0"), (visitors["1"], "1")):
        now = await status(db, scope, budget)
        assert (now.spent_nano, now.reserved_nano) == model.sums(name), name
    assert await reconciled(db, scope) == []
    assert max(Counter(await told(db, scope)).values(), default=0) <= 1
