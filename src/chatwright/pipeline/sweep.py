"""The sweeper: makes the queue and the books agree with PostgreSQL again, whatever was lost in between.

Any number of processes may run it at once: every step is idempotent. One pass looks at what is due, asks BullMQ which
of it is there, and adds the rest; a wiped Valkey is therefore full again within one period.
"""

import asyncio
from collections.abc import Coroutine
from itertools import groupby
from typing import Any

import structlog

from chatwright.adapters.queue import QueueAdmin
from chatwright.adapters.valkey import translate
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.scope import Scope
from chatwright.features import budgets, conversations, idempotency, jobs
from chatwright.pipeline.alerting import measure_deliveries, tidy_alerts
from chatwright.pipeline.budgeting import begin_periods, measure_budgets
from chatwright.pipeline.enqueue import enqueue_row, job_spec, queue_id
from chatwright.pipeline.guard_log import trim_guard_log
from chatwright.pipeline.provider_keys import watch_keys
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
PERIOD_S = 2.0
DUE_S = 2.0
"""How long a row may stand as queued before the sweeper looks for it in BullMQ: enqueueing follows a commit in ms."""
RECENT_S = 15.0
FULL_EVERY = 4
"""A row that was found in BullMQ is not looked for again in every pass: most passes look at what became due lately, every
fourth one, and the first one after a wipe, at everything. A long backlog is then not read every two seconds."""
PAGE = 500
ABANDON_S = 90.0
"""A killed process's reservations are back within two minutes. A call that does take longer is corrected when it ends."""
_SEEN = "cw:swept"
"""Stands in Valkey once everything was looked for; gone with a wipe."""
_FIRST = "00000000-0000-0000-0000-000000000000"


async def sweep_forever(app: Services, admin: QueueAdmin, *, period_s: float = PERIOD_S) -> None:
    """Sweep until cancelled. A pass that fails is logged; the next one tries again."""
    passes = 0
    while True:
        await _attempt("requeue_lost", requeue_lost(app, everything=passes % FULL_EVERY == 0))
        await _attempt("let_stranded_go", let_stranded_go(app))
        if passes % 5 == 0:
            await _attempt("begin_periods", begin_periods(app))
            await _attempt("measure", measure(app, admin))
            await _attempt("settle_abandoned", settle_abandoned(app))
        if passes % 30 == 0:
            await _attempt("watch_provider_keys", watch_keys(app))
        if passes % 1800 == 0:
            await _attempt("tidy", tidy(app))
            await _attempt("tidy_alerts", tidy_alerts(app))
            await _attempt("trim_guard_log", trim_guard_log(app))
        passes += 1
        await asyncio.sleep(period_s)


async def _attempt(step: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except (ChatwrightError, TimeoutError) as error:
        _log.warning("sweep.failed", step=step, error=str(error))
    except Exception:  # noqa: BLE001 - a full disk, a failover: a worker must not go on without its sweeper
        _log.exception("sweep.failed", step=step)


async def requeue_lost(app: Services, *, everything: bool = True) -> int:
    """Add every job that is due but not in BullMQ; with `everything` False only what became due lately, unless Valkey
    has forgotten us. Returns how many were added."""
    with translate():
        wiped = await app.valkey.get(_SEEN) is None
    within_s = None if everything or wiped else RECENT_S
    added = await _requeue(app, within_s)
    if wiped:
        with translate():
            await app.valkey.set(_SEEN, b"1")
    return added


async def _requeue(app: Services, within_s: float | None) -> int:
    added, after = 0, _FIRST
    while True:
        async with app.db.operator() as db:
            page = await jobs.list_lost(db, after_id=after, older_than_s=DUE_S, limit=PAGE, within_s=within_s)
            weights = await jobs.load_weights(db, list({row.tenant_id for row in page})) if page else {}
        if not page:
            return added
        after = page[-1].id
        ids = {queue_id(row.type, row.id, row.generation): row for row in page}
        present = await app.producer.exists(list(ids))
        missing = [row for name, row in ids.items() if name not in present]
        if missing:
            specs = [
                job_spec(
                    tenant_id=row.tenant_id,
                    job_id=row.id,
                    job_type=row.type,
                    queue=row.queue,
                    priority=row.priority,
                    generation=row.generation,
                    weight=weights.get(row.tenant_id, 1.0),
                )
                for row in missing
            ]
            count = len(await app.producer.add(specs, replace_finished=True))
            added += count
            app.metrics.requeued.labels("missing").inc(count)
            _log.info("sweep.requeued", jobs=count)
        if len(page) < PAGE:
            return added


async def let_stranded_go(app: Services) -> int:
    """Queue waiting messages of conversations in which nothing is under way. Returns how many."""
    async with app.db.operator() as db:
        stranded = await jobs.list_stranded(db, older_than_s=DUE_S)
    freed = 0
    for tenant_id, pairs in groupby(sorted(stranded), key=lambda pair: pair[0]):
        scope = Scope(tenant_id=tenant_id)
        for _, conversation_id in pairs:
            async with app.db.transaction(scope) as db:
                await conversations.lock_conversation(db, scope, conversation_id, last_seq=0)
                row = await conversations.next_waiting(db, scope, conversation_id)
            if row is not None:
                freed += 1
                app.metrics.requeued.labels("stranded").inc()
                await enqueue_row(app, scope, row)
    return freed


async def settle_abandoned(app: Services) -> int:
    """Close ledger rows that a crash left open, at their reservation. Returns how many."""
    async with app.db.operator() as db:
        return await budgets.abandon_open_calls(db, older_than_s=ABANDON_S)


async def measure(app: Services, admin: QueueAdmin) -> None:
    """Bring the gauges up to date."""
    await measure_budgets(app)
    await measure_deliveries(app)
    async with app.db.operator() as db:
        app.metrics.dead_letters.set(await jobs.count_open(db))
    for stats in await admin.stats():
        app.metrics.queue_depth.labels(stats.name, "all").set(stats.waiting)
        for priority in range(1, 11):
            app.metrics.queue_depth.labels(stats.name, str(priority)).set(stats.by_priority.get(priority, 0))


async def tidy(app: Services) -> None:
    """Delete what has served its time: idempotency keys and finished single jobs."""
    async with app.db.operator() as db:
        await idempotency.purge(db, hours=app.settings.idempotency_hours)
        await jobs.trim_finished(db, hours=7 * 24)
