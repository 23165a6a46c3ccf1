"""`python -m bench.imports`: how fast a file of conversations comes in, what it takes, and what visitors notice of it.

Three parts, each on servers of its own: a large file without enrichment (rows a second, memory over idle), the same rows
read by the local model in batches and one message at a time, and chats while an import runs beside them. Prints a table and
one line of JSON. Not part of CI: the large file takes minutes.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import structlog

from bench.machine import percentile
from bench.product import Rest, start_product
from bench.simulator import run_simulator
from chatwright.adapters.postgres.migrate import migrate
from chatwright.adapters.queue import QUEUES, Consumer
from chatwright.app.addresses import Addresses
from chatwright.app.embedded import run_embedded
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.ids import new_id
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.entrypoints.worker import Worker
from chatwright.features import imports, jobs
from chatwright.features.credentials import new_widget_id
from chatwright.features.imports import Import, Options
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import importing, manage
from chatwright.pipeline.reading import encode, read_texts
from chatwright.pipeline.services import Services
from chatwright.pipeline.submit import submit_job

_TURNS = 5
_PIECE_ROWS = 2_000
_SAYINGS = (
    "My parcel has not arrived, can you tell me where it is now? The number is",
    "I was charged twice for the same order, please look at it. My order number is",
    "How do I change the address of a delivery that is on its way already? It is about",
    "Thank you so much for the quick help, it works now. This was about case",
)
_UNREAD = Options(sentiment=False, intent=False, summary="none")
_WARM_RATE, _WARM_S = 8.0, 10.0
_SETTLE_S, _LEAD_S = 1.0, 3.0
_ROUNDS = 3
_BESIDE_ROWS = {"sentiment,intent": 200_000, "none": 1_000_000}
"""What the model reads of an import beside chats, and how long its file is."""
_SHARES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    app: Services
    scope: Scope
    chatbot: Chatbot


def line(number: int) -> str:
    """One row of the file; a row has about 200 bytes."""
    conversation = number // _TURNS
    role = "agent" if number % _TURNS % 2 else "customer"
    text = f"{_SAYINGS[conversation % len(_SAYINGS)]} {number}, and I hope that you can find out about it today."
    at = f"2024-{conversation % 12 + 1:02d}-{conversation % 28 + 1:02d}T10:{number % _TURNS:02d}:00Z"
    return f'{conversation},{number},{role},"{text}",{at},visitor-{conversation}@example.com\r\n'


async def file_of(rows: int) -> AsyncGenerator[bytes]:
    yield b"conversation_id,message_id,role,text,created_at,visitor_id\r\n"
    for begin in range(0, rows, _PIECE_ROWS):
        yield "".join(line(number) for number in range(begin, min(rows, begin + _PIECE_ROWS))).encode()


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Bench]:
    """Servers, services and a worker in this process."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(run_embedded(folder / "servers"))
        await migrate(servers.database_url)
        addresses = Addresses(database_url=servers.database_url, redis_url=servers.redis_url)
        app = await stack.enter_async_context(open_services(Settings(data_dir=folder / "data"), addresses))
        tenant, _ = await manage.create_tenant(app, actor="bench", name="Bench")
        scope = Scope(tenant_id=tenant.id)
        new = NewChatbot(name="Bench", slug="bench", widget_id=new_widget_id(), providers=())
        chatbot = await manage.create_chatbot(app, scope, new, actor="bench")
        consumer = Consumer(
            url=servers.redis_url,
            queues=list(QUEUES.values()),
            concurrency=8,
            high_priority_reserve=1,
            tenant_in_flight_cap=8,
        )
        worker = Worker(app, consumer)
        task = asyncio.create_task(worker.run(), name="bench-worker")
        try:
            yield Bench(app=app, scope=scope, chatbot=chatbot)
        finally:
            await worker.stop(grace_s=2)
            task.cancel()
            await asyncio.wait({task})


async def imported(bench: Bench, rows: int, options: Options) -> dict[str, Any]:
    """Import a file of `rows`; rates, and this process's memory over what it had before."""
    app, scope = bench.app, bench.scope
    received = await importing.receive_file(app, scope, file_of(rows), name="bench.csv")
    process = psutil.Process()
    await asyncio.sleep(1)
    idle = top = process.memory_info().rss
    began, used, servers_used = time.monotonic(), time.process_time(), _servers_cpu_s()
    one: Import = await importing.start_import(
        app, scope, bench.chatbot, received, {}, options, source=new_id(), actor="bench"
    )
    while one.state in ("queued", "running"):
        await asyncio.sleep(0.2)
        top = max(top, process.memory_info().rss)
        async with app.db.transaction(scope) as db:
            one = await imports.get_import(db, scope, one.id)
    took_s = time.monotonic() - began
    if one.state != "done" or one.rows_stored != rows:
        raise RuntimeError(f"{one.state}: {one.rows_stored} of {rows} rows, {one.error}")
    return {
        "rows": rows,
        "megabytes": round(received.size_bytes / 1e6, 1),
        "rows_per_s": round(rows / took_s),
        "cpu_us_per_row": round(1e6 * (time.process_time() - used) / rows, 1),
        "servers_cpu_us_per_row": round(1e6 * (_servers_cpu_s() - servers_used) / rows, 1),
        "memory_over_idle_mb": round((top - idle) / 1e6),
        "took_s": round(took_s, 1),
    }


