"""Small scenarios, each with one number: a wiped queue, a killed worker, a worker that wakes up late.

All run on one product of their own (`run_checks`); fairness is in `fairness.py`.
"""

import asyncio
import contextlib
import hashlib
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import redis.asyncio

from bench.drill.collect import superuser, wait_terminal
from bench.drill.fairness import check_fairness
from bench.drill.faults import find, flush, send
from bench.drill.measured import Check
from bench.product import Product, Rest, Tenant, start_product, start_worker
from bench.provider import Provider, start_provider
from bench.simulator import read_log_file

_CHATBOT = "checks"
_QUEUED = 150
_REQUEUE_LIMIT_S = 10.0
_RERUN_LIMIT_S = 3.0
_LATE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a check works with."""

    product: Product
    provider: Provider
    session: aiohttp.ClientSession
    tenant: Tenant
    rest: Rest

    async def say(self, text: str, *, priority: int = 8) -> str:
        """A message in a conversation of its own; returns its id."""
        opened = await self.post("/api/v1/conversations", {"chatbot": _CHATBOT})
        path = f"/api/v1/conversations/{opened['id']}/messages"
        return (await self.post(path, {"text": text, "priority": priority}))["message_id"]

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"authorization": f"Bearer {self.tenant.key}"}
        async with self.session.post(self.product.base_url + path, json=body, headers=headers) as response:
            if response.status >= 300:
                raise RuntimeError(f"POST {path}: {response.status} {(await response.text())[:300]}")
            return await response.json()


@asynccontextmanager
async def open_scene(notes: Path, data_dir: Path) -> AsyncGenerator[Scene]:
    """A product with the simulator and one tenant; also used by the fairness check."""
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(start_provider(verbs="echo=1", log_file=notes / "checks.jsonl"))
        product = await stack.enter_async_context(
            start_product(data_dir, log_file=notes / "checks.log", provider_url=provider.base_url)
        )
        rest = Rest(product.base_url, product.admin_key)
        tenant = await rest.make_tenant("checks")
        await rest.make_chatbot(tenant, _CHATBOT)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)))
        yield Scene(product=product, provider=provider, session=session, tenant=tenant, rest=rest)


async def run_checks(notes: Path, data_dir: Path, tell: Callable[[str], None]) -> list[Check]:
    """Run all of them; one that breaks counts as missed, with its reason. Raises NotStarted."""
    found: list[Check] = []
    async with open_scene(notes, data_dir) as scene:
        for name, check in (
            ("Valkey wiped", check_wipe),
            ("worker killed in the middle of a job", check_kill),
            ("stopped worker wakes up late", check_late_worker),
            ("fairness", _fairness),
        ):
            tell(name)
            try:
                found += await asyncio.wait_for(check(scene), 150)
            except Exception as error:
                found.append(Check(name=name, value=float("nan"), unit="", limit=0, note=f"broke: {error!r}"))
            await wait_terminal(scene.product, since_s=time.monotonic(), limit_s=60)
    return found


async def _fairness(scene: Scene) -> list[Check]:
    return await check_fairness(scene.product, scene.provider, scene.session, scene.rest)


async def check_wipe(scene: Scene) -> list[Check]:
    """FLUSHALL with many jobs queued behind slow answers: how long until each open job is in the queue again."""
    await scene.provider.control(echo=1, latency=4_000)
    limit = asyncio.Semaphore(24)

    async def say(number: int) -> None:
        async with limit:
            await scene.say(f"wiped {number}")

    await asyncio.gather(*(say(number) for number in range(_QUEUED)))
    began_s = time.monotonic()
    if not await flush(scene.product):
        raise RuntimeError("Valkey took no FLUSHALL")
    await scene.provider.control(echo=1, latency=1_500)
    queued_at_wipe = len(await _open_job_ids(scene.product, "queued"))
    took_s = None
    client = redis.asyncio.from_url(scene.product.redis_url, socket_timeout=5)
    try:
        while time.monotonic() - began_s < 40:
            # Without a look at what is running: those jobs are with their worker.
            wanted = await _open_job_ids(scene.product, "queued")
            if not await _missing(client, wanted):
                took_s = time.monotonic() - began_s
                break
            await asyncio.sleep(0.1)
    finally:
        await client.aclose()
        await scene.provider.control(echo=1)
    settled = await wait_terminal(scene.product, since_s=time.monotonic(), limit_s=60)
    enough = queued_at_wipe >= _QUEUED // 2
    return [
        Check(
            name=f"Valkey wiped with {queued_at_wipe} queued: all queued again",
            value=took_s if took_s is not None and enough and settled is not None else float("nan"),
            unit="s",
            limit=_REQUEUE_LIMIT_S,
            samples=queued_at_wipe,
            note="" if enough else "too few were queued to show anything",
        )
    ]


async def _open_job_ids(product: Product, state: str) -> list[tuple[str, str]]:
    """(queue, BullMQ job id) of all jobs in `state`."""
    statement = "SELECT queue, type || '-' || id || '-' || generation AS name FROM jobs WHERE state = $1"
    async with superuser(product) as db:
        return [(row["queue"], row["name"]) for row in await db.fetch(statement, state)]


async def _missing(client: Any, wanted: list[tuple[str, str]]) -> int:
    pipeline = client.pipeline(transaction=False)
    for queue, name in wanted:
        pipeline.exists(f"bull:{queue}:{name}")
    return sum(1 for present in await pipeline.execute() if not present) if wanted else 0


async def check_kill(scene: Scene) -> list[Check]:
    """kill -9 of a worker while it answers: how long until the message's next provider call begins.

    Once with a second worker there to take over, once where the killed one has to be started again.
    """
    await scene.provider.control(echo=1, chunks=30, interval=150)
    alone = [await _kill_once(scene, "alone") for _ in range(2)]
    async with start_worker(scene.product, "second"):
        await asyncio.sleep(12)  # until both serve, and until `up` counts its worker as healthy again
        beside = [await _kill_once(scene, "beside") for _ in range(3)]
    await scene.provider.control(echo=1)
    return [
        Check(name="worker killed, started again by `up`: re-run begins", value=max(alone), unit="s", limit=_RERUN_LIMIT_S, samples=len(alone)),
        Check(name="worker killed, another one takes over: re-run begins", value=max(beside), unit="s", limit=_RERUN_LIMIT_S, samples=len(beside)),
    ]  # fmt: skip


async def _kill_once(scene: Scene, name: str) -> float:
    """Messages until the worker of `up` has one, then its kill. Seconds until the slowest of its messages runs again."""
    pid = await find(scene.product, "worker")
    if pid is None:
        raise RuntimeError("no worker to kill")
    texts = [f"killed {name} {time.monotonic_ns()} {number}" for number in range(6)]
    for text in texts:
        await scene.say(text)
    await _calls_of(scene, texts, want=1)
    await asyncio.sleep(0.4)
    killed_ns = time.monotonic_ns()
    send([pid], signal.SIGKILL)
    # With two workers only some of the messages were with the killed one: its calls were cut off.
    await asyncio.sleep(0.3)
    hit = [text for text, calls in _calls(scene, texts).items() if calls[0].ended in ("client_closed", "cut")]
    if not hit:
        raise RuntimeError("the killed worker had none of the messages")
    again = await _calls_of(scene, hit, want=2)
    return max((calls[1].at_mono_ns - killed_ns) / 1e9 for calls in again.values())


def _calls(scene: Scene, texts: list[str]) -> dict[str, list[Any]]:
    assert scene.provider.log_file is not None
    found: dict[str, list[Any]] = {text: [] for text in texts}
    for call in read_log_file(scene.provider.log_file):
        if call.head in found:
            found[call.head].append(call)
    return found


async def _calls_of(scene: Scene, texts: list[str], *, want: int) -> dict[str, list[Any]]:
    """Wait until each text reached the provider `want` times."""
    give_up_s = time.monotonic() + 30
    while time.monotonic() < give_up_s:
        found = _calls(scene, texts)
        if all(len(calls) >= want for calls in found.values()):
            return found
        await asyncio.sleep(0.05)
    raise RuntimeError(f"not every message reached the provider {want} times within 30 s")


async def check_late_worker(scene: Scene) -> list[Check]:
    """SIGSTOP to a worker with answers under way; a second one takes over and finishes; then SIGCONT.

    Counted: message, answer, job and conversation rows and stream logs that are not exactly as before the waking.
    """
    await scene.provider.control(echo=1, chunks=20, interval=150)
    pid = await find(scene.product, "worker")
    if pid is None:
        raise RuntimeError("no worker to stop")
    texts = [f"late {time.monotonic_ns()} {number}" for number in range(_LATE)]
    ids = [await scene.say(text) for text in texts]
    await _calls_of(scene, texts, want=1)
    await asyncio.sleep(0.5)
    send([pid], signal.SIGSTOP)
    try:
        async with start_worker(scene.product, "fresh"):
            settled_s = await wait_terminal(scene.product, since_s=time.monotonic(), limit_s=45)
            if settled_s is None:
                raise RuntimeError("the second worker did not finish the answers of the stopped one")
            taken_over = sum(1 for calls in _calls(scene, texts).values() if len(calls) > 1)
            await asyncio.sleep(1)
            before = await _fingerprints(scene.product, ids)
            send([pid], signal.SIGCONT)
            await asyncio.sleep(8)
            after = await _fingerprints(scene.product, ids)
    finally:
        with contextlib.suppress(ProcessLookupError):
            send([pid], signal.SIGCONT)
    changed = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    return [
        Check(
            name=f"stopped worker wakes up late ({taken_over} of {_LATE} answers taken over): rows and logs changed",
            value=float(len(changed)) if taken_over == _LATE else float("nan"),
            unit="",
            limit=0,
            samples=len(before),
            note=", ".join(changed[:4]) if changed else "" if taken_over == _LATE else "not all were taken over",
        )
    ]


async def _fingerprints(product: Product, message_ids: list[str]) -> dict[str, str]:
    """Each row by its last writing transaction and content, each stream log by its content."""
    found: dict[str, str] = {}
    statements = {
        "message": "SELECT id::text AS id, xmin::text || md5(t::text) AS mark FROM messages t WHERE id = ANY($1::uuid[])",
        "answer": "SELECT id::text AS id, xmin::text || md5(t::text) AS mark FROM answers t WHERE message_id = ANY($1::uuid[])",
        "job": "SELECT id::text AS id, xmin::text || md5(t::text) AS mark FROM jobs t WHERE message_id = ANY($1::uuid[])",
        "conversation": "SELECT c.id::text AS id, c.xmin::text || md5(c::text) AS mark FROM conversations c "
        "JOIN messages m ON m.conversation_id = c.id WHERE m.id = ANY($1::uuid[])",
    }
    async with superuser(product) as db:
        for kind, statement in statements.items():
            for row in await db.fetch(statement, message_ids):
                found[f"{kind} {row['id']}"] = row["mark"]
        logs = await db.fetch(
            "SELECT tenant_id::text, conversation_id::text FROM messages WHERE id = ANY($1::uuid[])", message_ids
        )
    client = redis.asyncio.from_url(product.redis_url, socket_timeout=5)
    try:
        for row in logs:
            key = f"cw:log:{{{row['tenant_id']}:{row['conversation_id']}}}"
            events = cast("list[bytes]", await client.lrange(key, 0, -1))
            found[f"stream {row['conversation_id']}"] = f"{len(events)} {hashlib.sha256(b'|'.join(events)).hexdigest()}"
            if not events:
                raise RuntimeError(f"no stream log at {key}")
    finally:
        await client.aclose()
    return found
