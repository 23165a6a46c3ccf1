"""Rate limits: a burst from several processes whose clocks are wrong, and one client that keeps to the limit."""

import asyncio
import random
import sys
import time
from collections import Counter

import msgspec

from bench.drill.money.caller import ANSWERED, LIMITED
from bench.drill.money.evidence import BurstEvidence, Part
from bench.drill.money.fleet import EXACT, Fleet
from bench.drill.money.sender import SendPlan, SendResult
from bench.drill.money.verdict import judge_burst
from bench.processes import die_with_parent, quiet_environment, stop_process

BURST = 2_000
_SENDERS = 4
_LIMITS = (600, 300, 1_200, 60, 900)
"""A minute, by seed."""
_ZONES = ("Pacific/Kiritimati", "America/Los_Angeles", "Australia/Lord_Howe", "UTC")
_OFF_S = (-86_400.0, 3_600.0, 7 * 86_400.0, -45.0)
_BEGIN_AFTER_S = 2.0
_STEADY_LIMIT = 600
_AT_MOST_S = 200.0


async def run_burst(fleet: Fleet, *, seed: int) -> Part:
    """2,000 requests as fast as they are answered, through both APIs."""
    limit = _LIMITS[(seed - 1) % len(_LIMITS)]
    return await _run(fleet, name="burst", seed=seed, limit=limit, asked=BURST, steady_s=0.0)


async def run_steady(fleet: Fleet, *, seed: int, seconds: float) -> Part:
    """One client at exactly the limit's pace."""
    asked = round(_STEADY_LIMIT / 60 * seconds)
    return await _run(fleet, name="steady", seed=seed, limit=_STEADY_LIMIT, asked=asked, steady_s=seconds)


async def _run(fleet: Fleet, *, name: str, seed: int, limit: int, asked: int, steady_s: float) -> Part:
    began_s = time.monotonic()
    draw = random.Random(f"money-{name}-{seed}")
    tenant = await fleet.make_tenant(f"{name} {seed}")
    providers = [{"provider": "openai", "model": EXACT}]
    # By seed the chatbot's limit, the key's, or both.
    of_chatbot, of_key = draw.choice(((True, False), (False, True), (True, True)))
    limits = {"requests_per_minute": limit}
    await fleet.rest.make_chatbot(tenant, EXACT, providers=providers, limits=limits if of_chatbot else {})
    key = tenant.key
    if of_key:
        key = (await fleet.rest.call("POST", "/api/v1/keys", tenant.key, {"name": name, "limits": limits}))["secret"]
    senders = 1 if steady_s else _SENDERS
    plan = SendPlan(
        urls=fleet.apis,
        key=key,
        model=EXACT,
        requests=asked // senders,
        pace_per_s=limit / 60 if steady_s else 0.0,
        begin_mono_s=time.monotonic() + _BEGIN_AFTER_S,
    )
    places = draw.sample(range(_SENDERS), senders)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_send(plan, place), name=f"sender {place}") for place in places]
    results = [task.result() for task in tasks]
    ends: Counter[str] = Counter()
    for result in results:
        ends.update(result.ends)
    took_s = max(result.last_mono_s for result in results) - min(result.first_mono_s for result in results)
    evidence = BurstEvidence(
        name=name,
        limit=limit,
        asked=plan.requests * senders,
        passed=ends[ANSWERED],
        refused=ends[LIMITED],
        others=[end for end in ends if end not in (ANSWERED, LIMITED)],
        took_s=took_s,
        steady=bool(steady_s),
    )
    return Part(
        name=f"{name} of {evidence.asked:,} at a limit of {limit:,} a minute",
        seed=seed,
        violations=judge_burst(evidence),
        figures={"passed": evidence.passed, "refused": evidence.refused, "over, s": round(took_s, 2)},
        took_s=time.monotonic() - began_s,
    )


async def _send(plan: SendPlan, place: int) -> SendResult:
    """One sender with a clock of its own. Raises RuntimeError if it did not end well."""
    plan = msgspec.structs.replace(plan, clock_off_s=_OFF_S[place])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.drill.money.sender",
        msgspec.json.encode(plan).decode(),
        env=quiet_environment({"TZ": _ZONES[place]}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        async with asyncio.timeout(_AT_MOST_S):
            out, _ = await process.communicate()
    finally:
        await stop_process(process, within_s=5)
    if process.returncode:
        raise RuntimeError(f"a sender ended with {process.returncode}; its own words stand above")
    return msgspec.json.decode(out, type=SendResult)