def _servers_cpu_s() -> float:
    """What PostgreSQL and Valkey have used, whose processes that ended are counted by their parents."""
    total = 0.0
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


async def one_at_a_time(bench: Bench, rows: int, *, by_jobs: bool) -> dict[str, Any]:
    """The way of the seed design: row after row, a sentiment, an intent, an insert with its own commit.

    With `by_jobs` as the seed has it: each reading is a job of the queue, and the import waits for it. Without, the same
    calls in this process, one after another: kinder than the seed, no queue in between.
    """
    app, scope = bench.app, bench.scope
    conversation_id = new_id()
    async with app.db.transaction(scope) as db:
        await db.execute(
            "INSERT INTO conversations (id, tenant_id, chatbot_id, visitor_id) VALUES ($1, $2, $3, 'bench')",
            conversation_id,
            scope.tenant_id,
            bench.chatbot.id,
        )
    began = time.monotonic()
    for number in range(rows):
        text = line(number)
        if by_jobs:
            sentiment = (await _job(bench, JobType.SENTIMENT_ANALYSIS, text))["label"]
            intent = (await _job(bench, JobType.INTENT_CLASSIFICATION, text))["label"]
        else:
            sentiment, intent = [(await read_texts(app, [text], await encode(app, [text])))[0] for _ in range(2)]
            sentiment, intent = sentiment.sentiment, intent.intent
        async with app.db.transaction(scope) as db:
            await db.execute(
                """INSERT INTO messages (id, tenant_id, chatbot_id, conversation_id, ordinal, text, state, reading)
                   VALUES ($1, $2, $3, $4, $5, $6, 'answered', $7)""",
                new_id(), scope.tenant_id, bench.chatbot.id, conversation_id, number + 1, text,
                {"sentiment": sentiment, "intent": intent},
            )  # fmt: skip
    return {"rows": rows, "rows_per_s": round(rows / (time.monotonic() - began), 1)}


async def _job(bench: Bench, job_type: JobType, text: str) -> dict[str, Any]:
    """Queue one job and wait for its result, looking every two milliseconds."""
    app, scope = bench.app, bench.scope
    job_id = await submit_job(app, scope, job_type=job_type, chatbot=bench.chatbot, payload={"text": text})
    async with asyncio.timeout(30):
        while True:
            async with app.db.transaction(scope) as db:
                job = await jobs.get_job(db, scope, job_id)
            if job is not None and job.state == "done":
                return job.result or {}
            if job is None or job.state not in ("queued", "running"):
                raise RuntimeError(f"a {job_type.value} job ended as {job and job.state}: {job and job.error}")
            await asyncio.sleep(0.002)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """Some seconds of chats. `took_s`: each one's, until the whole answer was there; `rows`: what an import read meanwhile."""

    took_s: list[float]
    rows: int


class _Beside:
    """Chats against the whole product, with an import that is paused and resumed."""

    def __init__(self, rest: Rest, key: str, import_id: str = "") -> None:
        self._rest = rest
        self._key = key
        self._import_id = import_id

    async def chats(self, rate: float, seconds: float, *, seed: int) -> _Slice:
        """Chats that begin at random moments, `rate` a second: the same moments for the same seed. The first seconds of
        them do not count."""
        await self._send(rate, _LEAD_S, random.Random(seed))  # by now the import knows of them
        before = await self._rows_read()
        took_s = await self._send(rate, seconds, random.Random(seed))
        return _Slice(took_s=took_s, rows=await self._rows_read() - before)

    async def idle(self, rate: float, seconds: float, *, seed: int) -> _Slice:
        await self._control("pause")
        return await self.chats(rate, seconds, seed=seed)

    async def beside(self, rate: float, seconds: float, *, seed: int) -> _Slice:
        """The same while the import runs; it has made its first step before the first chat begins."""
        before = await self._rows_read()
        await self._control("resume")
        async with asyncio.timeout(30):
            while await self._rows_read() == before:
                await asyncio.sleep(0.05)
        return await self.chats(rate, seconds, seed=seed)

    async def _send(self, rate: float, seconds: float, chance: random.Random) -> list[float]:
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[float]] = []
            while time.monotonic() < until:
                await asyncio.sleep(chance.expovariate(rate))
                tasks.append(group.create_task(self._chat(), name="bench-chat"))
        return [task.result() for task in tasks]

    async def _chat(self) -> float:
        made = await self._rest.call("POST", "/api/v1/conversations", self._key, {"chatbot": "bench"})
        began = time.monotonic()
        path = f"/api/v1/conversations/{made['id']}/messages?wait=true"
        await self._rest.call("POST", path, self._key, {"text": "Where is my parcel?"}, timeout_s=60)
        return time.monotonic() - began

    async def _control(self, action: str) -> None:
        await self._rest.call("POST", f"/api/v1/imports/{self._import_id}/{action}", self._key)
        await asyncio.sleep(_SETTLE_S)

    async def _rows_read(self) -> int:
        if not self._import_id:
            return 0
        return int((await self._rest.call("GET", f"/api/v1/imports/{self._import_id}", self._key))["rows_read"])


