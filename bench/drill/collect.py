"""Reads the evidence: rows as superuser (row-level security does not bind it), the simulator's log file, Valkey's keys."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import redis.asyncio

from bench.drill.evidence import JOB_OPEN, TERMINAL, AnswerRow, CallRow, MessageRow, SimulatedCall
from bench.product import Product
from bench.simulator import read_log_file

QUEUES = ("ai-high-priority", "ai-standard", "ai-batch")
_LISTS = ("wait", "active", "paused")
_SETS = ("prioritized", "delayed", "waiting-children")

MESSAGES = "SELECT id::text, tenant_id::text, text, state, finished_at IS NOT NULL AS finished FROM messages"
ANSWERS = "SELECT id::text, message_id::text, text, partial FROM answers"
CALLS = "SELECT id::text, message_id::text, state FROM calls WHERE kind = 'call' AND provider = 'openai'"
OPEN_MESSAGES = "SELECT count(*) FROM messages WHERE NOT state = ANY($1::text[])"
OPEN_JOBS = "SELECT count(*) FROM jobs WHERE state = ANY($1::text[])"


@asynccontextmanager
async def superuser(product: Product) -> AsyncGenerator[asyncpg.Connection]:
    """A connection past row-level security. Raises OSError, asyncpg.PostgresError while PostgreSQL is away."""
    connection = await asyncpg.connect(product.superuser_database_url, timeout=5, command_timeout=15)
    try:
        yield connection
    finally:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
            await connection.close(timeout=5)


async def wait_terminal(product: Product, *, since_s: float, limit_s: float) -> float | None:
    """Wait until no message and no job is open. Returns seconds since `since_s` (time.monotonic), None if never."""
    while (waited_s := time.monotonic() - since_s) < limit_s:
        with contextlib.suppress(OSError, TimeoutError, RuntimeError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with superuser(product) as db:
                if not await db.fetchval(OPEN_MESSAGES, sorted(TERMINAL)):
                    return waited_s
        await asyncio.sleep(0.25)
    return None


async def wait_queue_empty(product: Product, *, limit_s: float) -> dict[str, int]:
    """What the queue's own structures still hold after at most `limit_s` seconds, by queue."""
    give_up_s = time.monotonic() + limit_s
    while True:
        left = await queue_left(product)
        if not any(left.values()) or time.monotonic() > give_up_s:
            return left
        await asyncio.sleep(0.25)


async def queue_left(product: Product) -> dict[str, int]:
    """Jobs in BullMQ's lists and sets that are not finished."""
    client = redis.asyncio.from_url(product.redis_url, socket_timeout=5)
    try:
        left: dict[str, int] = {}
        for queue in QUEUES:
            pipeline = client.pipeline(transaction=False)
            for name in _LISTS:
                pipeline.llen(f"bull:{queue}:{name}")
            for name in _SETS:
                pipeline.zcard(f"bull:{queue}:{name}")
            left[queue] = sum(await pipeline.execute())
        return left
    finally:
        await client.aclose()


async def read_rows(product: Product) -> tuple[list[MessageRow], list[AnswerRow], list[CallRow], int]:
    """Messages, answers, calls to the simulated provider, and the number of open jobs."""
    async with superuser(product) as db:
        return (
            [MessageRow(**row) for row in await db.fetch(MESSAGES)],
            [AnswerRow(**row) for row in await db.fetch(ANSWERS)],
            [CallRow(**row) for row in await db.fetch(CALLS)],
            int(await db.fetchval(OPEN_JOBS, sorted(JOB_OPEN)) or 0),
        )


def read_simulated(log_file: Path) -> list[SimulatedCall]:
    """Every call that reached the simulator."""
    return [SimulatedCall(n=call.n, call_id=call.call_id, head=call.head) for call in read_log_file(log_file)]
