"""Large knowledge bases get an index over their vectors, made while they are in use; what became of no use goes.

A task of every worker. One of them works at a time, held together by an advisory lock; whatever is cut short is found
and done again, by this worker or another one.
"""

import asyncio
import time
from dataclasses import dataclass

import structlog

from chatwright.adapters.postgres import Connection, InsufficientResources
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.ids import KnowledgeBaseId
from chatwright.features import knowledge
from chatwright.features.knowledge import Size
from chatwright.pipeline.services import Services

PERIOD_S = 60.0
DROPS_PER_PASS = 100
DROP_WITHIN_S = 1800.0
LEAST_MEMORY_MIB = 16
MEND = (
    "large knowledge bases are searched slowly: the user in DATABASE_URL does not own the tables, so it cannot make their "
    "indexes; run one worker as the user that runs `chatwright migrate`"
)
_LOCK = 0x6368_6174_6E65_6172  # "chatnear"

_log = structlog.get_logger(__name__)

TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
USE_MEMORY = "SELECT set_config('maintenance_work_mem', $1, false)"
USE_WORKERS = "SELECT set_config('max_parallel_maintenance_workers', $1, false)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tended:
    """What one pass did. `busy`: another process is at it. `refused`: the database's user does not own the tables."""

    made: int = 0
    dropped: int = 0
    busy: bool = False
    refused: bool = False


async def tend_indexes_forever(app: Services, *, period_s: float = PERIOD_S) -> None:
    """Tend until cancelled. A pass that fails is logged; the next one tries again."""
    told = False
    while True:
        await asyncio.sleep(period_s)
        try:
            refused = await is_due(app) and (await tend_indexes(app)).refused
            if refused and not told:
                _log.warning("knowledge.indexes_refused", mend=MEND)
            told = refused
        except (ChatwrightError, TimeoutError) as error:
            _log.warning("knowledge.indexes_failed", error=str(error))
        except Exception:  # noqa: BLE001 - a full disk, for one: the worker goes on, and searches go on without the index
            _log.exception("knowledge.indexes_failed")


async def is_due(app: Services, *, bound: int = knowledge.LARGE_FROM) -> bool:
    """Whether there is something to do: two statements on a connection of the pool. Brings the gauge up to date."""
    async with app.db.operator() as db:
        indexes = await knowledge.list_indexes(db)
        sizes = await knowledge.list_sizes(db, indexes, bound=bound)
    plan = knowledge.plan(sizes, indexes, bound=bound)
    app.metrics.knowledge_indexes.labels("ready").set(len(indexes) - len(plan.drop))
    app.metrics.knowledge_indexes.labels("missing").set(len(plan.make))
    return bool(plan.drop or plan.make)


async def tend_indexes(app: Services, *, bound: int = knowledge.LARGE_FROM, memory_mib: int | None = None) -> Tended:
    """Drop what is of no use, then make what is missing, the largest base first. Minutes for a million chunks.

    Raises Unavailable if the server goes away.
    """
    memory_mib = app.settings.index_memory_mib if memory_mib is None else memory_mib
    async with app.db.maintenance() as db:
        if not await db.fetchval(TRY_LOCK, _LOCK):
            return Tended(busy=True)
        if not await knowledge.may_index(db):
            return Tended(refused=True)
        # Looked at under the lock: an index that is not valid now is one that nobody is making.
        indexes = await knowledge.list_indexes(db)
        async with app.db.operator() as operator:
            sizes = await knowledge.list_sizes(operator, indexes, bound=bound)
        plan = knowledge.plan(sizes, indexes, bound=bound)
        for name in plan.drop[:DROPS_PER_PASS]:
            await knowledge.drop_index(db, name)
            _log.info("knowledge.index_dropped", index=name)
        for size in plan.make:
            await _make(db, size, memory_mib)
        return Tended(made=len(plan.make), dropped=min(len(plan.drop), DROPS_PER_PASS))


async def drop_before_swap(app: Services, knowledge_base_id: KnowledgeBaseId) -> None:
    """Drop a base's index before all its vectors are exchanged: the exchange would write each into it, one by one.

    The next pass after it makes a new one. Waits for an index that is being made. Raises Unavailable if the server goes
    away or this takes too long.
    """
    async with app.db.operator() as db:
        names = [index.name for index in await knowledge.list_indexes(db) if index.base_id == knowledge_base_id]
    if not names:
        return
    async with app.db.maintenance() as db, asyncio.timeout(DROP_WITHIN_S):
        if await knowledge.may_index(db):
            for name in names:
                await knowledge.drop_index(db, name)
                _log.info("knowledge.index_dropped", index=name)


async def _make(db: Connection, size: Size, memory_mib: int) -> None:
    needed_mib = size.graph_bytes // 2**20 + 1
    used_mib = max(LEAST_MEMORY_MIB, min(memory_mib, needed_mib))
    await db.fetchval(USE_MEMORY, f"{used_mib}MB")
    began_s = time.monotonic()
    try:
        await knowledge.make_index(db, size)
    except InsufficientResources:
        # Several processes share the graph in /dev/shm, which containers keep small; one keeps it to itself.
        await knowledge.drop_index(db, size.index_name)
        await db.fetchval(USE_WORKERS, "0")
        await knowledge.make_index(db, size)
    _log.info(
        "knowledge.index_made",
        knowledge_base_id=size.id,
        chunks=size.chunk_count,
        took_s=round(time.monotonic() - began_s, 1),
        memory_mib=used_mib,
        fits=used_mib >= needed_mib,
    )
