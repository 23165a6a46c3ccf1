"""A million times $0.0000015 through the ledger itself: the sums are exact."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from bench.drill.collect import superuser
from bench.drill.evidence import Violation
from bench.drill.money.counters import counters
from bench.drill.money.evidence import Part
from bench.drill.money.fleet import Fleet
from bench.product import Product
from chatwright.adapters.postgres import open_database
from chatwright.app.embedded import find_running
from chatwright.domain.ids import CallId, TenantId, new_id
from chatwright.domain.providers import Usage
from chatwright.features.budgets import CallEnd, CallStart, Ledger, open_ledger

EACH_NANO = 1_500
_GROUP = 2_000
_FLUSH_WITHIN_S = 60.0
_SUM = """
SELECT count(*) AS calls, coalesce(sum(cost_nano), 0)::bigint AS cost_nano, count(*) FILTER (WHERE state = 'ok') AS ok
  FROM calls WHERE tenant_id = $1
"""


async def run_pennies(fleet: Fleet, *, count: int, tell: Callable[[str], None]) -> Part:
    """`count` calls, opened and closed in groups."""
    began_s = time.monotonic()
    tenant = await fleet.make_tenant("pennies")
    total_nano = count * EACH_NANO
    await fleet.put_budget(tenant, limit_nano=total_nano, period="total")
    groups = [min(_GROUP, count - at) for at in range(0, count, _GROUP)]
    done = 0
    async with open_database(_database_url(fleet.product), max_connections=4) as db, open_ledger(db) as ledger:
        for size in groups:
            calls = [_call(TenantId(tenant.id)) for _ in range(size)]
            await asyncio.gather(*(ledger.open(call) for call in calls))
            for call in calls:
                ledger.close(
                    CallEnd(
                        id=call.id,
                        state="ok",
                        provider=call.provider,
                        model=call.model,
                        usage=Usage(input_tokens=1),
                        cost_nano=EACH_NANO,
                        price_book="drill",
                    )
                )
            # While these are closed the next ones are opened; the ledger keeps a bounded number of ends.
            done += size
            if done % 50_000 == 0:
                await _drained(ledger)
                tell(f"{done:,} of {count:,} calls")
        await _drained(ledger)
    async with superuser(fleet.product) as db:
        summed = await db.fetchrow(_SUM, tenant.id, timeout=60)
    assert summed is not None
    states = await counters(fleet.product, tenant.id)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    report = await fleet.rest.call("GET", "/api/v1/usage?group_by=day", tenant.key, timeout_s=60)
    reported = int(report["total"]["cost_nano"])
    violations = _judge(count, dict(summed), [(state.spent_nano, state.reserved_nano) for state in states], reported)
    return Part(
        name=f"{count:,} x $0.0000015",
        seed=0,
        violations=violations,
        figures={
            "ledger": f"${summed['cost_nano'] / 1e9:.9f}",
            "counter": [state.spent_nano for state in states],
            "usage report": reported,
            "day": day,
        },
        took_s=time.monotonic() - began_s,
    )


def _judge(count: int, summed: dict[str, int], states: Sequence[tuple[int, int]], reported: int) -> list[Violation]:
    total_nano = count * EACH_NANO
    found: list[Violation] = []

    def fault(rule: str, where: str) -> None:
        found.append(Violation(rule=rule, count=1, examples=[where]))

    if (summed["calls"], summed["ok"], summed["cost_nano"]) != (count, count, total_nano):
        fault("the ledger's sum is not exact", str(summed))
    if list(states) != [(total_nano, 0)]:
        fault("the budget's sum is not exact", str(states))
    if reported != total_nano:
        fault("the usage report's sum is not exact", str(reported))
    return found


def _call(tenant_id: TenantId) -> CallStart:
    return CallStart(
        id=CallId(new_id()), tenant_id=tenant_id, provider="openai", model="penny", reserved_nano=EACH_NANO
    )


async def _drained(ledger: Ledger) -> None:
    if not await ledger.flush(timeout_s=_FLUSH_WITHIN_S):
        raise RuntimeError("the ledger did not write in time")


def _database_url(product: Product) -> str:
    running = find_running(product.data_dir)
    if running is None:
        raise RuntimeError(f"no servers run on {product.data_dir}")
    return running.database_url
