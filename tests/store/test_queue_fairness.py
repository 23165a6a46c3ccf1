"""Turns between tenants: the Lua that takes them, and what a worker makes of them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from chatwright.adapters.queue import Done, Outcome, Producer, QueueAdmin, QueuedJob, QueueName, RetryLater
from chatwright.adapters.queue.fairness import AHEAD, REBASE_AT, SPAN, cost_of
from chatwright.adapters.queue.scripts import load, pack
from tests.store.queue_support import bytes_client, consumer, job, serving, until

BASE = "bull:ai-standard:"
LOW = 5 * SPAN + 1  # number of the first turn of priority 5
TWO32 = 1 << 32


@pytest.fixture
async def client(valkey_url: str) -> AsyncGenerator[Redis]:
    async with bytes_client(valkey_url) as client:
        yield client


@pytest.fixture
def producer(client: Redis) -> Producer:
    return Producer(client, timeout_s=10)


class Bench:
    """The scripts alone, called as the producer and the consumer call them, without an event loop."""

    def __init__(self, url: str) -> None:
        self.client: Any = redis.Redis.from_url(url, protocol=2)
        self.count = 0

    def add(self, tenant: str, n: int = 1, *, weight: float = 1.0, level: int = 5, delay_ms: int = 0) -> list[str]:
        ids = [f"{tenant}{self.count + number}" for number in range(n)]
        self.count += n
        now_ms = int(time.time() * 1000)
        for start in range(0, n, 100):
            part = ids[start : start + 100]
            jobs = [[each, "x", "{}", level, tenant, cost_of(weight), now_ms, delay_ms] for each in part]
            self.client.eval(load("add").text, 1, BASE, pack({"j": jobs, "o": {}, "r": False}))
        return ids

    def take(self, n: int, *, cap: int = 0, busy: dict[str, int] | None = None) -> list[str]:
        """Fetch up to n jobs and complete them at once; returns their tenants, in order."""
        request: dict[str, Any] = {"f": [], "k": [0, 0], "n": n, "l": 60_000, "t": "t", "w": "w", "c": cap}
        reply = self.client.eval(load("cycle").text, 1, BASE, pack(request | {"b": busy or {}}))
        ids = [entry[0] for entry in reply[1]]
        done = [["c", entry[1].decode(), "null", 0, 1] for entry in reply[1]]
        codes = self.client.eval(
            load("cycle").text, 1, BASE, pack(request | {"n": 0, "f": done, "b": {}}), *[each.decode() for each in ids]
        )[0]
        assert codes == [0] * len(ids)
        return [each.decode()[0] for each in ids]

    def drain(self, step: int = 7) -> list[str]:
        order: list[str] = []
        while taken := self.take(step):
            order += taken
        return order

    def numbers(self) -> dict[str, int]:
        entries = self.client.zrange(BASE + "prioritized", 0, -1, withscores=True)
        return {name.decode(): int(score) // TWO32 for name, score in entries}


@pytest.fixture
def bench(valkey_url: str) -> Iterator[Bench]:
    bench = Bench(valkey_url)
    yield bench
    bench.client.close()


# --- the turns


def test_a_newcomer_waits_one_turn_however_much_another_has_queued(bench: Bench) -> None:
    bench.add("a", 3000)
    bench.take(500)
    bench.add("b", 3)
    assert bench.take(8).count("b") == 3


def test_tenants_share_in_proportion_to_their_weights(bench: Bench) -> None:
    bench.add("a", 400, weight=1)
    bench.add("b", 400, weight=3)
    bench.add("c", 400, weight=0.5)
    share = Counter(bench.take(90) + bench.take(90))
    assert share["a"] == pytest.approx(40, abs=4)
    assert share["b"] == pytest.approx(120, abs=6)
    assert share["c"] == pytest.approx(20, abs=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abc"), st.integers(1, 30)),
            st.tuples(st.just("take"), st.integers(1, 12)),
        ),
        max_size=25,
    )
)
def test_whoever_has_jobs_waiting_is_never_more_than_a_turn_behind(bench: Bench, moves: list[tuple[str, int]]) -> None:
    bench.client.flushdb()
    waiting: Counter[str] = Counter()
    served: Counter[str] = Counter()  # since the two of a pair both have jobs waiting
    pairs = {(x, y): 0 for x in "abc" for y in "abc" if x < y}
    for who, n in [*moves, ("take", 1000)]:
        if who != "take":
            bench.add(who, n)
            waiting[who] += n
            continue
        for tenant in bench.take(n):
            waiting[tenant] -= 1
            served[tenant] += 1
            for (first, second), lead in pairs.items():
                both = waiting[first] > 0 and waiting[second] > 0
                pairs[first, second] = lead + (tenant == first) - (tenant == second) if both else 0
                assert abs(pairs[first, second]) <= 3, (tenant, waiting)
    assert sum(waiting.values()) == 0


def test_a_level_that_ran_empty_starts_again(bench: Bench) -> None:
    bench.add("a", 50)
    assert len(bench.drain()) == 50
    bench.add("b", 2)
    bench.add("a", 2)
    assert min(bench.numbers().values()) == LOW
    assert bench.drain(1) == ["b", "a", "b", "a"]


def test_a_job_taken_out_gives_its_turn_back(bench: Bench) -> None:
    ids = bench.add("a", 40)
    bench.add("b", 5)
    for each in ids[5:]:
        assert bench.client.eval(load("remove").text, 1, BASE, each) == 1
    bench.add("a", 1)
    assert sorted(bench.numbers().values())[-2:] == [LOW + 4, LOW + 5]


def test_turns_are_bounded_for_a_tenant_with_very_many_jobs(bench: Bench) -> None:
    bench.add("a", 2)
    bench.client.hset(BASE + "fair:5", "t:a", "900000")
    bench.add("a", 1)
    assert max(bench.numbers().values()) == LOW + AHEAD
    bench.client.hset(BASE + "fair:5", "t:a", "40000")
    bench.add("a", 32)
    assert sorted(number - LOW for number in bench.numbers().values() if number > LOW + 1) == (
        [40000] * 16 + [40001] * 16 + [AHEAD]
    )


@pytest.mark.parametrize("offset", [-1, 0, 5])
def test_a_level_that_never_empties_is_renumbered_piece_by_piece(bench: Bench, offset: int) -> None:
    """Far more entries than one call moves, jobs added and taken in between: order and fairness stay."""
    bench.add("a", 900)
    bench.add("b", 300)
    # as if so many turns had been served before: everything moves up to the limit
    shift = REBASE_AT + offset
    for name, number in bench.numbers().items():
        score = bench.client.zscore(BASE + "prioritized", name)
        bench.client.zadd(BASE + "prioritized", {name: score + shift * TWO32})
        assert number < LOW + 1000
    bench.client.hset(BASE + "fair:5", mapping={"v": shift, "t:a": shift + 900, "t:b": shift + 300})
    order: list[str] = []
    calls = 0
    while taken := bench.take(9):
        order += taken
        calls += 1
        if calls == 3:
            bench.add("c", 4)
            bench.add("b", 2)
    assert Counter(order) == {"a": 900, "b": 302, "c": 4}
    assert order[27:50].count("c") == 4
    head = Counter(order[:200])
    assert abs(head["a"] - head["b"]) <= 6
    bench.add("a", 3)
    assert max(bench.numbers().values()) < LOW + 10


def test_renumbering_keeps_each_tenants_order(bench: Bench) -> None:
    ids = bench.add("a", 700)
    for name in bench.numbers():
        score = bench.client.zscore(BASE + "prioritized", name)
        bench.client.zadd(BASE + "prioritized", {name: score + REBASE_AT * TWO32})
    bench.client.hset(BASE + "fair:5", mapping={"v": REBASE_AT, "t:a": REBASE_AT + 700})
    ids += bench.add("a", 1)  # the first call begins; others finish it
    assert bench.client.hget(BASE + "fair:5", "d") != b"0"
    ids += bench.add("a", 1)
    ids += bench.add("a", 1)
    assert bench.client.hget(BASE + "fair:5", "d") == b"0"
    assert list(bench.numbers()) == ids
    assert min(bench.numbers().values()) == LOW
    assert float(bench.client.hget(BASE + "fair:5", "t:a")) == 703


# --- the cap


def test_a_tenant_at_its_cap_is_passed_and_keeps_its_order(bench: Bench) -> None:
    bench.add("a", 200)
    assert bench.take(10, cap=3) == ["a"] * 3
    bench.add("b", 60)
    for _ in range(12):
        assert bench.take(5, cap=6, busy={"a": 6}) == ["b"] * 5
    assert bench.take(5, cap=6, busy={"a": 6}) == []
    stats = bench.client.eval(load("stats").text, 1, BASE)
    assert stats[2] + stats[3] == 197  # waiting or set aside, none lost
    order: list[bytes] = bench.client.zrange(BASE + "fair:parked:a", 0, -1)
    assert order == sorted(order, key=lambda name: int(name[1:]))
    assert len(bench.take(200, cap=0)) == 197


def test_a_backlog_of_one_tenant_at_its_cap_is_not_dug_through(bench: Bench) -> None:
    bench.add("a", 3000)
    bench.take(3, cap=3)
    for _ in range(20):
        assert bench.take(5, cap=3, busy={"a": 3}) == []
    assert bench.client.zcard(BASE + "delayed") <= 20


def test_a_capped_tenant_at_an_urgent_level_does_not_block_the_levels_below(bench: Bench) -> None:
    bench.add("a", 1000, level=0)
    bench.add("b", 1, level=9)
    assert bench.take(1, cap=2, busy={"a": 2}) == ["b"]


def test_a_freed_tenant_is_found_behind_another_that_is_still_at_its_cap(bench: Bench) -> None:
    bench.add("c", 800)
    bench.add("a", 10)
    bench.add("b", 700)
    full = {"a": 2, "c": 2}
    taken = sum(len(bench.take(20, cap=2, busy=full | {"b": -1000})) for _ in range(40))
    assert taken == 700
    assert bench.take(2, cap=2, busy={"c": 2}) == ["a", "a"]


def test_jobs_set_aside_come_back_by_themselves(bench: Bench) -> None:
    """Also to a worker that knows nothing of caps: they are ordinary delayed jobs that come due."""
    bench.add("a", 30)
    bench.add("b", 30)
    bench.take(30, cap=2, busy={"a": 2, "b": -100})
    parked = bench.client.zcard(BASE + "fair:parked:a")
    assert parked > 10
    for name in bench.client.zrange(BASE + "delayed", 0, -1):
        bench.client.zadd(BASE + "delayed", {name: 4096})
    bench.client.delete(BASE + "fair:parked", BASE + "fair:parked:a")
    assert sorted(bench.drain()) == ["a"] * 30


async def test_one_tenant_cannot_hold_all_slots_and_the_worker_does_not_spin(
    valkey_url: str, client: Redis, producer: Producer
) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done: list[str] = []
    release = asyncio.Event()

    async def handle(queued: QueuedJob) -> Outcome:
        tenant = queued.tenant_id
        running[tenant] += 1
        most[tenant] = max(most[tenant], running[tenant])
        if tenant == "a":
            await release.wait()
        running[tenant] -= 1
        done.append(queued.id)
        return Done()

    mine = [job(tenant_id="a") for _ in range(60)]
    await producer.add(mine)
    worker = consumer(valkey_url, concurrency=8, high_priority_reserve=0, tenant_in_flight_cap=3)
    async with serving(worker, handle):
        await until(lambda: running["a"] == 3)
        calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        await asyncio.sleep(1)
        assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] - calls < 30
        others = [job(tenant_id="b") for _ in range(30)]
        start = time.monotonic()
        await producer.add(others)
        await until(lambda: len(done) == 30)
        assert time.monotonic() - start < 1
        assert running["a"] == 3
        await asyncio.sleep(0.05)
        stats = {each.name: each for each in await QueueAdmin(client).stats()}[QueueName.STANDARD]
        assert (stats.waiting, stats.delayed, stats.active) == (57, 0, 3)
        release.set()
        took_s = await until(lambda: len(done) == 90)
        assert took_s < 1
    assert most["a"] == 3
    assert done[30:] == [spec.job_id for spec in mine]


# --- retries and delays


async def test_a_retry_does_not_go_behind_its_tenants_backlog(valkey_url: str, producer: Producer) -> None:
    order: list[str] = []

    async def handle(queued: QueuedJob) -> Outcome:
        order.append(queued.id)
        await asyncio.sleep(0.002)
        return RetryLater(0.01) if len(order) == 1 else Done()

    specs = [job() for _ in range(300)]
    await producer.add(specs)
    async with serving(consumer(valkey_url, concurrency=1, high_priority_reserve=0), handle):
        await until(lambda: len(order) > 60)
    assert specs[0].job_id in order[1:40]


async def test_many_delayed_jobs_that_come_due_at_once_take_turns(valkey_url: str, producer: Producer) -> None:
    due_s = time.time() + 0.4
    await producer.add([job(tenant_id="a", delay_s=due_s - time.time()) for _ in range(400)])
    order: list[str] = []

    async def handle(queued: QueuedJob) -> Outcome:
        order.append(queued.tenant_id)
        await asyncio.sleep(0.002)
        return Done()

    async with serving(consumer(valkey_url, concurrency=1, high_priority_reserve=0), handle):
        await until(lambda: len(order) > 5)
        before = len(order)
        await producer.add([job(tenant_id="b") for _ in range(3)])
        await until(lambda: order.count("b") == 3)
    assert len(order) - before < 12


# --- the promise


async def _waits_s(url: str, backlog: int, *, cap: int, job_s: float) -> list[float]:
    waits: list[float] = []

    async def handle(queued: QueuedJob) -> Outcome:
        if queued.tenant_id == "b":
            waits.append(time.perf_counter() - queued.data["at"])
        await asyncio.sleep(job_s)
        return Done()

    async with bytes_client(url) as client:
        producer = Producer(client, timeout_s=20)
        await client.flushdb()
        await producer.add([job(tenant_id="a") for _ in range(backlog)])
        async with serving(consumer(url, concurrency=8, high_priority_reserve=0, tenant_in_flight_cap=cap), handle):
            await asyncio.sleep(0.1)
            for _ in range(60):
                await producer.add([job(tenant_id="b", data={"at": time.perf_counter()})])
                await asyncio.sleep(job_s * 0.6)
            left = sum(each.waiting for each in await QueueAdmin(client).stats())
            await until(lambda: len(waits) == 60)
    assert left > 100  # behind a backlog that ran out there would be nothing to compare
    return sorted(waits)


@pytest.mark.alone
@pytest.mark.parametrize("cap", [0, 6])
async def test_a_tenants_wait_does_not_depend_on_anothers_backlog(valkey_url: str, cap: int) -> None:
    job_s = 0.02
    few = await _waits_s(valkey_url, 1_000, cap=cap, job_s=job_s)
    many = await _waits_s(valkey_url, 10_000, cap=cap, job_s=job_s)
    p99_few, p99_many = few[-1], many[-1]  # of 60 the worst: harder than the 99th percentile
    print(
        f"cap {cap}: B waits p50 {few[30] * 1e3:.1f} / {many[30] * 1e3:.1f} ms, worst {p99_few * 1e3:.1f} / {p99_many * 1e3:.1f} ms"
    )
    assert p99_many <= 5 * job_s + 0.01
    assert p99_many <= 2 * max(p99_few, job_s)
