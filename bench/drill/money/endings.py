"""Thousands of calls with mixed endings, processes killed in the middle: is the ledger the providers' bill?"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable

import aiohttp

from bench.drill.money.caller import Caller
from bench.drill.money.counters import counters, ledger_rows, noted_states, unsettled
from bench.drill.money.evidence import BooksEvidence, Part
from bench.drill.money.fleet import Fleet, billed, chain
from bench.drill.money.script import Hit, Question, plan_hits, write_question
from bench.drill.money.verdict import judge_books
from bench.product import Tenant

_CHATBOTS = 12
_CLIENTS = 56
_LIMIT_NANO = 1_000 * 10**9
_REST_LIMIT_S = 120.0
_LOAD_AT_MOST_S = 420.0
_BROKEN_PAUSE_S = 0.2
Tell = Callable[[str], None]


async def run_endings(fleet: Fleet, *, seed: int, least_calls: int, tell: Tell, loaded: asyncio.Event) -> Part:
    """Ask until so many calls have reached the providers and every process was hit; then (`loaded` is set) wait for rest,
    and compare."""
    began_s = time.monotonic()
    tenant = await fleet.make_tenant(f"endings {seed}")
    slugs = [await _make_chatbot(fleet, tenant, number) for number in range(_CHATBOTS)]
    for period, chatbot in (("day", None), ("month", None), ("day", slugs[0]), ("month", slugs[1])):
        await fleet.put_budget(tenant, limit_nano=_LIMIT_NANO, period=period, chatbot=chatbot)
    prefix = f"b{seed}-"
    run = _Run(fleet, tenant, slugs, seed)
    hits = plan_hits(seed)
    async with asyncio.TaskGroup() as group:
        hitting = group.create_task(_hit(fleet, hits, tell), name="hits")
        clients = [group.create_task(run.client(), name=f"client {number}") for number in range(_CLIENTS)]
        while not (hitting.done() and await asyncio.to_thread(count_calls, fleet, prefix) >= least_calls):
            if time.monotonic() - began_s > _LOAD_AT_MOST_S or all(task.done() for task in clients):
                break
            await asyncio.sleep(2)
        run.over = True
    over_s = time.monotonic()
    loaded.set()
    tell(f"{run.asked:,} asked; waiting until nothing is reserved any more")
    rest_s = await _rest(fleet, tenant, since_s=over_s)
    calls = [billed(name, call) for name, call in fleet.calls(prefix)]
    evidence = BooksEvidence(
        least_calls=least_calls,
        calls=calls,
        rows=await ledger_rows(fleet.product, tenant.id),
        committed=await noted_states(fleet.product, tenant.id),
        at_rest=await counters(fleet.product, tenant.id),
        rest_s=rest_s,
        rest_limit_s=_REST_LIMIT_S,
        drifts=len(
            (await fleet.rest.call("POST", "/api/v1/budgets/reconcile", tenant.key, {}, timeout_s=60))["drifts"]
        ),
        faults_planned=len(hits),
        faults_hit=hitting.result(),
    )
    return Part(
        name="mixed endings",
        seed=seed,
        violations=judge_books(evidence),
        figures=_figures(evidence, run.ends),
        took_s=time.monotonic() - began_s,
    )


def _figures(evidence: BooksEvidence, ends: Counter[str]) -> dict[str, object]:
    rows = {row.id: row for row in evidence.rows}
    pairs = [(rows[call.call_id], call) for call in evidence.calls if call.call_id in rows]
    guessed = [(row.cost_nano or 0, call.bill_nano) for row, call in pairs if row.estimated]
    measured = [(row.cost_nano or 0, call.bill_nano) for row, call in pairs if not row.estimated]
    estimates: dict[str, tuple[int, int, int]] = {}
    for row, call in pairs:
        if row.estimated:
            kind = f"{row.state} {row.error_class or ''} {call.shape} {call.verb.partition(':')[0]} {call.ended}"
            count, cost, bill = estimates.get(kind, (0, 0, 0))
            estimates[kind] = count + 1, cost + (row.cost_nano or 0), bill + call.bill_nano
    unmade = {row.id for row in evidence.rows} - {call.call_id for call in evidence.calls}
    return {
        "calls": len(evidence.calls),
        "rows": len(evidence.rows),
        "measured": len(measured),
        "estimated": len(guessed),
        "abandoned": sum(row.state == "abandoned" for row in evidence.rows),
        "never made": len(unmade),
        "estimated / bill": round(sum(cost for cost, _ in guessed) / max(1, sum(bill for _, bill in guessed)), 3),
        "measured - bill, nano": sum(cost - bill for cost, bill in measured),
        "at rest after, s": None if evidence.rest_s is None else round(evidence.rest_s, 1),
        "rows by state": dict(Counter(row.state for row in evidence.rows)),
        "calls by end": dict(Counter(call.ended or "open" for call in evidence.calls)),
        "requests by end": dict(ends.most_common(12)),
        "estimates by kind: rows, cost, bill": estimates,
    }


async def _make_chatbot(fleet: Fleet, tenant: Tenant, number: int) -> str:
    """Every third one hedges. Long answers are allowed to some: there an estimate is far from the reservation."""
    slug = f"mixed-{number}"
    max_tokens = (160, 1_024)[number // 2 % 2]
    await fleet.rest.make_chatbot(tenant, slug, providers=chain(number), max_tokens=max_tokens, hedging=number % 3 == 0)
    return slug


class _Run:
    """What the clients share."""

    def __init__(self, fleet: Fleet, tenant: Tenant, slugs: list[str], seed: int) -> None:
        self._fleet = fleet
        self._seed = seed
        self._draw = random.Random(f"money-endings-{seed}")
        self._callers = [Caller(fleet.session, tenant.key, slug) for slug in slugs]
        self.over = False
        self.asked = 0
        self.ends: Counter[str] = Counter()

    async def client(self) -> None:
        """One thing after the other, until it is over."""
        while not self.over:
            question = write_question(self._draw, seed=self._seed, number=self.asked, chatbots=_CHATBOTS)
            self.asked += 1
            end = await self._ask(question)
            self.ends[f"{question.way}: {end[:40]}"] += 1
            if end.startswith("broken"):
                await asyncio.sleep(_BROKEN_PAUSE_S)

    async def _ask(self, question: Question) -> str:
        base_url = self._draw.choice(self._fleet.apis)
        # Hedging chatbots are those with a number that three divides.
        number = question.chatbot - question.chatbot % 3 if question.hedged else question.chatbot
        caller = self._callers[number]
        try:
            match question.way:
                case "stream" | "whole":
                    return await caller.complete(base_url, question.text, stream=question.way == "stream")
                case "leave":
                    streamed = self._draw.random() < 0.7
                    return await caller.leave(
                        base_url, question.text, stream=streamed, after_s=question.after_s, pieces=question.pieces
                    )
                case "queued":
                    return await caller.say(base_url, await caller.open(base_url), question.text)
                case "cancel":
                    conversation_id = await caller.open(base_url)
                    return await caller.say_and_cancel(
                        base_url, conversation_id, question.text, after_s=question.after_s
                    )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
            return f"broken: {error!r}"


async def _hit(fleet: Fleet, hits: list[Hit], tell: Tell) -> int:
    """Carry the hits out, one after the other. Returns how many found their process."""
    began_s, found = time.monotonic(), 0
    for hit in hits:
        await asyncio.sleep(max(0.0, began_s + hit.at_s - time.monotonic()))
        there = await fleet.hit(hit.role, hit.place, hit.number)
        found += there
        tell(f"{hit}{'' if there else ' (found nobody)'}")
    return found


async def _rest(fleet: Fleet, tenant: Tenant, *, since_s: float) -> float | None:
    """Seconds from `since_s` until nothing is open or reserved; None after some more than the limit."""
    while (waited_s := time.monotonic() - since_s) < _REST_LIMIT_S + 30:
        with contextlib.suppress(OSError, TimeoutError):
            if not await unsettled(fleet.product, tenant.id):
                return waited_s
        await asyncio.sleep(0.25)
    return None


def count_calls(fleet: Fleet, prefix: str) -> int:
    """How many calls have reached the providers. Reads the logs: for a thread."""
    return len(fleet.calls(prefix))
