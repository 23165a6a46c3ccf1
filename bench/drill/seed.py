"""One seed: the product under faults and load from its start to its rest, then the evidence."""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.drill.clients import Client, Followers, RestClient, SocketClient
from bench.drill.collect import read_rows, read_simulated, wait_queue_empty, wait_terminal
from bench.drill.evidence import Evidence, Violation
from bench.drill.faults import carry_out
from bench.drill.schedule import Fault, plan_faults
from bench.drill.script import write_lines
from bench.drill.verdict import count_mended, judge
from bench.product import Rest, Tenant, start_product
from bench.provider import start_provider

_CONVERSATIONS = 42
_TENANTS = 3
_SETTLE_LIMIT_S = 60.0
_STREAM_PATIENCE_S = 12.0
CHATBOT = "drill"


@dataclass(kw_only=True)
class SeedResult:
    """What one seed showed."""

    seed: int
    violations: list[Violation]
    messages: int
    states: dict[str, int]
    provider_calls: int
    retries: int
    mended: int
    settle_s: float | None
    took_s: float
    faults: list[str] = field(default_factory=list[str])
    keep: str = ""
    """Where the logs lie, if something was wrong."""


async def run_seed(seed: int, *, messages: int, tell: Callable[[str, int], None]) -> SeedResult:
    """Run one seed. `tell(words, step)` is called now and then with a step of 0..100.

    Raises NotStarted, RuntimeError when there is nothing to judge.
    """
    began_s = time.monotonic()
    data_dir = Path(tempfile.mkdtemp(prefix=f"cw-drill-{seed}-"))
    notes = Path(tempfile.mkdtemp(prefix=f"cw-drill-{seed}-notes-"))
    try:
        result = await _run(seed, messages=messages, data_dir=data_dir, notes=notes, tell=tell)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    result.took_s = time.monotonic() - began_s
    if result.violations:
        result.keep = str(notes)
    else:
        shutil.rmtree(notes, ignore_errors=True)
    return result


async def _run(
    seed: int, *, messages: int, data_dir: Path, notes: Path, tell: Callable[[str, int], None]
) -> SeedResult:
    tell("starting", 0)
    draw = random.Random(f"drill-{seed}")
    faults = plan_faults(seed)
    log_file = notes / "simulator.jsonl"
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(start_provider(verbs="echo=1", log_file=log_file))
        product = await stack.enter_async_context(
            start_product(data_dir, log_file=notes / "product.log", provider_url=provider.base_url)
        )
        rest = Rest(product.base_url, product.admin_key)
        tenants = [await rest.make_tenant(f"drill {number}") for number in range(_TENANTS)]
        for tenant in tenants:
            await rest.make_chatbot(tenant, CHATBOT)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=False))
        )
        clients = _clients(draw, session, product.base_url, tenants, messages, over_s=faults[-1].end_s + 3)

        hits = 0
        lines_total = sum(len(client.lines) for client in clients)

        def told(fault: Fault, hit: bool) -> None:  # noqa: FBT001 - called by position
            done = sum(1 for client in clients for line in client.lines if line.sent.acknowledged)
            tell(
                f"{fault}{'' if hit else ' (found nobody)'}, {done} of {lines_total} acknowledged",
                round(80 * done / lines_total),
            )

        load_began_s = time.monotonic()
        async with Followers() as following:
            async with asyncio.TaskGroup() as sending:
                for client in clients:
                    sending.create_task(client.run(following.start), name=client.name)
                hits = await sending.create_task(
                    carry_out(product, faults, began_s=load_began_s, tell=told), name="faults"
                )
                faults_over_s = time.monotonic()
                tell("last fault over, waiting for rest", 82)
            settle_s = await wait_terminal(product, since_s=faults_over_s, limit_s=_SETTLE_LIMIT_S + 30)
            tell("at rest, clients read on", 92)
            await _read_on(clients)
        tell("reading the evidence", 96)
        left = await wait_queue_empty(product, limit_s=10)
        rows, answers, calls, open_jobs = await read_rows(product)
        await asyncio.sleep(0.2)
    sent = [line.sent for client in clients for line in client.lines]
    evidence = Evidence(
        wanted=messages,
        sent=sent,
        messages=rows,
        answers=answers,
        calls=calls,
        simulated=read_simulated(log_file),
        open_jobs=open_jobs,
        queue_left=left,
        doubled_events=sum(client.view.doubled for client in clients),
        faults_planned=len(faults),
        faults_hit=hits,
        settle_s=settle_s,
        settle_limit_s=_SETTLE_LIMIT_S,
    )
    states: dict[str, int] = {}
    for row in rows:
        states[row.state] = states.get(row.state, 0) + 1
    return SeedResult(
        seed=seed,
        violations=judge(evidence),
        messages=len(rows),
        states=states,
        provider_calls=len(evidence.simulated),
        mended=count_mended(evidence),
        retries=sum(one.tries - 1 for one in sent if one.tries),
        settle_s=settle_s,
        took_s=0.0,
        faults=[str(fault) for fault in faults],
    )


def _clients(
    draw: random.Random,
    session: aiohttp.ClientSession,
    base_url: str,
    tenants: list[Tenant],
    messages: int,
    *,
    over_s: float,
) -> list[Client]:
    """Half of them over REST, half over WebSocket, spread over the tenants."""
    clients: list[Client] = []
    for number in range(_CONVERSATIONS):
        tenant = tenants[number % len(tenants)]
        kind = RestClient if number % 2 else SocketClient
        name = f"{kind.__name__}-{number}"
        count = messages // _CONVERSATIONS + (number < messages % _CONVERSATIONS)
        lines = write_lines(draw, name=name, tenant_id=tenant.id, count=count, over_s=over_s * 0.45)
        clients.append(kind(session, base_url=base_url, key=tenant.key, chatbot=CHATBOT, name=name, lines=lines))
    return clients


async def _read_on(clients: list[Client]) -> None:
    """Give the clients' streams a moment to tell every end."""
    give_up_s = time.monotonic() + _STREAM_PATIENCE_S
    # Each is asked every time: asking writes what is known into its notes.
    while sum(len(client.unfinished()) for client in clients) and time.monotonic() < give_up_s:
        await asyncio.sleep(0.2)
