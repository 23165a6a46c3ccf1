"""HTTP loads: closed loop (how much), open loop (how long at a given rate), streams held open (what each one costs)."""

import asyncio
import time

from bench.load.http import Connection, Requests
from bench.load.plan import Plan, Result
from bench.load.watch import Peak, Window

_ANSWER_WITHIN_S = 30.0
_STREAM_WITHIN_S = 120.0


async def closed(plan: Plan) -> Result:
    """`clients` connections, each sends the next request as soon as the last is answered."""
    requests = Requests(plan.url, plan.key, plan.model)
    result = Result()
    window = Window(plan)

    async def client() -> None:
        connection: Connection | None = None
        while (began := time.perf_counter()) < window.end_s:
            try:
                if connection is None or not connection.alive:
                    connection = await requests.connect()
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    await connection.send(requests.plain())
            except (OSError, TimeoutError) as error:
                connection = None
                if began >= window.start_s:
                    result.fault(repr(error))
                await asyncio.sleep(0.05)
                continue
            now = time.perf_counter()
            if began < window.start_s or now > window.end_s:
                continue
            if connection.status == 200 and connection.complete:
                result.done += 1
                result.latency_ms.append((now - began) * 1e3)
            else:
                result.fault(f"{connection.status} {connection.head[:120]!r}")
        if connection is not None:
            connection.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(window.read(result), name="load.window")
        for number in range(plan.clients):
            group.create_task(client(), name=f"load.client-{number}")
    return result


async def open_loop(plan: Plan) -> Result:
    """Request i leaves at i / rate whatever became of the others: no answer's delay hides another's.

    Latency counts from the moment the request was written; `late_ms` says how late that was (the loop's timers are
    1 ms coarse, and the generator shares its core).
    """
    requests = Requests(plan.url, plan.key, plan.model)
    result = Result()
    idle: list[Connection] = [await requests.connect() for _ in range(max(4, min(64, int(plan.rate_per_s / 20))))]
    window = Window(plan)
    start_s = window.start_s - plan.warm_s

    async def one(due_s: float) -> None:
        began = time.perf_counter()
        counted = due_s >= window.start_s
        try:
            connection = idle.pop() if idle else await requests.connect()
            while not connection.alive:
                connection = idle.pop() if idle else await requests.connect()
            began = time.perf_counter()
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await connection.send(requests.streamed() if plan.stream else requests.plain(), streamed=plan.stream)
        except (OSError, TimeoutError) as error:
            if counted:
                result.fault(repr(error))
            return
        now = time.perf_counter()
        idle.append(connection)
        if not counted:
            return
        if connection.status != 200 or not connection.complete:
            result.fault(f"{connection.status} {connection.head[:120]!r}")
            return
        result.done += 1
        result.latency_ms.append((now - began) * 1e3)
        result.late_ms.append((began - due_s) * 1e3)
        if connection.first_s is not None:
            result.first_ms.append((connection.first_s - began) * 1e3)

    async with asyncio.TaskGroup() as group:
        group.create_task(window.read(result), name="load.window")
        for number in range(int(plan.rate_per_s * (plan.warm_s + plan.duration_s))):
            due_s = start_s + number / plan.rate_per_s
            wait_s = due_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(one(due_s), name="load.request")
    for connection in idle:
        connection.close()
    return result


async def streams(plan: Plan) -> Result:
    """`clients` streams opened over `ramp_s`, each read to its end."""
    requests = Requests(plan.url, plan.key, plan.model)
    result = Result()

    async def one(number: int) -> None:
        await asyncio.sleep(plan.ramp_s * number / plan.clients)
        began = time.perf_counter()
        try:
            connection = await requests.connect()
            async with asyncio.timeout(_STREAM_WITHIN_S):
                await connection.send(requests.streamed(), streamed=True)
        except (OSError, TimeoutError) as error:
            result.fault(repr(error))
            return
        connection.close()
        if connection.status != 200 or not connection.complete:
            result.fault(f"{connection.status} complete={connection.complete} {connection.head[:120]!r}")
            return
        result.done += 1
        result.latency_ms.append((time.perf_counter() - began) * 1e3)
        if connection.first_s is not None:
            result.first_ms.append((connection.first_s - began) * 1e3)
        result.lag_ms += [lag / 1e6 for lag in connection.lags_ns]

    async with Peak(plan, result), asyncio.TaskGroup() as group:
        for number in range(plan.clients):
            group.create_task(one(number), name=f"load.stream-{number}")
    return result
