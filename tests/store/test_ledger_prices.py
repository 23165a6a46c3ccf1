"""Closed rows of the ledger: what they say was used re-prices to what they say it cost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest

from chatwright.adapters.catalogue import load_catalogue
from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.ids import CallId, new_id
from chatwright.domain.providers import Usage
from chatwright.domain.scope import Scope
from chatwright.features import tenancy
from chatwright.features.budgets import CallEnd, CallStart, Ledger, open_ledger

# USD per million tokens, written down here by hand: input, cached, cache write, output.
PRICE_LIST = {
    ("openai", "gpt-4.1-mini"): ("0.40", "0.10", "0.40", "1.60"),
    ("openai", "gpt-6-luna"): ("0.10", "0.01", "0.125", "0.50"),
    ("anthropic", "claude-haiku-4-5"): ("1", "0.10", "1.25", "5"),
    ("gemini", "gemini-2.5-flash"): ("0.30", "0.03", "0.30", "2.50"),
}
USAGES = (
    Usage(input_tokens=1, output_tokens=1),
    Usage(input_tokens=1_333, cached_tokens=1_024, output_tokens=77, reasoning_tokens=50),
    Usage(input_tokens=70_001, cached_tokens=33, cache_write_tokens=60_007, output_tokens=4_999),
    Usage(input_tokens=999, output_tokens=0),
)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, min_connections=1, max_connections=4) as database:
        yield database


@pytest.fixture
async def scope(db: Database) -> Scope:
    async with db.operator() as connection:
        tenant = await tenancy.create_tenant(connection, name="Acme", plan="standard", time_zone="UTC", weight=1.0)
    return Scope(tenant_id=tenant.id)


async def written(ledger: Ledger, db: Database, scope: Scope, ends: Sequence[CallEnd]) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        for end in ends:
            start = CallStart(id=end.id, tenant_id=scope.tenant_id, provider=end.provider, model=end.model)
            await ledger.open(start)
            ledger.close(end)
        assert await ledger.flush()
    async with db.transaction(scope) as connection:
        rows = await connection.fetch("SELECT * FROM calls WHERE tenant_id = $1 ORDER BY id", scope.tenant_id)
    return [dict(row) for row in rows]


def by_hand(row: dict[str, Any]) -> int:
    fresh_usd, cached_usd, written_usd, output_usd = map(Decimal, PRICE_LIST[row["provider"], row["model"]])
    cached, wrote = row["cached_tokens"], row["cache_write_tokens"]
    fresh = row["input_tokens"] - cached - wrote
    usd = (fresh * fresh_usd + cached * cached_usd + wrote * written_usd + row["output_tokens"] * output_usd) / 10**6
    return int((usd * 10**9).to_integral_value(rounding=ROUND_CEILING))


async def test_usage_and_cost_of_a_row_agree_to_the_nanodollar(db: Database, scope: Scope) -> None:
    catalogue = load_catalogue()
    ends = [
        CallEnd(
            id=CallId(new_id()),
            state="ok",
            provider=provider,
            model=model,
            usage=usage,
            cost_nano=catalogue.price(provider, model, usage),
            price_book=catalogue.revision,
        )
        for provider, model in PRICE_LIST
        for usage in USAGES
    ]
    async with open_ledger(db) as ledger:
        rows = await written(ledger, db, scope, ends)
    assert len(rows) == len(ends)
    assert [row["cost_nano"] for row in rows] == [by_hand(row) for row in rows]
    assert all(row["cost_nano"] > 0 and row["price_book"] == catalogue.revision for row in rows)
    stored = {str(row["id"]): (row["cache_write_tokens"], row["reasoning_tokens"]) for row in rows}
    assert stored == {str(end.id): (end.usage.cache_write_tokens, end.usage.reasoning_tokens) for end in ends}


async def test_an_unknown_cost_names_no_prices(db: Database, scope: Scope) -> None:
    end = CallEnd(
        id=CallId(new_id()), state="ok", provider="openai", model="no-such", usage=USAGES[0], price_book="some book"
    )
    async with open_ledger(db) as ledger:
        rows = await written(ledger, db, scope, [end])
    assert [(row["state"], row["cost_nano"], row["price_book"]) for row in rows] == [("ok", None, None)]
