"""The way of one completion through its chain: order, budget, waits, fallback and hedging, over scripted wire formats."""

import asyncio
import dataclasses
import random
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.adapters.providers.base import Embeddings, EmbeddingTask, join
from chatwright.adapters.valkey import Channel, Link, StreamLog
from chatwright.adapters.valkey.link import Endpoint
from chatwright.domain.errors import (
    AuthenticationError,
    ContextLengthError,
    ProviderError,
    RateLimitError,
    Unavailable,
)
from chatwright.domain.ids import CallId
from chatwright.domain.providers import Completion, Delta, Finish, Prompt, Route, Turn, Usage
from chatwright.features.routing import Gates, KeyLimits, ProviderRun, Reach, State, Target, Trace

GOOD = (Delta(text="Hel"), Delta(text="lo"), Delta(finish=Finish.STOP, usage=Usage(input_tokens=3, output_tokens=2)))
NOWHERE = Endpoint(path="/nowhere/valkey")
Play = tuple[Sequence[Delta | float], ProviderError | None]


class Scripted:
    """A wire format that plays one script per call: deltas and pauses in seconds, then perhaps an error."""

    def __init__(self, *plays: Play) -> None:
        self.plays: list[Play] = list(plays)
        self.routes: list[Route] = []
        self.running = 0
        self.most_running = 0

    async def _play(self, route: Route) -> AsyncGenerator[Delta, None]:
        self.routes.append(route)
        steps, error = self.plays.pop(0) if self.plays else (GOOD, None)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            limit_s = route.first_byte_timeout_s
            for step in steps:
                if isinstance(step, float | int):
                    await asyncio.sleep(min(step, limit_s))
                    if step > limit_s:
                        raise ProviderError("silent", retriable=True, error_class="timeout")
                    continue
                limit_s = route.idle_timeout_s
                yield step
            if error is not None:
                raise error
        finally:
            self.running -= 1

    def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        return self._play(route)

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        deltas = [delta async for delta in self._play(route)]
        return join(deltas)

    async def embed(
        self, route: Route, texts: Sequence[str], *, dimensions: int | None = None, task: EmbeddingTask | None = None
    ) -> Embeddings:
        raise NotImplementedError


class Journal:
    """Books that remember. `closed` holds provider, state and usage of each call in the order of the endings."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[tuple[str, str, Usage | None]] = []
        self.traces: list[Trace | None] = []
        self.passed: list[tuple[str, str]] = []
        self.refuse_from = 1_000

    async def open(self, route: Route) -> CallId:
        await asyncio.sleep(0)
        if len(self.opened) >= self.refuse_from:
            raise Unavailable("the ledger is away")
        self.opened.append(route.provider)
        return CallId(f"call-{len(self.opened)}")

    def close(
        self,
        call_id: CallId,
        route: Route,
        state: str,
        usage: Usage | None,
        error: ProviderError | None,
        trace: Trace | None = None,
    ) -> None:
        assert route.call_id == call_id
        self.closed.append((route.provider, state, usage))
        self.traces.append(trace)

    def passed_over(self, route: Route, reason: str) -> None:
        self.passed.append((route.provider, reason))

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(provider, state) for provider, state, _ in self.closed]


class Desk:
    """The gates of a process that cannot reach Valkey, a journal, and runs with short times."""

    def __init__(self) -> None:
        link = Link(NOWHERE, timeout_s=0.1)
        channel = Channel(
            NOWHERE, StreamLog(link), buffer_events=1, buffer_bytes=1, heartbeat_s=1.0, silence_s=1.0, patience_s=1.0
        )
        self.gates = Gates(link, channel)
        self.journal = Journal()

    def run(
        self,
        *targets: Target,
        max_calls: int = 3,
        left_s: float = 60,
        hedging: bool = False,
        patience_s: float = 5.0,
        skipped: Sequence[ProviderError] = (),
    ) -> ProviderRun:
        return ProviderRun(
            targets,
            PROMPT,
            self.journal,
            gates=self.gates,
            max_calls=max_calls,
            deadline=asyncio.get_running_loop().time() + left_s,
            prompt_tokens=3,
            hedging=hedging,
            patience_s=patience_s,
            skipped=skipped,
        )

    async def settle(self, wire: "Scripted", gate: str, seconds: float = 0.01) -> None:
        """Make a gate's usual delay known."""
        for _ in range(25):
            admission = await self.gates.admit(Target(Route(provider=gate, model="m"), wire, gate=gate), 1)
            self.gates.seen(admission, seconds)
            self.gates.seen(admission, seconds, whole=True)
            self.gates.done(admission)

    def state(self, gate: str) -> State:
        return next(state.state for state in self.gates.states() if state.gate == gate)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


