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
import tempfile
import time
from collections.abc import AsyncGenerator
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
_CHATS_A_SECOND = 4.0


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


async def beside_chats(folder: Path, rows: int, seconds: float) -> dict[str, Any]:
    """Chats against the whole product, without and with an import beside them."""
    async with (
        run_simulator() as simulator,
        start_product(folder / "data", log_file=folder / "log", provider_url=simulator.base_url) as product,
        aiohttp.ClientSession() as session,
    ):
        rest = Rest(product.base_url, product.admin_key)
        tenant = await rest.make_tenant("Bench")
        await rest.make_chatbot(tenant, "bench")
        headers = {"authorization": f"Bearer {tenant.key}"}

        async def chat() -> float:
            made = await rest.call("POST", "/api/v1/conversations", tenant.key, {"chatbot": "bench"})
            began = time.monotonic()
            path = f"/api/v1/conversations/{made['id']}/messages?wait=true"
            await rest.call("POST", path, tenant.key, {"text": "Where is my parcel?"}, timeout_s=60)
            return time.monotonic() - began

        async def chats() -> list[float]:
            tasks: list[asyncio.Task[float]] = []
            for _ in range(round(seconds * _CHATS_A_SECOND)):
                tasks.append(asyncio.create_task(chat(), name="bench-chat"))
                await asyncio.sleep(1 / _CHATS_A_SECOND)
            return list(await asyncio.gather(*tasks))

        async def read() -> int:
            listed = await rest.call("GET", "/api/v1/imports", tenant.key)
            return int(listed["items"][0]["rows_read"])

        await chats()  # everything is loaded and warm
        idle = await chats()
        form = aiohttp.FormData({"chatbot": "bench", "enrich": "sentiment,intent", "source": "bench"})
        data = b"".join([piece async for piece in file_of(rows)])
        form.add_field("file", data, filename="bench.csv")
        async with session.post(f"{product.base_url}/api/v1/imports", data=form, headers=headers) as reply:
            reply.raise_for_status()
        await asyncio.sleep(2)
        before = await read()
        busy = await chats()
        after = await read()
        return {
            "idle_p50_ms": round(percentile(idle, 0.5) * 1e3, 1),
            "idle_p95_ms": round(percentile(idle, 0.95) * 1e3, 1),
            "beside_p50_ms": round(percentile(busy, 0.5) * 1e3, 1),
            "beside_p95_ms": round(percentile(busy, 0.95) * 1e3, 1),
            "rows_a_minute_beside": round((after - before) / seconds * 60),
        }


async def run(*, rows: int, read_rows: int, seconds: float) -> dict[str, Any]:
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
    if seconds:
        with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
            Path(folder).chmod(0o755)
            found["chats"] = await beside_chats(Path(folder), 200_000, seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.imports", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the large file; 0: leave it out")
    parser.add_argument("--read-rows", type=int, default=5_000, help="that the local model reads; 0: leave it out")
    parser.add_argument("--seconds", type=float, default=60.0, help="of chats beside an import; 0: leave it out")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = asyncio.run(run(rows=arguments.rows, read_rows=arguments.read_rows, seconds=arguments.seconds))
    for part, figures in found.items():
        print(
            f"| {part} | {', '.join(f'{k} {v}' for k, v in figures.items()) if isinstance(figures, dict) else figures} |"
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
