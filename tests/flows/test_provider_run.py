"""Runs over real HTTP against providers that misbehave in every way: answers, calls made, times, and nothing left behind."""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from bench.simulator import Simulator, run_simulator
from bench.simulator.behaviour import FAULTS
from bench.simulator.dialects import DEFAULT_REPLY
from chatwright.adapters.providers.extractive import Extractive
from chatwright.adapters.providers.http import HttpClients, open_http
from chatwright.adapters.providers.openai_chat import OpenAiChat
from chatwright.adapters.valkey import StreamLog, open_channel, open_link
from chatwright.domain.errors import ProviderError
from chatwright.domain.ids import CallId, new_id
from chatwright.domain.providers import Prompt, Route, Turn, Usage
from chatwright.features.routing import Gates, ProviderRun, State, Target, Trace


class Journal:
    """Books that count."""

    def __init__(self) -> None:
        self.opened = 0
        self.states: Counter[str] = Counter()

    async def open(self, route: Route) -> CallId:
        self.opened += 1
        return CallId(new_id())

    def close(
        self,
        call_id: CallId,
        route: Route,
        state: str,
        usage: Usage | None,
        error: ProviderError | None,
        trace: Trace | None = None,
    ) -> None:
        self.states[state] += 1

    def passed_over(self, route: Route, reason: str) -> None:
        self.states[reason] += 1


class Desk:
    """One process: gates on Valkey, HTTP clients, and two providers, the first of which may be broken."""

    def __init__(self, gates: Gates, http: HttpClients, first: Simulator, second: Simulator) -> None:
        self.gates = gates
        self.http = http
        self.first, self.second = first, second
        self.wire = OpenAiChat(http)
        self.journal = Journal()

    def target(self, provider: Simulator, *, gated: bool = True, silent_s: float = 0.15) -> Target:
        route = Route(
            provider="openai",
            model="mock",
            base_url=provider.base_url,
            connect_timeout_s=1.0,
            first_byte_timeout_s=silent_s,
            idle_timeout_s=silent_s,
        )
        return Target(route, self.wire, gate=f"openai|k|{provider.base_url}" if gated else "")

    def run(
        self,
        *targets: Target,
        question: str = "Hello?",
        left_s: float = 10.0,
        max_calls: int = 3,
        hedging: bool = False,
    ) -> ProviderRun:
        return ProviderRun(
            targets,
            Prompt(turns=(Turn("user", question),), question=question),
            self.journal,
            gates=self.gates,
            max_calls=max_calls,
            deadline=asyncio.get_running_loop().time() + left_s,
            prompt_tokens=10,
            hedging=hedging,
        )


@asynccontextmanager
async def open_desk(valkey_url: str) -> AsyncGenerator[Desk]:
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(valkey_url))
        channel = await stack.enter_async_context(open_channel(valkey_url, StreamLog(link, prefix=f"t{new_id()}")))
        gates = Gates(link, channel)
        task = asyncio.create_task(gates.run(), name="gates")
        stack.callback(task.cancel)
        http = await stack.enter_async_context(open_http())
        first = await stack.enter_async_context(run_simulator())
        second = await stack.enter_async_context(run_simulator())
        yield Desk(gates, http, first, second)
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def desk(valkey_url: str) -> AsyncIterator[Desk]:
    async with open_desk(valkey_url) as opened:
        yield opened


async def listen(run: ProviderRun, heard: list[str]) -> ProviderError | None:
    """What the visitor hears goes into `heard`; returns the failure that ended it."""
    try:
        async for delta in run.deltas():
            heard.append(delta.text)  # noqa: PERF401 - an extend keeps nothing of what came before a failure
    except ProviderError as error:
        return error
    return None


