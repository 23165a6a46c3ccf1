"""The job queue alone: our worker loop beside the stock Python BullMQ worker, same Valkey, same run, one process.

Called by the bench suite; `python -m bench.queue_bench redis://…` runs it by itself. Jobs do nothing, so the figures
are the queue's own cost. Uses the prefixes `cwbench:own` and `cwbench:stock` and removes their keys afterwards.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import bullmq
from redis.asyncio import Redis

from chatwright.adapters.queue import Consumer, Done, JobSpec, Outcome, Producer, QueueAdmin, QueuedJob, QueueName

CONCURRENCY = 32
LATENCY_JOBS = 300
# Few slots and slow jobs, so that 1,000 jobs of A outlast B's: behind a backlog that runs out B would wait for nobody,
# and the two runs could not be compared.
FAIR_CONCURRENCY, FAIR_JOB_S, FAIR_JOBS, FAIR_GAP_S = 8, 0.02, 100, 0.012
_OWN, _STOCK = "cwbench:own", "cwbench:stock"

Handle = Callable[[str, dict[str, Any]], Awaitable[None]]


async def run(valkey_url: str, *, jobs: int = 20_000) -> dict[str, float]:
    """Measure and print; returns the figures by name. `jobs` is the length of the throughput runs."""
    client = Redis.from_url(valkey_url, protocol=2)
    figures: dict[str, float] = {}
    try:
        for side in (_Own(client, valkey_url), _Stock(valkey_url)):
            await _wipe(client)
            figures |= await _throughput(side, client, jobs if isinstance(side, _Own) else max(1000, jobs // 4))
            await _wipe(client)
            figures |= await _latency(side)
        for backlog in (1_000, 10_000):
            await _wipe(client)
            figures |= await _fairness(_Own(client, valkey_url), backlog)
    finally:
        await _wipe(client)
        await client.aclose()
    figures["own_over_stock_throughput"] = figures["own_jobs_per_s"] / figures["stock_jobs_per_s"]
    for name, value in figures.items():
        print(f"{name:40} {value:12.2f}")
    return figures


class _Own:
    name = "own"

    def __init__(self, client: Redis, url: str) -> None:
        self._client = client
        self._producer = Producer(client, prefix=_OWN, timeout_s=60)
        self._url = url
        self._count = 0
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def add(self, datas: list[dict[str, Any]], tenant: str = "a") -> None:
        self._count += len(datas)
        await self._producer.add(
            [
                JobSpec(
                    job_id=f"chat_response-{self._count - number}-0",
                    type="chat_response",
                    queue=QueueName.STANDARD,
                    priority=5,
                    tenant_id=tenant,
                    data=data,
                )
                for number, data in enumerate(datas)
            ]
        )

    async def waiting(self) -> int:
        stats = await QueueAdmin(self._client, prefix=_OWN, timeout_s=10).stats()
        return sum(each.waiting for each in stats)

    async def start(self, handle: Handle, concurrency: int = CONCURRENCY) -> None:
        async def run_one(job: QueuedJob) -> Outcome:
            await handle(job.tenant_id, job.data)
            return Done()

        self._consumer = Consumer(
            url=self._url,
            concurrency=concurrency,
            high_priority_reserve=0,
            tenant_in_flight_cap=concurrency,
            prefix=_OWN,
        )
        self._task = asyncio.create_task(self._consumer.run(run_one), name="bench-own-worker")

    async def stop(self) -> None:
        assert self._consumer is not None
        assert self._task is not None
        await self._consumer.stop(grace_s=5)
        await self._task


class _Stock:
    name = "stock"

    def __init__(self, url: str) -> None:
        self._url = url
        self._worker: Any = None
        self.options: Any = {"connection": url, "prefix": _STOCK}

    async def add(self, datas: list[dict[str, Any]], tenant: str = "a") -> None:
        queue: Any = bullmq.Queue("ai-standard", self.options)
        options = {"removeOnComplete": 1000, "priority": 5}
        for start in range(0, len(datas), 500):
            part = [
                {"name": "chat_response", "data": {**data, "tenant_id": tenant}, "opts": options}
                for data in datas[start : start + 500]
            ]
            await queue.addBulk(part)
        await queue.close()

    async def start(self, handle: Handle) -> None:
        async def run_one(job: Any, _token: str) -> None:
            await handle(str(job.data["tenant_id"]), job.data)

        options: Any = {**self.options, "concurrency": CONCURRENCY}
        processor: Any = run_one  # bullmq declares a future where it awaits a coroutine
        self._worker = bullmq.Worker("ai-standard", processor, options)

    async def stop(self) -> None:
        await self._worker.close()


async def _valkey_cpu_s(client: Redis) -> float:
    facts: dict[str, Any] = await client.info("cpu")
    return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])


async def _throughput(side: "_Own | _Stock", client: Redis, jobs: int) -> dict[str, float]:
    done, finished = 0, asyncio.Event()

    async def handle(_tenant: str, _data: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        if done == jobs:
            finished.set()

    start = time.perf_counter()
    await side.add([{"n": number} for number in range(jobs)])
    added_s = time.perf_counter() - start
    start, cpu, valkey_cpu = time.perf_counter(), time.process_time(), await _valkey_cpu_s(client)
    await side.start(handle)
    async with asyncio.timeout(120):
        await finished.wait()
    took_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    valkey_cpu_s = await _valkey_cpu_s(client) - valkey_cpu
    await side.stop()
    return {
        f"{side.name}_added_per_s": jobs / added_s,
        f"{side.name}_jobs_per_s": jobs / took_s,
        f"{side.name}_cpu_us_per_job": cpu_s / jobs * 1e6,
        f"{side.name}_valkey_cpu_us_per_job": valkey_cpu_s / jobs * 1e6,
    }


async def _latency(side: "_Own | _Stock") -> dict[str, float]:
    waits: list[float] = []

    async def handle(_tenant: str, data: dict[str, Any]) -> None:
        waits.append(time.perf_counter() - data["at"])

    await side.start(handle)
    await asyncio.sleep(0.3)
    if isinstance(side, _Stock):  # one queue object for all adds: opening one is not what is measured
        queue: Any = bullmq.Queue("ai-standard", side.options)
    else:
        queue = None
    for number in range(LATENCY_JOBS):
        data = {"at": time.perf_counter()}
        if queue is None:
            await side.add([data])
        else:
            await queue.add("chat_response", {**data, "tenant_id": "a"}, {"priority": 5, "jobId": f"j{number}"})
        await asyncio.sleep(0.004)
    async with asyncio.timeout(30):
        while len(waits) < LATENCY_JOBS:
            await asyncio.sleep(0.01)
    if queue is not None:
        await queue.close()
    await side.stop()
    waits.sort()
    return {
        f"{side.name}_enqueue_to_start_p50_ms": waits[len(waits) // 2] * 1000,
        f"{side.name}_enqueue_to_start_p99_ms": waits[int(len(waits) * 0.99)] * 1000,
    }


async def _fairness(side: _Own, backlog: int) -> dict[str, float]:
    waits: list[float] = []

    async def handle(tenant: str, data: dict[str, Any]) -> None:
        if tenant == "b":
            waits.append(time.perf_counter() - data["at"])
        await asyncio.sleep(FAIR_JOB_S)

    await side.add([{} for _ in range(backlog)])
    await side.start(handle, FAIR_CONCURRENCY)
    await asyncio.sleep(0.1)
    for _ in range(FAIR_JOBS):
        await side.add([{"at": time.perf_counter()}], tenant="b")
        await asyncio.sleep(FAIR_GAP_S)
    left = await side.waiting()
    async with asyncio.timeout(30):
        while len(waits) < FAIR_JOBS:
            await asyncio.sleep(0.01)
    await side.stop()
    if left < 100:
        raise RuntimeError(f"A's backlog of {backlog} ran out while B was measured: {left} left")
    waits.sort()
    return {
        f"tenant_b_wait_p50_ms_behind_{backlog}": waits[FAIR_JOBS // 2] * 1000,
        f"tenant_b_wait_p99_ms_behind_{backlog}": waits[int(FAIR_JOBS * 0.99) - 1] * 1000,
    }


async def _wipe(client: Redis) -> None:
    for prefix in (_OWN, _STOCK):
        keys = [key async for key in client.scan_iter(f"{prefix}:*", count=1000)]
        for start in range(0, len(keys), 1000):
            await client.unlink(*keys[start : start + 1000])


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
