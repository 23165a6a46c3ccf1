"""Alerts: fifty calls cross 80, 95 and 100 % of a budget at one moment while a worker and an API are hit, and one call
jumps from 70 to 97 %. Each level is told once, and heard under one id although the receiver refuses at first.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.drill.money.caller import ANSWERED, REFUSED, Caller
from bench.drill.money.counters import told_alerts, unsettled
from bench.drill.money.evidence import AlertEvidence, Part
from bench.drill.money.fleet import EXACT, PRIMARY, RATES, Fleet
from bench.drill.money.receiver import Receiver
from bench.drill.money.verdict import judge_alerts
from bench.product import Tenant

LEVELS = ("budget.80", "budget.95", "budget.100")
REFUSALS = {"budget.80": 1, "budget.95": 2, "budget.100": 1}
"""First attempts of each kind that the receiver refuses: told again after 5 s, and after 30 s more."""
_CROSSING = 50
_TOKENS = 1_000
"""A budget is worth so many output tokens."""
_HEARD_WITHIN_S = 150.0
_SETTLED_WITHIN_S = 130.0
_LATE_S = 2.5


async def run_alerts(fleet: Fleet, receiver: Receiver, *, seed: int, stage: asyncio.Lock) -> Part:
    """Both scenes of one seed. `stage` is held while processes are hit: seeds share nothing but the wait that follows."""
    began_s = time.monotonic()
    draw = random.Random(f"money-alerts-{seed}")
    async with stage:
        shops = [await _cross(fleet, receiver, draw, seed), await _jump(fleet, receiver, seed)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_evidence(fleet, receiver, shop), name=f"hears {shop.path}") for shop in shops]
    found = [task.result() for task in tasks]
    return Part(
        name="alerts",
        seed=seed,
        violations=[violation for evidence in found for violation in judge_alerts(evidence)],
        figures={
            "told": sum(len(evidence.told) for evidence in found),
            "attempts": sum(len(evidence.delivered) for evidence in found),
            "refused by the receiver": sum(one.status == 500 for evidence in found for one in evidence.delivered),
        },
        took_s=time.monotonic() - began_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """A tenant with a budget and a webhook. `wanted`: the levels that are reached."""

    tenant: Tenant
    caller: Caller
    budget_id: str
    path: str
    wanted: Sequence[str]


async def _cross(fleet: Fleet, receiver: Receiver, draw: random.Random, seed: int) -> _Shop:
    """70 % are spent; fifty calls of 1 % each come at once. Then what is left is asked for until nothing fits."""
    shop = await _open_shop(fleet, receiver, f"cross{seed}", LEVELS)
    await _spend(fleet, shop, 700, "first")
    caller, apis = shop.caller, fleet.apis
    place = draw.randrange(3)

    async def one(number: int) -> str:
        # Through both APIs; the one that will be hit lets its calls end.
        text = f"cross{seed}-{number} [[sim:output_tokens=10,latency={draw.randint(50, 900)}]]"
        return await caller.complete(apis[number % 2], text, max_tokens=10)

    async with asyncio.TaskGroup() as group:
        for number in range(_CROSSING):
            group.create_task(one(number), name=f"crosses {number}")
        await asyncio.sleep(0.3)
        group.create_task(fleet.hit("worker", place, signal.SIGKILL), name="kills a worker")
        group.create_task(fleet.hit("api", 1, signal.SIGTERM), name="restarts an API")
    # A call that was cut off with its API is paid for when its reservation is settled; the room is used up before that.
    for number in range(_CROSSING):
        if await caller.complete(apis[0], f"rest{seed}-{number} [[sim:output_tokens=10]]", max_tokens=10) == REFUSED:
            break
    return shop


async def _jump(fleet: Fleet, receiver: Receiver, seed: int) -> _Shop:
    """One call takes the budget from 70 to 97 %."""
    shop = await _open_shop(fleet, receiver, f"jump{seed}", LEVELS[:2])
    await _spend(fleet, shop, 700, "first")
    await _spend(fleet, shop, 270, "second")
    return shop


async def _open_shop(fleet: Fleet, receiver: Receiver, name: str, wanted: Sequence[str]) -> _Shop:
    """A tenant with a budget of `_TOKENS` output tokens and a webhook."""
    tenant = await fleet.make_tenant(name)
    await fleet.rest.make_chatbot(tenant, EXACT, providers=[{"provider": "openai", "model": EXACT}], max_tokens=_TOKENS)
    limit_nano = RATES[(PRIMARY, EXACT)].nano(fresh=0, cached=0, written=0, output=_TOKENS)
    budget_id = await fleet.put_budget(tenant, limit_nano=limit_nano, period="day")
    path = f"/{name}"
    body = {"target": receiver.url + path, "events": ["budget.*"]}
    made = await fleet.rest.call("POST", "/api/v1/webhooks", tenant.key, body)
    receiver.secrets[path] = made["secret"]
    caller = Caller(fleet.session, tenant.key, EXACT)
    return _Shop(tenant=tenant, caller=caller, budget_id=budget_id, path=path, wanted=wanted)


async def _spend(fleet: Fleet, shop: _Shop, tokens: int, name: str) -> None:
    """One call of so many tokens, settled. Raises RuntimeError if it was not answered."""
    text = f"{name} {shop.path} [[sim:output_tokens={tokens}]]"
    end = await shop.caller.complete(fleet.apis[0], text, max_tokens=tokens)
    if end != ANSWERED:
        raise RuntimeError(f"a call that had to be answered was not: {end}")
    await _settled(fleet, shop.tenant, within_s=20)


async def _settled(fleet: Fleet, tenant: Tenant, *, within_s: float) -> None:
    give_up_s = time.monotonic() + within_s
    while time.monotonic() < give_up_s:
        with contextlib.suppress(OSError, TimeoutError):
            if not await unsettled(fleet.product, tenant.id):
                return
        await asyncio.sleep(0.1)


async def _evidence(fleet: Fleet, receiver: Receiver, shop: _Shop) -> AlertEvidence:
    """Wait until everything is settled, told and heard, and a moment longer for what must not come."""
    await _settled(fleet, shop.tenant, within_s=_SETTLED_WITHIN_S)
    give_up_s = time.monotonic() + _HEARD_WITHIN_S
    while time.monotonic() < give_up_s:
        heard = {one.webhook_id for one in receiver.delivered.get(shop.path, ()) if one.status == 200}
        if len(heard) >= len(shop.wanted):
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(_LATE_S)
    return AlertEvidence(
        name=shop.path.strip("/"),
        wanted=shop.wanted,
        told=await told_alerts(fleet.product, shop.tenant.id, shop.budget_id),
        delivered=list(receiver.delivered.get(shop.path, ())),
        refusals_of=receiver.refusals,
    )
