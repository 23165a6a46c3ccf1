"""Looks at queues and pauses them, in BullMQ's own terms, so that its dashboards agree. Called by the CLI and metrics."""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from chatwright.adapters.queue.connection import TRANSIENT, raise_if_cancelled
from chatwright.adapters.queue.names import QUEUES, QueueName, priority_of
from chatwright.adapters.queue.scripts import Argument, Script, base_key, load, run_all, stock
from chatwright.domain.errors import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """Counts of one queue. `waiting` includes jobs set aside because their tenant is at its cap (`capped`).

    `by_priority` has the public priorities of waiting jobs that have one. `oldest_waiting_s` is None if none waits;
    it is looked for among the first jobs of each priority.
    """

    name: QueueName
    paused: bool
    waiting: int
    capped: int
    active: int
    delayed: int
    completed: int
    failed: int
    by_priority: dict[int, int]
    oldest_waiting_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueActivity:
    """Jobs of one queue, and for how long nothing has happened to any: inf where nothing ever did."""

    running: int
    waiting: int
    idle_s: float


class QueueAdmin:
    """`client` is a shared redis-py client that returns bytes. Every call raises Unavailable after `timeout_s`."""

    def __init__(self, client: Redis, *, prefix: str = "bull", timeout_s: float = 2.0) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._base = {name: base_key(prefix, name) for name in QUEUES}

    async def stats(self) -> list[QueueStats]:
        """Counts of all queues, in one round trip."""
        script = load("stats")
        replies = await self._run([(script, (base,), ()) for base in self._base.values()])
        return [_stats(name, reply) for name, reply in zip(self._base, replies, strict=True)]

    async def activity(self) -> dict[QueueName, QueueActivity]:
        """What goes on in all queues, in one round trip that costs less than `stats`."""
        script = load("activity")
        replies = await self._run([(script, (base,), ()) for base in self._base.values()])
        return {
            name: QueueActivity(
                running=running, waiting=waiting, idle_s=math.inf if idle_ms < 0 else max(0, idle_ms) / 1000
            )
            for name, (running, waiting, idle_ms) in zip(self._base, replies, strict=True)
        }

    async def pause(self, name: QueueName) -> None:
        """No worker starts another job of this queue; running jobs end."""
        await self._switch(name, "wait", "paused", "paused")

    async def resume(self, name: QueueName) -> None:
        await self._switch(name, "paused", "wait", "resumed")

    async def _switch(self, name: QueueName, source: str, target: str, word: str) -> None:
        base = self._base[name]
        keys = tuple(base + key for key in (source, target, "meta", "prioritized", "events", "delayed", "marker"))
        await self._run([(stock("pause"), keys, (word, "1"))])

    async def _run(self, calls: list[tuple[Script, tuple[str, ...], tuple[Argument, ...]]]) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await run_all(self._client, calls)
        except TRANSIENT as error:
            raise_if_cancelled()
            raise Unavailable(f"the job queue does not answer: {type(error).__name__}") from error


def _stats(name: QueueName, reply: list[Any]) -> QueueStats:
    paused, wait, prioritized, parked, active, delayed, completed, failed, oldest, levels = reply
    by_priority: dict[int, int] = {}
    for level, count in zip(levels[::2], levels[1::2], strict=True):
        by_priority[priority_of(level)] = by_priority.get(priority_of(level), 0) + count
    return QueueStats(
        name=name,
        paused=bool(paused),
        waiting=wait + prioritized + parked,
        capped=parked,
        active=active,
        delayed=max(0, delayed - parked),
        completed=completed,
        failed=failed,
        by_priority=by_priority,
        oldest_waiting_s=max(0.0, time.time() - int(oldest) / 1000) if int(oldest) else None,
    )