BEFORE_TEXT = {
    "429": {"status": 429},
    "429 with a wait": {"status": 429, "retry_after": "1"},
    "500": {"status": 500},
    "529": {"status": 529},
    "401": {"status": 401},
    "refused": {"refuse": True},
    "reset": {"cut": 0},
    "silent": {"latency": 10_000},
    "stalls before the first piece": {"stall": 0},
    "html": {"html_error": True},
    "garbled": {"garble": 0},
    "error in the stream": {"error_in_stream": 0},
    "error in a good answer": {"error_in_200": True},
}
WHOLE_ONLY = {"cut in half": {"cut": 1}}


@pytest.mark.parametrize(
    ("fault", "whole"),
    [*((fault, False) for fault in BEFORE_TEXT), *((fault, True) for fault in ("500", "silent", "cut in half"))],
)
async def test_one_broken_and_one_healthy_provider_answer_everybody_with_few_calls(
    desk: Desk, fault: str, whole: bool
) -> None:
    desk.first.set(**(BEFORE_TEXT | WHOLE_ONLY)[fault])
    answers = 0
    longest_s = 0.0
    a, b = desk.target(desk.first, silent_s=0.12), desk.target(desk.second, silent_s=5)

    async def visitor() -> None:
        nonlocal answers, longest_s
        began = time.monotonic()
        run = desk.run(a, b)
        text = (await run.complete()).text if whole else "".join([delta.text async for delta in run.deltas()])
        longest_s = max(longest_s, time.monotonic() - began)
        answers += text == DEFAULT_REPLY

    async with asyncio.TaskGroup() as group:
        for _ in range(150):
            group.create_task(visitor())
            await asyncio.sleep(0.008)
    assert answers == 150
    made = len(desk.first.calls()) + len(desk.second.calls())
    # Little more than a second holds the start and one probe; over a minute the share is a tenth of this.
    assert made <= 1.2 * 150, f"{made} calls for 150 answers"
    assert made == desk.journal.opened
    assert longest_s < 3
    assert desk.gates.states()[0].state is not State.CLOSED


@pytest.mark.parametrize(
    "fault", [{"cut": 3}, {"error_in_stream": 3}, {"garble": 3}, {"stall": 3}], ids=["cut", "error", "garble", "stall"]
)
async def test_a_fault_after_visible_text_ends_the_answer_and_splices_nothing(
    desk: Desk, fault: dict[str, int]
) -> None:
    desk.first.set(**fault)
    a, b = desk.target(desk.first), desk.target(desk.second)
    ends: Counter[str] = Counter()
    for _ in range(20):
        heard: list[str] = []
        error = await listen(desk.run(a, b), heard)
        text = "".join(heard)
        if error is None:
            assert text == DEFAULT_REPLY
            ends["whole"] += 1
        else:
            assert DEFAULT_REPLY.startswith(text)
            assert 0 < len(text) < len(DEFAULT_REPLY)
            ends["partial"] += 1
    # The breaker learns from cuts too: after five partial answers the healthy provider is asked.
    assert ends["partial"] <= 6
    assert desk.journal.states["cut"] == ends["partial"]
    assert desk.journal.states["ok"] == ends["whole"]


