"""Two hundred at once against a budget for fifty: over `/v1` by two APIs, and as messages by three workers.

Once each call uses all that it reserved: exactly fifty are made. Once each uses half of it, and who is held back asks
again: everything that fits is let through.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence

from bench.drill.money.caller import ANSWERED, REFUSED, Caller
from bench.drill.money.counters import counters, ledger_rows, noted_states, over, sampling, unsettled
from bench.drill.money.evidence import CapEvidence, CounterState, Part
from bench.drill.money.fleet import EXACT, PRIMARY, RATES, Fleet
from bench.drill.money.verdict import judge_cap
from bench.product import Tenant

FITS = 50
ASKED = 200
_MAX_TOKENS = 64
_SETTLED_WITHIN_S = 40.0
_ALL_WITHIN_S = 60.0
_PAUSE_S = (0.1, 0.4)
_BUDGETS: tuple[tuple[tuple[str, bool], ...], ...] = (
    (("day", False),),
    (("month", True),),
    (("day", False), ("month", False), ("day", True), ("month", True)),
    (("total", False), ("day", True)),
    (("total", True),),
)
"""(period, whether it is the chatbot's), by seed."""


async def measure_reservation(fleet: Fleet) -> int:
    """What one call reserves, over both ways the same. Raises RuntimeError if it is not."""
    tenant, caller = await _open_shop(fleet, "measured")
    base_url = fleet.apis[0]
    words = [
        await caller.complete(base_url, "measured 1"),
        await caller.say(base_url, await caller.open(base_url), "measured 2"),
    ]
    await _settled(fleet, tenant)
    found = {row.reserved_nano for row in await ledger_rows(fleet.product, tenant.id)}
    need_nano = next(iter(found), None)
    per_token = RATES[(PRIMARY, EXACT)].nano(fresh=0, cached=0, written=0, output=1)
    if words != [ANSWERED, ANSWERED] or len(found) != 1 or not need_nano or need_nano % (2 * per_token):
        raise RuntimeError(f"one call's reservation could not be measured: {words}, {found}")
    return need_nano


async def run_whole(fleet: Fleet, *, seed: int, need_nano: int) -> Part:
    """Each call uses its whole reservation, all come at once, nobody asks twice."""
    return await _run(fleet, seed=seed, need_nano=need_nano, each_nano=need_nano, exactly=True)


async def run_half(fleet: Fleet, *, seed: int, need_nano: int) -> Part:
    """Each call uses half of its reservation; who is held back asks again."""
    return await _run(fleet, seed=seed, need_nano=need_nano, each_nano=need_nano // 2, exactly=False)


async def _run(fleet: Fleet, *, seed: int, need_nano: int, each_nano: int, exactly: bool) -> Part:
    name = "whole" if exactly else "half"
    began_s = time.monotonic()
    draw = random.Random(f"money-{name}-{seed}")
    tenant, caller = await _open_shop(fleet, f"{name} {seed}")
    limit_nano = FITS * need_nano
    budgets = _BUDGETS[seed % len(_BUDGETS)]
    for period, of_chatbot in budgets:
        await fleet.put_budget(tenant, limit_nano=limit_nano, period=period, chatbot=EXACT if of_chatbot else None)
    per_token = RATES[(PRIMARY, EXACT)].nano(fresh=0, cached=0, written=0, output=1)
    prefix = f"{name}{seed}-"
    async with sampling(fleet.product, tenant.id) as sampled:
        ends = await _ask_all(
            fleet, caller, draw, prefix, sampled, tokens=each_nano // per_token,
            full_nano=None if exactly else limit_nano - need_nano,
        )  # fmt: skip
        await _settled(fleet, tenant)
    counted = Counter(ends)
    committed = await noted_states(fleet.product, tenant.id)
    rows = await ledger_rows(fleet.product, tenant.id)
    evidence = CapEvidence(
        need_nano=need_nano,
        each_nano=each_nano,
        fits=FITS,
        asked=ASKED,
        answered=counted[ANSWERED],
        refused=counted[REFUSED],
        others=[end for end in ends if end not in (ANSWERED, REFUSED)],
        provider_calls=len(fleet.calls(prefix)),
        rows=rows,
        committed=committed,
        sampled=list(sampled),
        at_rest=await counters(fleet.product, tenant.id),
        exactly=exactly,
    )
    return Part(
        name="each call uses its whole reservation" if exactly else "each call uses half of its reservation",
        seed=seed,
        violations=judge_cap(evidence),
        figures={
            "calls": evidence.provider_calls,
            "refused": sum(state.refused for state in committed),
            "of the limit, most": f"{over([*committed, *sampled]) / limit_nano:.4f}",
            "samples": len(sampled),
            "commits": len(committed),
        },
        took_s=time.monotonic() - began_s,
    )


async def _open_shop(fleet: Fleet, name: str) -> tuple[Tenant, Caller]:
    tenant = await fleet.make_tenant(name)
    providers = [{"provider": "openai", "model": EXACT}]
    await fleet.rest.make_chatbot(tenant, EXACT, providers=providers, max_tokens=_MAX_TOKENS)
    return tenant, Caller(fleet.session, tenant.key, EXACT)


async def _ask_all(
    fleet: Fleet,
    caller: Caller,
    draw: random.Random,
    prefix: str,
    sampled: Sequence[CounterState],
    *,
    tokens: int,
    full_nano: int | None,
) -> list[str]:
    """Ask `ASKED` times within a moment of the seed's. With `full_nano` who is held back asks again, until so much is
    spent that no further call can fit."""
    apis = fleet.apis
    spread_s = draw.choice((0.0, 0.3, 1.5))
    conversations = [await caller.open(draw.choice(apis)) for _ in range(ASKED // 2)]
    give_up_s = time.monotonic() + _ALL_WITHIN_S

    def full() -> bool:
        last = sampled[-1] if sampled else None
        return full_nano is None or (last is not None and last.reserved_nano == 0 and last.spent_nano > full_nano)

    async def one(number: int, after_s: float, pauses: random.Random) -> str:
        verbs = f"output_tokens={tokens},latency={pauses.randint(0, 700)}"
        text = f"{prefix}{number} [[sim:{verbs}]]"
        await asyncio.sleep(after_s)
        while True:
            if number % 2:
                end = await caller.say(pauses.choice(apis), conversations[number // 2], text)
            else:
                end = await caller.complete(pauses.choice(apis), text, stream=number % 4 == 0)
            if end != REFUSED or full() or time.monotonic() > give_up_s:
                return end
            await asyncio.sleep(pauses.uniform(*_PAUSE_S))

    order = list(range(ASKED))
    draw.shuffle(order)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(one(number, draw.uniform(0, spread_s), random.Random(f"{prefix}{number}")), name=f"asks {number}")
            for number in order
        ]  # fmt: skip
    return [task.result() for task in tasks]


async def _settled(fleet: Fleet, tenant: Tenant) -> None:
    give_up_s = time.monotonic() + _SETTLED_WITHIN_S
    while time.monotonic() < give_up_s:
        with contextlib.suppress(OSError, TimeoutError):
            if not await unsettled(fleet.product, tenant.id):
                return
        await asyncio.sleep(0.1)