def target(
    name: str, *plays: Play, counts: bool = True, context_tokens: int | None = None, first_byte_s: float = 30.0
) -> Target:
    route = Route(provider=name, model="m", first_byte_timeout_s=first_byte_s)
    return Target(route, Scripted(*plays), counts=counts, gate=name if counts else "", context_tokens=context_tokens)


def wire(of: Target) -> Scripted:
    assert isinstance(of.wire, Scripted)
    return of.wire


def fault(*, retriable: bool = True, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError("down", retriable=retriable, upstream_status=500, retry_after_s=retry_after_s)


DOWN: Play = ((), fault())
WELL: Play = (GOOD, None)
PROMPT = Prompt(turns=(Turn("user", "Hi"),))


async def spoken(run: ProviderRun) -> str:
    return "".join([delta.text async for delta in run.deltas()])


async def listen(run: ProviderRun, heard: list[str]) -> None:
    """As `spoken`, for runs that fail: what was heard before stays in `heard`."""
    async for delta in run.deltas():
        heard.append(delta.text)  # noqa: PERF401 - an extend keeps nothing of what came before a failure


def local() -> Target:
    return target("local", WELL, WELL, counts=False)


# --- order and fallback -----------------------------------------------------------------------------------------------


async def test_a_failure_before_the_first_text_goes_to_the_next_target(desk: Desk) -> None:
    run = desk.run(target("a", ((Delta(reasoning="hm"), Delta(usage=Usage())), fault())), target("b", WELL))
    assert await spoken(run) == "Hello"
    assert run.route is not None
    assert run.route.provider == "b"
    assert (run.attempts, run.fallbacks, len(run.errors)) == (2, 1, 1)
    assert desk.journal.states == [("a", "failed"), ("b", "ok")]


async def test_a_failure_after_visible_text_is_never_spliced(desk: Desk) -> None:
    run = desk.run(target("a", (GOOD[:1], fault())), target("b", WELL))
    heard: list[str] = []
    with pytest.raises(ProviderError):
        await listen(run, heard)
    assert heard == ["Hel"]
    ((provider, state, usage),) = desk.journal.closed
    assert (provider, state, usage) == ("a", "cut", None)
    trace = desk.journal.traces[0]
    assert trace is not None
    assert (trace.reach, trace.texts, trace.pieces) == (Reach.ALL, ["Hel"], 1)


async def test_a_tool_call_is_visible(desk: Desk) -> None:
    with pytest.raises(ProviderError):
        await spoken(desk.run(target("a", ((Delta(tool_calls=[{"index": 0}]),), fault())), target("b", WELL)))
    assert desk.journal.states == [("a", "cut")]


async def test_a_stream_without_a_finish_marker_is_a_failure(desk: Desk) -> None:
    with pytest.raises(ProviderError):
        await spoken(desk.run(target("a", (GOOD[:2], None)), max_calls=1))
    assert desk.journal.states == [("a", "cut")]
    assert await spoken(desk.run(target("b", ((), None)), target("c", WELL))) == "Hello"


async def test_the_same_target_is_asked_again_only_when_no_other_is_left(desk: Desk) -> None:
    a, b = target("a", DOWN, WELL), target("b", DOWN, WELL)
    assert await spoken(desk.run(a, b)) == "Hello"
    assert desk.journal.opened[:2] == ["a", "b"]
    assert len(desk.journal.opened) == 3
    desk.journal.opened.clear()
    with pytest.raises(ProviderError):
        await spoken(desk.run(target("c", ((), fault(retriable=False)), WELL)))
    assert desk.journal.opened == ["c"]


async def test_the_attempt_budget_holds_and_local_targets_cost_none(desk: Desk) -> None:
    run = desk.run(target("a", *[DOWN] * 9), local(), target("b", *[DOWN] * 9), max_calls=2)
    assert await spoken(run) == "Hello"
    assert desk.journal.opened == ["a", "b", "local"]
    assert run.attempts == 2


async def test_a_local_target_listed_first_answers_first(desk: Desk) -> None:
    assert await spoken(desk.run(local(), target("a", WELL))) == "Hello"
    assert desk.journal.opened == ["local"]


async def test_a_spent_budget_calls_nobody(desk: Desk) -> None:
    with pytest.raises(ProviderError) as caught:
        await spoken(desk.run(target("a", WELL), max_calls=0))
    assert caught.value.error_class == "attempts_spent"
    with pytest.raises(ProviderError) as caught:
        await spoken(desk.run(target("a", WELL), left_s=0))
    assert caught.value.error_class == "deadline"
    assert desk.journal.opened == []
    assert await spoken(desk.run(target("a", WELL), local(), left_s=0)) == "Hello"


async def test_links_that_could_not_be_targets_are_told_when_nobody_answers(desk: Desk) -> None:
    sealed = AuthenticationError("the key of a cannot be opened")
    with pytest.raises(AuthenticationError):
        await spoken(desk.run(skipped=[sealed]))
    run = desk.run(target("b", WELL), skipped=[sealed])
    await spoken(run)
    assert run.errors == [sealed]


async def test_after_a_prompt_too_long_only_larger_models_are_asked(desk: Desk) -> None:
    long: Play = ((), ContextLengthError("too long"))
    run = desk.run(
        target("a", long, context_tokens=8000),
        target("same", WELL, context_tokens=8000),
        target("larger", WELL, context_tokens=32_000),
    )
    assert await spoken(run) == "Hello"
    assert desk.journal.opened == ["a", "larger"]
    assert desk.journal.passed == [("same", "context_too_small")]
    with pytest.raises(ContextLengthError):
        await spoken(desk.run(target("a", long), target("b", ((), fault(retriable=False)))))


# --- gates ------------------------------------------------------------------------------------------------------------


async def test_an_open_breaker_is_passed_over_and_booked_once(desk: Desk) -> None:
    for _ in range(5):
        await spoken(desk.run(target("a", DOWN), target("b", WELL)))
    assert desk.state("a") is State.OPEN
    desk.journal.opened.clear()
    run = desk.run(target("a", WELL), target("b", WELL))
    assert await spoken(run) == "Hello"
    assert desk.journal.opened == ["b"]
    assert desk.journal.passed == [("a", "breaker_open")]
    assert (run.attempts, run.fallbacks) == (1, 1)


async def test_it_waits_for_a_gate_that_opens_soon_and_else_says_when(desk: Desk) -> None:
    limited = ((), RateLimitError("slow down", retry_after_s=0.3))
    a = target("a", limited, WELL)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await spoken(desk.run(a)) == "Hello"
    assert 0.3 <= loop.time() - began < 1
    assert desk.journal.passed == []  # nobody else was called in its place
    with pytest.raises(RateLimitError) as caught:
        await spoken(desk.run(target("b", ((), RateLimitError("slow down", retry_after_s=50)))))
    assert caught.value.retry_after_s == 50
    began = loop.time()
    with pytest.raises(RateLimitError) as caught:
        await spoken(desk.run(target("b", WELL)))
    assert 49 < (caught.value.retry_after_s or 0) < 56
    assert loop.time() - began < 0.2
    assert desk.journal.passed == [("b", "rate_limited")]
    assert await spoken(desk.run(target("b", WELL), local())) == "Hello"


async def test_a_refused_key_is_left_alone_and_the_next_target_answers(desk: Desk) -> None:
    refused: Play = ((), AuthenticationError("no"))
    assert await spoken(desk.run(target("a", refused), target("b", WELL))) == "Hello"
    assert await spoken(desk.run(target("a", WELL), target("b", WELL))) == "Hello"
    assert desk.journal.opened == ["a", "b", "b"]
    assert desk.journal.passed == [("a", "key_refused")]
    with pytest.raises(AuthenticationError):
        await spoken(desk.run(target("a", WELL)))


async def test_a_known_limit_is_kept_by_going_to_the_next(desk: Desk) -> None:
    limits = KeyLimits(requests_per_minute=10)
    for _ in range(12):
        a = dataclasses.replace(target("a", WELL), limits=limits)
        assert await spoken(desk.run(a, target("b", WELL))) == "Hello"
    assert desk.journal.opened.count("a") == 5
    assert desk.journal.passed == [("a", "rate_limited")] * 7


async def test_a_time_out_for_want_of_time_is_not_the_providers_fault(desk: Desk) -> None:
    for _ in range(8):
        with pytest.raises(ProviderError):
            await spoken(desk.run(target("a", ((9.0,), None)), left_s=0.1, max_calls=1, patience_s=0))
    assert desk.state("a") is State.CLOSED
    for _ in range(8):
        with pytest.raises(ProviderError):
            await spoken(desk.run(target("b", ((9.0,), None), first_byte_s=0.02), max_calls=1, patience_s=0))
    assert desk.state("b") is State.OPEN


async def test_a_stalling_provider_is_avoided_by_those_who_can(desk: Desk) -> None:
    silent: Play = ((30.0,), None)
    a, b = target("a", *[silent] * 8), target("b", WELL)
    await desk.settle(wire(a), "a", 0.1)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        stuck = [group.create_task(spoken(desk.run(a))) for _ in range(8)]
        await asyncio.sleep(2.2)
        assert await spoken(desk.run(a, b)) == "Hello"
        assert desk.journal.states == [("b", "ok")]
        assert desk.journal.passed == [("a", "breaker_open")]
        assert await spoken(desk.run(a)) == "Hello"  # the only one: it is asked all the same
        for task in stuck:
            task.cancel()
    assert desk.state("a") is State.CLOSED


async def test_who_leaves_gives_the_probe_back(desk: Desk) -> None:
    limited = ((), RateLimitError("slow down", retry_after_s=0.05))
    with pytest.raises(RateLimitError):
        await spoken(desk.run(target("a", limited), max_calls=1))
    await asyncio.sleep(0.06)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await spoken(desk.run(target("a", ((5.0,), None))))
    assert desk.state("a") is State.HALF_OPEN
    assert await spoken(desk.run(target("a", WELL), max_calls=1)) == "Hello"
    assert desk.state("a") is State.CLOSED


# --- times ------------------------------------------------------------------------------------------------------------


async def test_a_route_is_sent_whole_with_its_call_and_the_time_that_is_left(desk: Desk) -> None:
    told = Route(
        provider="a",
        model="m",
        base_url="http://a/v1",
        api_key="k",
        key_id="id",
        guarded=True,
        connect_timeout_s=1.5,
        first_byte_timeout_s=29.0,
        idle_timeout_s=19.0,
    )
    a = Target(told, Scripted(WELL), gate="a")
    await spoken(desk.run(a, left_s=60))
    (sent,) = wire(a).routes
    assert sent.heard is not None
    assert dataclasses.replace(sent, call_id=None) == told
    assert {field.name for field in dataclasses.fields(Route)} == {
        *("provider", "model", "base_url", "api_key", "key_id", "guarded", "call_id", "connect_timeout_s"),
        *("first_byte_timeout_s", "idle_timeout_s", "heard"),
    }, "service.py copies a route field by field: add the new one there"


async def test_silence_is_cut_short_while_another_can_be_asked(desk: Desk) -> None:
    a, b = target("a", DOWN), target("b", WELL)
    await spoken(desk.run(a, b))
    assert wire(a).routes[0].first_byte_timeout_s == 10
    assert wire(b).routes[0].first_byte_timeout_s == 30
    a, b = target("c", DOWN), target("d", WELL)
    await desk.run(a, b, left_s=40).complete()
    assert wire(a).routes[0].first_byte_timeout_s == pytest.approx(20, abs=0.5)
    assert wire(b).routes[0].first_byte_timeout_s == 30
    short = target("e", WELL)
    await spoken(desk.run(short, left_s=3))
    assert wire(short).routes[0].first_byte_timeout_s == pytest.approx(3, abs=0.5)


async def test_no_pause_passes_the_deadline(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    slow: Play = ((), fault(retry_after_s=1.0))
    with pytest.raises(ProviderError):
        await spoken(desk.run(target("a", *[slow] * 5), left_s=0.5))
    assert loop.time() - began < 0.3, "a pause that ends too late is not begun"
    began = loop.time()
    with pytest.raises(ProviderError):
        await spoken(desk.run(target("b", *[((30.0,), None)] * 9), target("c", *[((30.0,), None)] * 9), left_s=0.5))
    assert loop.time() - began < 1.0


async def test_all_pauses_together_end_with_the_visitors_patience(desk: Desk) -> None:
    a = target("a", ((), RateLimitError("slow down", retry_after_s=0.05)))
    with pytest.raises(RateLimitError):
        await spoken(desk.run(a, max_calls=1))
    await asyncio.sleep(0.06)
    probe = await desk.gates.admit(a, 1)
    assert probe.probe  # and it takes its time
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(RateLimitError):
        await spoken(desk.run(a, patience_s=0.6))
    assert 0.2 < loop.time() - began < 0.8


async def test_a_provider_that_asks_for_long_is_not_waited_for(desk: Desk) -> None:
    run = desk.run(target("a", ((), fault(retry_after_s=9.0)), WELL), local())
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await spoken(run) == "Hello"
    assert loop.time() - began < 0.2
    assert desk.journal.opened == ["a", "local"]


# --- the books --------------------------------------------------------------------------------------------------------


async def test_leaving_early_closes_the_books(desk: Desk) -> None:
    a = target("a", WELL)
    deltas = desk.run(a, max_calls=1).deltas()
    await anext(deltas)
    await deltas.aclose()
    ((_, state, usage),) = desk.journal.closed
    assert (state, usage) == ("cancelled", None)
    assert wire(a).running == 0


async def test_who_leaves_while_more_is_awaited_has_read_all_that_was_said(desk: Desk) -> None:
    known = dataclasses.replace(target("a", ((GOOD[0], 60.0), None)), open_book=True)
    leaver = asyncio.create_task(spoken(desk.run(known, max_calls=1)))
    while not wire(known).running:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    leaver.cancel()
    await asyncio.wait({leaver})
    trace = desk.journal.traces[0]
    assert trace is not None
    assert (trace.reach, trace.texts, trace.ended) == (Reach.SAID, ["Hel"], False)


async def test_who_leaves_between_two_pieces_may_leave_more_unread(desk: Desk) -> None:
    deltas = desk.run(dataclasses.replace(target("a", WELL), open_book=True), max_calls=1).deltas()
    await anext(deltas)
    await deltas.aclose()
    trace = desk.journal.traces[0]
    assert trace is not None
    assert trace.reach is Reach.ALL


async def test_an_answer_without_a_usage_is_what_was_said(desk: Desk) -> None:
    silent = (Delta(text="Hel"), Delta(text="lo"), Delta(finish=Finish.STOP))
    await spoken(desk.run(dataclasses.replace(target("a", (silent, None)), open_book=True)))
    await desk.run(dataclasses.replace(target("b", (silent, None)), open_book=True)).complete()
    await spoken(desk.run(target("c", (silent, None))))
    assert desk.journal.states == [("a", "ok"), ("b", "ok"), ("c", "ok")]
    traces = [trace for trace in desk.journal.traces if trace is not None]
    assert [(trace.reach, "".join(trace.texts), trace.ended) for trace in traces] == [
        (Reach.SAID, "Hello", True),
        (Reach.SAID, "Hello", True),
        (Reach.ALL, "Hello", True),
    ]


async def test_a_usage_that_came_before_a_break_is_not_the_last_word(desk: Desk) -> None:
    broken = fault()
    broken.usage = Usage(input_tokens=9, output_tokens=1)
    with pytest.raises(ProviderError):
        await spoken(desk.run(target("a", (GOOD[:1], broken))))
    with pytest.raises(ProviderError):
        await desk.run(target("b", (GOOD[:1], broken)), max_calls=1).complete()
    assert [usage for _, _, usage in desk.journal.closed] == [broken.usage, broken.usage]
    assert [trace is None for trace in desk.journal.traces] == [False, True], (
        "an answer in one piece has no end to come"
    )


async def test_a_usage_with_the_finish_is_the_last_word_though_the_reader_left(desk: Desk) -> None:
    deltas = desk.run(target("a", WELL)).deltas()
    async for delta in deltas:
        if delta.finish is not None:
            break
    await deltas.aclose()
    assert desk.journal.closed == [("a", "ok", GOOD[-1].usage)]
    assert desk.journal.traces == [None]


async def test_leaving_after_the_finish_is_no_cancellation(desk: Desk) -> None:
    deltas = desk.run(target("a", WELL)).deltas()
    async for delta in deltas:
        if delta.finish is not None:
            break
    await deltas.aclose()
    assert desk.journal.states == [("a", "ok")]


async def test_complete_falls_back_and_a_cancelled_call_is_booked(desk: Desk) -> None:
    assert (await desk.run(target("a", DOWN), target("b", WELL)).complete()).text == "Hello"
    assert desk.journal.states == [("a", "failed"), ("b", "ok")]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await desk.run(target("h", ((60.0,), None))).complete()
    assert desk.journal.states[-1] == ("h", "cancelled")


async def test_books_that_refuse_end_the_run_and_the_gate_forgets_the_call(desk: Desk) -> None:
    desk.journal.refuse_from = 0
    with pytest.raises(Unavailable):
        await spoken(desk.run(target("a", WELL)))
    assert desk.gates._gates["a"].waiting == 0


# --- hedging ----------------------------------------------------------------------------------------------------------

SLOW: Play = ((0.4, *GOOD), None)


async def test_a_slow_first_target_is_raced_and_the_first_piece_wins(desk: Desk) -> None:
    a, b, c = target("a", SLOW), target("b", ((0.01, *GOOD), None)), target("c", WELL)
    await desk.settle(wire(a), "a", 0.02)
    loop = asyncio.get_running_loop()
    began = loop.time()
    run = desk.run(a, b, c, hedging=True)
    assert await spoken(run) == "Hello"
    assert loop.time() - began < 0.3
    assert run.route is not None
    assert run.route.provider == "b"
    assert (run.attempts, run.fallbacks) == (2, 0)
    assert sorted(desk.journal.states) == [("a", "cancelled"), ("b", "ok")]
    assert wire(a).running == wire(b).running == 0
    assert wire(c).routes == []


async def test_a_first_target_that_is_as_fast_as_usual_is_not_raced(desk: Desk) -> None:
    a, b = target("a", ((0.05, *GOOD), None)), target("b", WELL)
    assert await spoken(desk.run(a, b, hedging=True)) == "Hello"  # nothing is known yet
    await desk.settle(wire(a), "a", 0.3)
    wire(a).plays.append(((0.05, *GOOD), None))
    assert await spoken(desk.run(a, b, hedging=True)) == "Hello"
    assert desk.journal.opened == ["a", "a"]


async def test_the_first_may_still_win_the_race(desk: Desk) -> None:
    a, b = target("a", ((0.1, *GOOD), None)), target("b", SLOW)
    await desk.settle(wire(a), "a", 0.02)
    run = desk.run(a, b, hedging=True)
    assert await spoken(run) == "Hello"
    assert run.route is not None
    assert run.route.provider == "a"
    assert sorted(desk.journal.states) == [("a", "ok"), ("b", "cancelled")]


async def test_hedging_needs_room_in_the_budget_and_an_open_gate(desk: Desk) -> None:
    a, b = target("a", ((0.1, *GOOD), None)), target("b", WELL)
    await desk.settle(wire(a), "a", 0.01)
    assert await spoken(desk.run(a, b, hedging=True, max_calls=1)) == "Hello"
    assert desk.journal.opened == ["a"]
    desk.journal.refuse_from = 2
    wire(a).plays.append(((0.1, *GOOD), None))
    assert await spoken(desk.run(a, b, hedging=True)) == "Hello"
    assert desk.journal.opened == ["a", "a"], "books that refuse the second call do not end the first"


async def test_both_racers_failing_goes_on_to_the_third(desk: Desk) -> None:
    a, b, c = target("a", ((0.1,), fault())), target("b", ((0.1,), fault())), target("c", WELL)
    await desk.settle(wire(a), "a", 0.01)
    run = desk.run(a, b, c, hedging=True)
    assert await spoken(run) == "Hello"
    assert desk.journal.states == [("a", "failed"), ("b", "failed"), ("c", "ok")]


async def test_a_racer_that_fails_after_its_first_piece_is_not_replaced(desk: Desk) -> None:
    a, b = target("a", ((0.1, Delta(text="Hel"), 0.1), fault())), target("b", SLOW)
    await desk.settle(wire(a), "a", 0.01)
    with pytest.raises(ProviderError):
        await spoken(desk.run(a, b, hedging=True))
    assert sorted(desk.journal.states) == [("a", "cut"), ("b", "cancelled")]


async def test_complete_is_raced_too(desk: Desk) -> None:
    a, b = target("a", SLOW), target("b", WELL)
    await desk.settle(wire(a), "a", 0.02)
    run = desk.run(a, b, hedging=True)
    assert (await run.complete()).text == "Hello"
    assert run.route is not None
    assert run.route.provider == "b"
    assert sorted(desk.journal.states) == [("a", "cancelled"), ("b", "ok")]


async def test_leaving_in_the_middle_of_a_race_closes_both(desk: Desk) -> None:
    for whole in (False, True):
        a, b = target("a", SLOW), target("b", SLOW)
        await desk.settle(wire(a), "a", 0.01)
        desk.journal.closed.clear()
        run = desk.run(a, b, hedging=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run.complete() if whole else spoken(run), 0.15)
        assert sorted(desk.journal.states) == [("a", "cancelled"), ("b", "cancelled")]
        assert wire(a).running == wire(b).running == 0
        assert all(gate.waiting == 0 for gate in desk.gates._gates.values())


# --- any chain --------------------------------------------------------------------------------------------------------

OUTCOMES: dict[str, Play] = {
    "well": WELL,
    "down": DOWN,
    "late": (GOOD[:1], fault()),
    "cut": (GOOD[:2], None),
    "nothing": ((), None),
    "limited": ((), RateLimitError("slow down", retry_after_s=0.02)),
    "long wait": ((), RateLimitError("slow down", retry_after_s=60.0)),
    "refused": ((), AuthenticationError("no")),
    "too long": ((), ContextLengthError("too long")),
    "silent": ((5.0,), None),
}


@settings(max_examples=120, deadline=None)
@given(
    chain=st.lists(st.lists(st.sampled_from(sorted(OUTCOMES)), min_size=1, max_size=4), min_size=1, max_size=3),
    max_calls=st.integers(0, 4),
    whole=st.booleans(),
    with_local=st.booleans(),
    hedging=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_chain_keeps_the_budget_the_time_and_the_books(
    chain: list[list[str]], max_calls: int, whole: bool, with_local: bool, hedging: bool, seed: int
) -> None:
    async def play() -> None:
        random.seed(seed)
        desk = Desk()
        targets = [
            target(f"p{position}", *[OUTCOMES[name] for name in names], first_byte_s=0.02)
            for position, names in enumerate(chain)
        ]
        targets += [local()] if with_local else []
        if hedging:
            for one in targets:
                if one.gate:
                    await desk.settle(wire(one), one.gate, 0.005)
        run = desk.run(*targets, max_calls=max_calls, left_s=0.4, hedging=hedging)
        loop = asyncio.get_running_loop()
        began = loop.time()
        heard: list[str] = []
        error: ProviderError | None = None
        try:
            if whole:
                heard.append((await run.complete()).text)
            else:
                await listen(run, heard)
        except ProviderError as failure:
            error = failure
        assert loop.time() - began < 0.4 + 1
        text = "".join(heard)
        counted = [name for name in desk.journal.opened if name != "local"]
        assert len(counted) == run.attempts <= max_calls
        assert len(desk.journal.closed) == len(desk.journal.opened)
        assert sum(state in ("ok", "cut") for _, state in desk.journal.states) <= 1
        if error is None:
            assert text == "Hello"
            assert ("ok" in [state for _, state in desk.journal.states]) is True
        else:
            assert text in ("", "Hel", "Hello")
            assert bool(text) == ("cut" in [state for _, state in desk.journal.states])
            assert not with_local or text
        assert all(wire(one).running == 0 for one in targets)
        assert all(gate.waiting == 0 for gate in desk.gates._gates.values())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(play())