async def test_a_thousand_faults_leave_nothing_behind(desk: Desk) -> None:
    desk.first.set(fault_rate=1.0, faults="+".join((*FAULTS, "stall")))
    desk.second.set(fault_rate=0.5, faults="+".join((*FAULTS, "stall")), seed=3)
    # No gates: a breaker would spare the faults, and every one of them is wanted here.
    a, b = desk.target(desk.first, gated=False), desk.target(desk.second, gated=False)
    gc.collect()
    tasks = asyncio.all_tasks()
    ends: Counter[str] = Counter()
    lanes = asyncio.Semaphore(50)
    late = 0

    async def visitor(number: int) -> None:
        nonlocal late
        async with lanes:
            began = time.monotonic()
            run = desk.run(a, b, question=f"Question {number}", left_s=2.0, hedging=number % 4 == 0)
            heard: list[str] = []
            try:
                if number % 3 == 0:
                    heard.append((await run.complete()).text)
                    error = None
                else:
                    error = await listen(run, heard)
            except ProviderError as failure:
                error = failure
            late += time.monotonic() - began > 3.0
            text = "".join(heard)
            assert DEFAULT_REPLY.startswith(text)
            assert (error is None) == (text == DEFAULT_REPLY and bool(text))
            ends["whole" if error is None else "partial" if text else "none"] += 1

    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        for number in range(800):
            group.create_task(visitor(number))
    faulted = sum(bool(call.fault) for call in (*desk.first.calls(), *desk.second.calls()))
    assert faulted >= 1000
    assert sum(ends.values()) == 800
    assert late == 0
    assert desk.journal.opened == sum(desk.journal.states.values())
    assert asyncio.all_tasks() - tasks == set() or await _gone(asyncio.all_tasks() - tasks)
    # What is open now are idle connections for the next call, no answers: the providers see none.
    for provider in (desk.first, desk.second):
        async with asyncio.timeout(5):
            while provider.stats()["open"]:
                await asyncio.sleep(0.01)
    await desk.http.plain.close()
    for provider in (desk.first, desk.second):
        async with asyncio.timeout(5):
            while provider.connections:
                await asyncio.sleep(0.01)


async def _gone(tasks: set["asyncio.Task[object]"]) -> bool:
    """The simulators run in this loop too: their tasks end when they have seen the connection close."""
    done, left = await asyncio.wait(tasks, timeout=2)
    return bool(done) and not left


async def test_every_wait_ends_with_the_deadline(desk: Desk) -> None:
    desk.first.set(latency=60_000)
    desk.second.set(status=429, retry_after="1")
    for chain in (
        [desk.target(desk.first, silent_s=30)],
        [desk.target(desk.first, silent_s=30), desk.target(desk.second)],
        [desk.target(desk.second)],
    ):
        for whole in (False, True):
            began = time.monotonic()
            run = desk.run(*chain, left_s=1.0)
            with pytest.raises(ProviderError):
                await (run.complete() if whole else listen_or_raise(run))
            assert time.monotonic() - began < 2.0


async def listen_or_raise(run: ProviderRun) -> None:
    error = await listen(run, [])
    if error is not None:
        raise error


async def test_leaving_closes_the_call_upstream_at_once(desk: Desk) -> None:
    desk.first.set(chunks=200, interval=20)
    run = desk.run(desk.target(desk.first), hedging=False)
    deltas = run.deltas()
    await anext(deltas)
    await deltas.aclose()
    async with asyncio.timeout(1):
        while desk.first.stats()["open"]:
            await asyncio.sleep(0.005)
    assert desk.journal.states == Counter(cancelled=1)


async def test_hedging_cuts_the_slow_tail(desk: Desk) -> None:
    a, b = desk.target(desk.first, silent_s=5), desk.target(desk.second, silent_s=5)
    for _ in range(25):
        assert await listen(desk.run(a, hedging=True), []) is None
    desk.first.set(latency=1500)
    began = time.monotonic()
    for _ in range(3):
        heard: list[str] = []
        assert await listen(desk.run(a, b, hedging=True), heard) is None
        assert "".join(heard) == DEFAULT_REPLY
    assert time.monotonic() - began < 1.5
    assert desk.journal.states == Counter(ok=28, cancelled=3)
    async with asyncio.timeout(1):
        while desk.first.stats()["open"]:
            await asyncio.sleep(0.005)


async def test_the_quoting_provider_answers_when_all_others_are_down(desk: Desk) -> None:
    desk.first.set(status=500)
    last = Target(Route(provider="extractive", model="extractive"), Extractive(), counts=False)
    run = desk.run(desk.target(desk.first), last)
    heard: list[str] = []
    assert await listen(run, heard) is None
    assert "".join(heard)
    assert run.route is not None
    assert run.route.provider == "extractive"
