"""Tenant B's wait while tenant A has 1,000 or 10,000 jobs in the product's own queue."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

import aiohttp

from bench.drill.collect import queue_left, superuser
from bench.drill.measured import Check
from bench.machine import percentile
from bench.product import Product, Rest, Tenant
from bench.provider import Provider

_BACKLOGS = (1_000, 10_000)
_JOB_MS = 100.0
_SAMPLES = 200
_AT_ONCE = 8  # so that the smaller backlog still stands when B's last message comes
_CHATBOT = "fair"

# The backlog is written as rows, as `accept` writes them: over REST 10,000 messages would take longer than the check.
# One message in a conversation of its own each, so that order within a conversation holds nobody up. The sweeper finds
# the rows and puts them into the queue, which is a path of the product, too.
_CONVERSATIONS = """
INSERT INTO conversations (id, tenant_id, chatbot_id, visitor_id, next_ordinal)
SELECT id, $2, $3, id::text, 2 FROM unnest($1::uuid[]) AS id
"""
_MESSAGES = """
INSERT INTO messages (id, tenant_id, chatbot_id, conversation_id, ordinal, text)
SELECT id, $3, $4, conversation, 1, 'backlog ' || id FROM unnest($1::uuid[], $2::uuid[]) AS u (id, conversation)
"""
_JOBS = """
INSERT INTO jobs (id, tenant_id, chatbot_id, type, queue, priority, state, message_id, conversation_id, run_after)
SELECT id, $4, $5, 'chat_response', 'ai-standard', 5, 'queued', message, conversation, now() - interval '1 minute'
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS u (id, message, conversation)
"""
_WAITS = """
SELECT extract(epoch FROM j.started_at - j.created_at)::float8 * 1000 AS wait_ms FROM jobs j
 WHERE j.message_id = ANY($1::uuid[]) AND j.started_at IS NOT NULL
"""
_QUEUED = "SELECT count(*) FROM jobs WHERE tenant_id = $1 AND state = 'queued'"
# What is left of the backlog has done its duty. Job rows are locked first, as a worker does that takes one up.
_DROP = """
DELETE FROM messages WHERE tenant_id = $1 AND id IN
    (SELECT message_id FROM jobs WHERE tenant_id = $1 AND state = 'queued' FOR UPDATE SKIP LOCKED)
"""


async def check_fairness(
    product: Product, provider: Provider, session: aiohttp.ClientSession, rest: Rest
) -> list[Check]:
    """B sends one message after the other, in new conversations, at the same priority as A's backlog."""
    await provider.control(echo=1, latency=_JOB_MS)
    p99: dict[int, float] = {}
    backlog_left: dict[int, int] = {}
    for backlog in _BACKLOGS:
        a, b = await rest.make_tenant(f"A {backlog}"), await rest.make_tenant(f"B {backlog}")
        bot = await rest.make_chatbot(a, _CHATBOT)
        await rest.make_chatbot(b, _CHATBOT)
        await _fill(product, a, bot["id"], backlog)
        await _wait_for_queue(product, at_least=int(backlog * 0.8))
        limit = asyncio.Semaphore(_AT_ONCE)
        ids = await asyncio.gather(*(_say(product, session, b, number, limit) for number in range(_SAMPLES)))
        async with superuser(product) as db:
            backlog_left[backlog] = int(await db.fetchval(_QUEUED, a.id) or 0)
        p99[backlog] = percentile(await _waits(product, ids), 0.99)
        async with superuser(product) as db:
            await db.execute(_DROP, a.id, timeout=60)
    small, large = (p99[backlog] for backlog in _BACKLOGS)
    within = 5 * _JOB_MS + 10
    if any(left < backlog * 0.25 for backlog, left in backlog_left.items()):
        small = large = float("nan")  # B did not wait behind anything for most of the time
    note = f"A's jobs left after B's last: {backlog_left[1_000]:,} and {backlog_left[10_000]:,}"
    return [
        Check(name="B's wait p99 behind 1,000 jobs of A", value=small, unit="ms", limit=within, samples=_SAMPLES, note=note),
        Check(name="B's wait p99 behind 10,000 jobs of A", value=large, unit="ms", limit=within, samples=_SAMPLES, note=note),
        # Below that the ratio is noise of the machine: 10 ms is the least that the smaller one counts as.
        Check(name="ratio of the two (10 ms counts as least)", value=large / max(small, 10.0), unit="×", limit=2, samples=_SAMPLES),
    ]  # fmt: skip


async def _fill(product: Product, tenant: Tenant, chatbot_id: str, count: int) -> None:
    conversations, messages, jobs = ([str(uuid.uuid4()) for _ in range(count)] for _ in range(3))
    async with superuser(product) as db, db.transaction():
        await db.execute(_CONVERSATIONS, conversations, tenant.id, chatbot_id)
        await db.execute(_MESSAGES, messages, conversations, tenant.id, chatbot_id)
        await db.execute(_JOBS, jobs, messages, conversations, tenant.id, chatbot_id)


async def _wait_for_queue(product: Product, *, at_least: int) -> None:
    """Until the sweeper has put the backlog into BullMQ. Raises RuntimeError after 40 s."""
    give_up_s = time.monotonic() + 40
    while time.monotonic() < give_up_s:
        if sum((await queue_left(product)).values()) >= at_least:
            return
        await asyncio.sleep(0.2)
    raise RuntimeError(f"the backlog of A did not reach the queue: {await queue_left(product)}")


async def _say(
    product: Product, session: aiohttp.ClientSession, tenant: Tenant, number: int, limit: asyncio.Semaphore
) -> str:
    headers = {"authorization": f"Bearer {tenant.key}"}

    async def post(path: str, body: dict[str, Any]) -> Any:
        async with session.post(product.base_url + path, json=body, headers=headers) as response:
            if response.status >= 300:
                raise RuntimeError(f"POST {path}: {response.status} {(await response.text())[:200]}")
            return await response.json()

    async with limit:
        opened = await post("/api/v1/conversations", {"chatbot": _CHATBOT})
        path = f"/api/v1/conversations/{opened['id']}/messages?wait=true"
        return (await post(path, {"text": f"from B {number}", "priority": 5}))["message_id"]


async def _waits(product: Product, message_ids: Sequence[str]) -> list[float]:
    async with superuser(product) as db:
        waits = [row["wait_ms"] for row in await db.fetch(_WAITS, list(message_ids))]
    if len(waits) != len(message_ids):
        raise RuntimeError(f"{len(message_ids) - len(waits)} of B's messages were never started")
    return waits
