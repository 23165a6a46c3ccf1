"""Counters and rows of the money drill, read as superuser: by a sampler from outside, and by a trigger at every commit.

The trigger is deferred: it sees each counter as its transaction leaves it, with the counter's lock still held. What a
sampler may miss between two looks, it does not.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from bench.drill.collect import superuser
from bench.drill.money.evidence import CounterState, LedgerRow
from bench.product import Product

_EVERY_S = 0.003
_INSTALL = """
CREATE UNLOGGED TABLE IF NOT EXISTS drill_states (
    n bigserial PRIMARY KEY, tenant_id uuid NOT NULL, budget_id uuid NOT NULL, spent_nano bigint NOT NULL,
    reserved_nano bigint NOT NULL, limit_nano bigint NOT NULL, refused boolean NOT NULL
);
CREATE OR REPLACE FUNCTION drill_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    INSERT INTO drill_states (tenant_id, budget_id, spent_nano, reserved_nano, limit_nano, refused)
    SELECT p.tenant_id, p.budget_id, p.spent_nano, p.reserved_nano, b.limit_nano, NEW.refused > OLD.refused
      FROM budget_periods p JOIN budgets b ON b.id = p.budget_id WHERE p.id = NEW.id;
    RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS drill_watch ON budget_periods;
CREATE CONSTRAINT TRIGGER drill_watch AFTER UPDATE ON budget_periods DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION drill_note();
"""
_NOTED = """
SELECT budget_id::text, spent_nano, reserved_nano, limit_nano, refused FROM drill_states WHERE tenant_id = $1 ORDER BY n
"""
_COUNTERS = """
SELECT b.id::text AS budget_id, p.spent_nano, p.reserved_nano, b.limit_nano
  FROM budget_periods p JOIN budgets b ON b.id = p.budget_id WHERE b.tenant_id = $1
"""
_ROWS = """
SELECT id::text, provider, state, error_class, estimated, reserved_nano, cost_nano
  FROM calls WHERE tenant_id = $1 AND kind = 'call' AND provider IN ('openai', 'anthropic')
"""
_UNSETTLED = """
SELECT (SELECT count(*) FROM calls WHERE tenant_id = $1 AND state = 'open')
     + (SELECT count(*) FROM budget_periods WHERE tenant_id = $1 AND reserved_nano <> 0)
     + (SELECT count(*) FROM jobs WHERE tenant_id = $1 AND state IN ('waiting', 'queued', 'running'))
"""
_OUTBOX = """
SELECT id::text, kind FROM alerts WHERE tenant_id = $1 AND subject = $2
"""


async def install_watch(product: Product) -> None:
    """Note every commit that changes a counter, from now on."""
    async with superuser(product) as db:
        await db.execute(_INSTALL)


async def noted_states(product: Product, tenant_id: str) -> list[CounterState]:
    """What the commits have left of a tenant's counters, in their order."""
    async with superuser(product) as db:
        return [CounterState(**row) for row in await db.fetch(_NOTED, tenant_id)]


async def counters(product: Product, tenant_id: str) -> list[CounterState]:
    """A tenant's counters now."""
    async with superuser(product) as db:
        return await _counters(db, tenant_id)


async def _counters(db: asyncpg.Connection, tenant_id: str) -> list[CounterState]:
    return [CounterState(**row) for row in await db.fetch(_COUNTERS, tenant_id)]


async def ledger_rows(product: Product, tenant_id: str) -> list[LedgerRow]:
    """A tenant's calls to the simulators."""
    async with superuser(product) as db:
        return [LedgerRow(**row) for row in await db.fetch(_ROWS, tenant_id)]


async def unsettled(product: Product, tenant_id: str) -> int:
    """Open rows, counters with something reserved, and jobs under way."""
    async with superuser(product) as db:
        return int(await db.fetchval(_UNSETTLED, tenant_id) or 0)


async def told_alerts(product: Product, tenant_id: str, budget_id: str) -> list[tuple[str, str]]:
    """(id, kind) of a budget's alerts in the outbox."""
    async with superuser(product) as db:
        return [(row["id"], row["kind"]) for row in await db.fetch(_OUTBOX, tenant_id, budget_id)]


@asynccontextmanager
async def sampling(product: Product, tenant_id: str) -> AsyncGenerator[list[CounterState]]:
    """Look at a tenant's counters every few milliseconds until the block ends; yields what was seen so far."""
    seen: list[CounterState] = []

    async def look(db: asyncpg.Connection) -> None:
        while True:
            seen.extend(await _counters(db, tenant_id))
            await asyncio.sleep(_EVERY_S)

    async with superuser(product) as db, asyncio.TaskGroup() as group:
        task = group.create_task(look(db), name="samples counters")
        try:
            yield seen
        finally:
            task.cancel()


def over(states: Sequence[CounterState]) -> int:
    """The most that was settled and reserved together, in nanodollars."""
    return max((state.spent_nano + state.reserved_nano for state in states), default=0)
