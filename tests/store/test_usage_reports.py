"""The usage report against the ledger's rows: exact sums, groups, half-open times, one tenant and all of them."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.features import budgets, tenancy
from chatwright.features.budgets import GROUPS, GroupBy
from chatwright.features.tenancy import NewChatbot

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
TINY = timedelta(microseconds=1)
ALWAYS = (MIDNIGHT - timedelta(days=400), MIDNIGHT + timedelta(days=400))
FIGURES = ("calls", "cache_hits", "input_tokens", "cached_tokens", "output_tokens", "cost_nano", "saved_nano")

INSERT = """
INSERT INTO calls (id, tenant_id, chatbot_id, kind, purpose, provider, model, state, input_tokens, cached_tokens,
                   output_tokens, cost_nano, saved_nano, estimated, opened_at, key_id, visitor_id, import_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
"""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, min_connections=1, max_connections=4) as database:
        yield database


async def make_scope(db: Database, name: str) -> Scope:
    async with db.operator() as connection:
        tenant = await tenancy.create_tenant(connection, name=name, plan="standard", time_zone="UTC", weight=1.0)
    return Scope(tenant_id=tenant.id)


async def insert(db: Database, scope: Scope, rows: Sequence[dict[str, Any]]) -> None:
    usual = {
        "chatbot_id": None,
        "kind": "call",
        "purpose": "chat",
        "provider": "openai",
        "model": "gpt-4.1-mini",
        "state": "ok",
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 5,
        "cost_nano": 1_500,
        "saved_nano": 0,
        "estimated": False,
        "opened_at": MIDNIGHT,
        "key": None,
        "visitor": None,
        "import": None,
    }
    async with db.operator() as connection:
        await connection.executemany(INSERT, [(new_id(), scope.tenant_id, *{**usual, **row}.values()) for row in rows])


async def report(
    db: Database,
    scope: Scope | None,
    *group_by: GroupBy,
    since: datetime = ALWAYS[0],
    until: datetime = ALWAYS[1],
    time_zone: str = "UTC",
) -> list[dict[str, Any]]:
    async with db.operator() if scope is None else db.transaction(scope) as connection:
        return await budgets.usage_rows(
            connection, scope, group_by=group_by, since=since, until=until, time_zone=time_zone
        )


async def test_a_million_tiny_costs_add_up_to_the_nanodollar(
    db: Database, database_url: str, superuser_url: str
) -> None:
    scope = await make_scope(db, "Acme")
    connection = await asyncpg.connect(superuser_url)
    try:
        await connection.execute("SET session_replication_role = replica")  # the foreign key is not what is tested
        await connection.execute(
            "INSERT INTO calls (id, tenant_id, provider, model, state, cost_nano, opened_at)"
            " SELECT gen_random_uuid(), $1, 'openai', 'm', 'ok', 1500, $2 FROM generate_series(1, 1000000)",
            scope.tenant_id,
            MIDNIGHT,
        )
    finally:
        await connection.close()
    for which in (scope, None):
        (total,) = await report(db, which)
        assert (total["calls"], total["cost_nano"]) == (1_000_000, 1_500_000_000)


async def test_days_are_half_open_and_of_utc(db: Database) -> None:
    scope = await make_scope(db, "Acme")
    await insert(db, scope, [{"opened_at": moment} for moment in (MIDNIGHT - TINY, MIDNIGHT, MIDNIGHT + TINY)])
    by_day = {row["day"]: row["calls"] for row in await report(db, scope, "day")}
    assert by_day == {"2026-02-28": 1, "2026-03-01": 2}
    assert (await report(db, scope, until=MIDNIGHT))[0]["calls"] == 1
    assert (await report(db, scope, since=MIDNIGHT))[0]["calls"] == 2
    assert (await report(db, scope, since=MIDNIGHT, until=MIDNIGHT + TINY))[0]["calls"] == 1


@pytest.mark.parametrize(
    ("zone", "midnight_utc"),
    [
        ("Australia/Lord_Howe", "2026-04-04T13:00"),  # UTC+11; the day that follows ends half an hour later
        ("Pacific/Chatham", "2026-04-04T10:15"),
        ("America/New_York", "2026-03-08T05:00"),  # a day of 23 hours
        ("Europe/Berlin", "2026-10-24T22:00"),  # a day of 25 hours
    ],
)
async def test_days_are_those_of_the_time_zone_asked_for(db: Database, zone: str, midnight_utc: str) -> None:
    scope = await make_scope(db, "Acme")
    midnight = datetime.fromisoformat(midnight_utc).replace(tzinfo=UTC)
    local = midnight.astimezone(ZoneInfo(zone))
    assert (local.hour, local.minute) == (0, 0)
    following = datetime.combine(local.date() + timedelta(days=1), time(), ZoneInfo(zone)).astimezone(UTC)
    assert following - midnight != timedelta(days=1), "the clocks change on this day"
    moments = (midnight - TINY, midnight, following - TINY, following)
    await insert(db, scope, [{"opened_at": moment} for moment in moments])
    for which in (scope, None):
        by_day = [(row["day"], row["calls"]) for row in await report(db, which, "day", time_zone=zone)]
        days = [str(local.date() + timedelta(days=more)) for more in (-1, 0, 1)]
        assert by_day == list(zip(days, (1, 2, 1), strict=True))


async def test_hits_unknown_prices_and_estimates_are_told_apart(db: Database) -> None:
    scope = await make_scope(db, "Acme")
    await insert(
        db,
        scope,
        [
            {"kind": "cache_hit", "cost_nano": 0, "saved_nano": 777, "cached_tokens": 0},
            {"cost_nano": None},
            {"state": "open", "cost_nano": None},
            {"state": "abandoned", "estimated": True, "cost_nano": 9_000},
        ],
    )
    (total,) = await report(db, scope)
    assert {name: total[name] for name in FIGURES} == {
        "calls": 3,
        "cache_hits": 1,
        "input_tokens": 40,
        "cached_tokens": 12,
        "output_tokens": 20,
        "cost_nano": 9_000,
        "saved_nano": 777,
    }
    assert (total["unpriced_calls"], total["estimated_calls"]) == (1, 1)


async def test_chatbots_and_tenants_are_named(db: Database) -> None:
    scope = await make_scope(db, "Acme")
    async with db.transaction(scope) as connection:
        chatbot = await tenancy.create_chatbot(
            connection, scope, NewChatbot(name="Shop", slug="shop", widget_id=f"cw_pub_{new_id()}")
        )
    deleted = new_id()
    await insert(db, scope, [{"chatbot_id": chatbot.id}, {"chatbot_id": deleted}, {}])
    found = {row["chatbot"]: row["chatbot_slug"] for row in await report(db, scope, "chatbot")}
    assert found == {chatbot.id: "shop", deleted: None, "": None}
    (row,) = await report(db, None, "tenant")
    assert (row["tenant"], row["tenant_name"], row["calls"]) == (scope.tenant_id, "Acme", 3)


async def test_a_tenant_sees_its_own_and_operators_see_the_sum(db: Database) -> None:
    one, two, idle = [await make_scope(db, name) for name in ("One", "Two", "Idle")]
    await insert(db, one, [{"cost_nano": 1}, {"cost_nano": 2}])
    await insert(db, two, [{"cost_nano": 40}])
    costs = [(await report(db, scope))[0]["cost_nano"] for scope in (one, two, idle, None)]
    assert costs == [3, 40, 0, 43]
    assert [row["tenant"] for row in await report(db, one, "tenant")] == [one.tenant_id]
    assert {row["tenant"]: row["cost_nano"] for row in await report(db, None, "tenant")} == {
        one.tenant_id: 3,
        two.tenant_id: 40,
    }


@pytest.mark.parametrize("seed", range(3))
async def test_every_grouping_says_the_same_as_the_rows(db: Database, seed: int) -> None:
    dice = random.Random(seed)
    scope = await make_scope(db, "Acme")
    rows: list[dict[str, Any]] = [
        {
            "kind": dice.choice(["call", "call", "cache_hit"]),
            "purpose": dice.choice(["chat", "embedding", "summary"]),
            "provider": dice.choice(["openai", "anthropic"]),
            "key": dice.choice([None, "env", "k1"]),
            "visitor": dice.choice([None, "ada", "bob"]),
            "import": dice.choice([None, "spring"]),
            "model": dice.choice(["small", "large", "=1+1"]),
            "cost_nano": dice.choice([None, 0, 1, 999_999_999_999]),
            "saved_nano": dice.randrange(100),
            "opened_at": MIDNIGHT + timedelta(hours=dice.randrange(-60, 60)),
        }
        for _ in range(80)
    ]
    await insert(db, scope, rows)
    for size in range(1, 4):
        group_by: list[GroupBy] = dice.sample([name for name in GROUPS if name not in ("chatbot", "tenant")], size)
        expected: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
        for row in rows:
            values = {**row, "day": f"{row['opened_at']:%Y-%m-%d}"}
            sums = expected[tuple(values[name] or "" for name in group_by)]
            sums[0] += row["kind"] == "call"
            sums[1] += row["cost_nano"] or 0
            sums[2] += row["saved_nano"]
        found = await report(db, scope, *group_by)
        keys = [tuple(row[name] for name in group_by) for row in found]
        assert len(set(keys)) == len(keys)
        assert {
            key: [row["calls"], row["cost_nano"], row["saved_nano"]] for key, row in zip(keys, found, strict=True)
        } == dict(expected)


async def test_the_columns_are_those_of_the_rows(db: Database) -> None:
    scope = await make_scope(db, "Acme")
    await insert(db, scope, [{}])
    groupings: list[tuple[GroupBy, ...]] = [(), ("day",), ("chatbot", "tenant", "day"), GROUPS]
    for group_by in groupings:
        (row,) = await report(db, scope, *group_by)
        assert list(row) == budgets.columns_of(group_by)


async def test_the_span_is_from_the_first_to_the_latest_call(db: Database) -> None:
    one, two = await make_scope(db, "One"), await make_scope(db, "Two")

    async def span(scope: Scope | None) -> budgets.Span | None:
        async with db.operator() if scope is None else db.transaction(scope) as connection:
            return await budgets.ledger_span(connection, scope)

    assert [await span(one), await span(None)] == [None, None]
    await insert(db, one, [{"opened_at": MIDNIGHT}])
    await insert(db, two, [{"opened_at": MIDNIGHT + timedelta(days=3)}])
    assert await span(one) == budgets.Span(MIDNIGHT, MIDNIGHT)
    assert await span(None) == budgets.Span(MIDNIGHT, MIDNIGHT + timedelta(days=3))