async def beside_chats(folder: Path, rows: int, seconds: float, rates: Sequence[float], enrich: str) -> dict[str, Any]:
    """For each rate, `_ROUNDS` times: `seconds` of chats without the import and as many beside it, in turn."""
    async with (
        run_simulator() as simulator,
        start_product(folder / "data", log_file=folder / "log", provider_url=simulator.base_url) as product,
        aiohttp.ClientSession() as session,
    ):
        rest = Rest(product.base_url, product.admin_key)
        tenant = await rest.make_tenant("Bench")
        await rest.make_chatbot(tenant, "bench")
        await _Beside(rest, tenant.key).chats(_WARM_RATE, _WARM_S, seed=0)  # everything is loaded and warm
        form = aiohttp.FormData({"chatbot": "bench", "enrich": enrich, "source": "bench"})
        form.add_field("file", file_of(rows), filename="bench.csv")
        headers = {"authorization": f"Bearer {tenant.key}"}
        async with session.post(f"{product.base_url}/api/v1/imports", data=form, headers=headers) as reply:
            reply.raise_for_status()
            tool = _Beside(rest, tenant.key, (await reply.json())["id"])
        found: dict[str, Any] = {}
        for rate in rates:
            idle: list[_Slice] = []
            beside: list[_Slice] = []
            for turn in range(_ROUNDS):
                for way, into in ((tool.idle, idle), (tool.beside, beside))[:: -1 if turn % 2 else 1]:
                    into.append(await way(rate, seconds, seed=turn))
            found[f"{rate:g} chats a second beside {enrich}"] = _compared(idle, beside, seconds)
        return found


def _compared(idle: Sequence[_Slice], beside: Sequence[_Slice], seconds: float) -> dict[str, Any]:
    """Milliseconds of both, the ratio of all of them and of each round, and how fast the import went on."""
    figures: dict[str, Any] = {"chats": sum(len(one.took_s) for one in (*idle, *beside))}
    for name, slices in (("idle", idle), ("beside", beside)):
        all_s = [took_s for one in slices for took_s in one.took_s]
        figures |= {f"{name}_p{round(100 * q)}_ms": round(percentile(all_s, q) * 1e3, 1) for q in _SHARES}
    figures["p95_ratio"] = round(figures["beside_p95_ms"] / figures["idle_p95_ms"], 2)
    figures["p95_ratio_by_round"] = [
        round(percentile(one.took_s, 0.95) / percentile(other.took_s, 0.95), 2)
        for one, other in zip(beside, idle, strict=True)
    ]
    figures["rows_a_minute_by_round"] = [round(one.rows * 60 / seconds) for one in beside]
    return figures


async def run(
    *, rows: int, read_rows: int, seconds: float, rates: Sequence[float], beside: Sequence[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {"processors": os.cpu_count(), "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
        Path(folder).chmod(0o755)
        async with opened(Path(folder)) as bench:
            if rows:
                found["stored"] = await imported(bench, rows, _UNREAD)
            if read_rows:
                await bench.app.embedder.warm_up()
                few = max(20, read_rows // 10)
                found["one_job_at_a_time"] = await one_at_a_time(bench, few, by_jobs=True)
                found["one_call_at_a_time"] = await one_at_a_time(bench, few, by_jobs=False)
                found["read"] = await imported(bench, read_rows, Options(summary="none"))
                for way in ("one_job_at_a_time", "one_call_at_a_time"):
                    ratio = found["read"]["rows_per_s"] / found[way]["rows_per_s"]
                    found[way] |= {"batches_are_times_faster": round(ratio, 1)}
    for enrich in beside if seconds else ():
        with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
            Path(folder).chmod(0o755)
            found |= await beside_chats(Path(folder), _BESIDE_ROWS[enrich], seconds, rates, enrich)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.imports", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the large file; 0: leave it out")
    parser.add_argument("--read-rows", type=int, default=5_000, help="that the local model reads; 0: leave it out")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="of chats in a round beside an import; 0: leave it out"
    )
    parser.add_argument("--rates", type=float, nargs="+", default=[4.0, 10.0, 20.0], help="of chats, a second")
    parser.add_argument("--beside", nargs="+", choices=_BESIDE_ROWS, default=list(_BESIDE_ROWS), help="which imports")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = asyncio.run(
        run(
            rows=arguments.rows,
            read_rows=arguments.read_rows,
            seconds=arguments.seconds,
            rates=arguments.rates,
            beside=arguments.beside,
        )
    )
    for part, figures in found.items():
        print(
            f"| {part} | {', '.join(f'{k} {v}' for k, v in figures.items()) if isinstance(figures, dict) else figures} |"
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
