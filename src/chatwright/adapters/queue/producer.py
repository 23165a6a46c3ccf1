"""Adds jobs to the queues, asks which ones are still held, and takes queued ones out.

Called by accept flows after their commit and by the sweeper. One round trip a call; each call ends within the
time-out. A job carries ids only: the worker loads the rest from PostgreSQL as it is then.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from redis.asyncio import Redis

from chatwright.adapters.queue.connection import TRANSIENT, raise_if_cancelled
from chatwright.adapters.queue.fairness import cost_of
from chatwright.adapters.queue.names import QUEUES, QueueName, QueueSpec, level_of, parse_job_id, queues_of
from chatwright.adapters.queue.scripts import Call, base_key, load, pack, run_all
from chatwright.domain.errors import Unavailable

_PER_CALL = 100  # jobs one script call adds: 100 take about 4 ms, during which Valkey serves nobody else
_Item = TypeVar("_Item")
_LIVE = frozenset({"prioritized", "delayed", "active", "waiting", "waiting-children"})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job to add. `priority` is public (10 most urgent); `weight` is the tenant's share by plan.

    `data` is a small JSON object of ids; the tenant id is put into it. `timestamp_s` is Unix time.
    """

    job_id: str
    type: str
    queue: QueueName
    priority: int
    tenant_id: str
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    weight: float = 1.0
    delay_s: float = 0.0
    timestamp_s: float = field(default_factory=time.time)


class Producer:
    """`client` is a shared redis-py client that returns bytes."""

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str = "bull",
        timeout_s: float = 1.0,
        queues: dict[QueueName, QueueSpec] = QUEUES,
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._base = {name: base_key(prefix, name) for name in queues}
        self._options = {name: _options(spec) for name, spec in queues.items()}

    async def add(self, jobs: Sequence[JobSpec], *, replace_finished: bool = False) -> list[str]:
        """Add jobs; returns the ids that were really added, in order. An id that BullMQ still holds is left alone.

        With `replace_finished` (the sweeper) an id whose earlier run is only kept as completed or failed runs again.
        Raises Unavailable when Valkey does not answer in time; some jobs may have been added then, which adding them
        again does not double. Raises ValueError for a priority outside 1..10.
        """
        groups: dict[QueueName, list[JobSpec]] = {}
        for job in jobs:
            groups.setdefault(job.queue, []).append(job)
        calls: list[Call] = []
        order: list[str] = []
        script = load("add")
        for name, group in groups.items():
            for part in _parts(group, _PER_CALL):
                request = {"j": [_wire(job) for job in part], "o": self._options[name], "r": replace_finished}
                calls.append((script, (self._base[name],), (pack(request),)))
                order.extend(job.job_id for job in part)
        if not calls:
            return []
        replies = await self._run(calls)
        codes = [code for reply in replies for code in reply]
        return [job_id for job_id, code in zip(order, codes, strict=True) if code == 1]

    async def states(self, job_ids: Sequence[str]) -> dict[str, str]:
        """BullMQ's state of each id: prioritized, waiting, active, delayed, completed, failed … or "missing".

        If an id is found in two queues, the live one counts. Raises Unavailable.
        """
        if not job_ids:
            return {}
        asked: dict[QueueName, list[str]] = {}
        for job_id in job_ids:
            for name in self._candidates(job_id):
                asked.setdefault(name, []).append(job_id)
        script = load("states")
        parts = [(name, part) for name, ids in asked.items() for part in _parts(ids, 500)]
        replies = await self._run([(script, (self._base[name],), part) for name, part in parts])
        found: dict[str, str] = dict.fromkeys(job_ids, "missing")
        for (_, part), reply in zip(parts, replies, strict=True):
            for job_id, raw in zip(part, reply, strict=True):
                state = raw.decode()
                if state in _LIVE or found[job_id] == "missing":
                    found[job_id] = state
        return found

    async def exists(self, job_ids: Sequence[str]) -> set[str]:
        """The ids that are still to be run or running; finished and unknown ones are left out. Raises Unavailable."""
        return {job_id for job_id, state in (await self.states(job_ids)).items() if state in _LIVE}

    async def remove(self, job_id: str) -> bool:
        """Take a job out while it is queued. False if it is running, finished or unknown. Raises Unavailable."""
        script = load("remove")
        calls: list[Call] = [(script, (self._base[name],), (job_id,)) for name in self._candidates(job_id)]
        return any(code == 1 for code in await self._run(calls))

    def _candidates(self, job_id: str) -> tuple[QueueName, ...]:
        key = parse_job_id(job_id)
        return queues_of(key.type) if key else tuple(self._base)

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await run_all(self._client, calls)
        except TRANSIENT as error:
            raise_if_cancelled()
            raise Unavailable(f"the job queue does not answer: {type(error).__name__}") from error


def _wire(job: JobSpec) -> list[Any]:
    data = msgspec.json.encode({**job.data, "tenant_id": job.tenant_id}).decode()
    return [
        job.job_id,
        job.type,
        data,
        level_of(job.priority),
        job.tenant_id,
        cost_of(job.weight),
        int(job.timestamp_s * 1000),
        max(0, round(job.delay_s * 1000)),
    ]


def _options(spec: QueueSpec) -> dict[str, Any]:
    # what a BullMQ worker in another language needs to treat our jobs as ours does
    return {
        "attempts": spec.attempts,
        "backoff": {"type": "exponential", "delay": int(spec.backoff_s * 1000)},
        "removeOnComplete": spec.keep_completed,
        "removeOnFail": spec.keep_failed,
    }


def _parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
