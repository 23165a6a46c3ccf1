"""Circuit breakers and limits of keys: the arithmetic, and one process's gates while Valkey is away."""

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatwright.adapters.providers.extractive import Extractive
from chatwright.adapters.valkey import Channel, Link, StreamLog
from chatwright.adapters.valkey.link import Endpoint
from chatwright.domain.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    CutStream,
    ProviderError,
    RateLimitError,
)
from chatwright.domain.providers import Route, StatedLimits, Window
from chatwright.features.routing import Admission, Gates, KeyLimits, State, Target
from chatwright.features.routing.board import read_notice
from chatwright.features.routing.breaker import (
    LONGEST_OPEN_S,
    RUN,
    RUN_WITHIN_S,
    SHARE_FROM,
    WINDOW_S,
    Breaker,
    Cause,
    asked_s,
    open_s,
)
from chatwright.features.routing.gate import Delays, Gate, Learned
from chatwright.features.routing.limits import Grant, Pace, pace_of, take
from chatwright.features.routing.rules import (
    MAX_TRIES,
    Verdict,
    backoff_s,
    first_byte_s,
    judge,
    may_retry,
    most_telling,
    refused_error,
)

T = TypeVar("T")
NOWHERE = Endpoint(path="/nowhere/valkey")


def down() -> ProviderError:
    return ProviderError("down", retriable=True, upstream_status=500)


def target(name: str = "openai|k|a", limits: KeyLimits | None = None) -> Target:
    route = Route(provider="openai", model="m")
    return Target(route, Extractive(), gate=name, limits=limits or KeyLimits())


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def lonely_gates(clock: Callable[[], float] | None = None) -> Gates:
    """The gates of a process that cannot reach Valkey."""
    link = Link(NOWHERE, timeout_s=0.1)
    channel = Channel(
        NOWHERE, StreamLog(link), buffer_events=1, buffer_bytes=1, heartbeat_s=1.0, silence_s=1.0, patience_s=1.0
    )
    return Gates(link, channel, clock=clock)


# --- what a failure says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (down(), Verdict.FAILING),
        (CutStream("cut"), Verdict.FAILING),
        (ProviderError("t", retriable=True, error_class="timeout"), Verdict.FAILING),
        (ProviderError("certificate", retriable=False, error_class="transport"), Verdict.FAILING),
        (RateLimitError("slow down"), Verdict.LIMITED),
        (AuthenticationError("no"), Verdict.REFUSED),
        (AuthenticationError("not for this model", upstream_status=403), Verdict.FAILING),
        (ProviderError("empty", retriable=False, upstream_status=429, error_class="quota"), Verdict.FAILING),
        (ProviderError("lost", retriable=True, upstream_status=200, error_class="broken_answer"), Verdict.ANSWERED),
        (ContextLengthError("long"), Verdict.ANSWERED),
        (ContentFilterError("no"), Verdict.ANSWERED),
        (ProviderError("?", retriable=False, upstream_status=404, error_class="model_not_found"), Verdict.ANSWERED),
        (ProviderError("address", retriable=False, error_class="address_refused"), Verdict.NOTHING),
    ],
)
def test_a_failure_counts_only_if_it_speaks_of_availability(error: ProviderError, verdict: Verdict) -> None:
    assert judge(error) is verdict


@given(st.one_of(st.none(), st.floats(0, 1000)), st.integers(1, 9), st.floats(0, 1))
def test_a_retry_waits_as_asked_or_a_little_and_only_if_a_visitor_bears_it(
    retry_after_s: float | None, tries: int, jitter: float
) -> None:
    error = ProviderError("down", retriable=True, retry_after_s=retry_after_s)
    wait_s = backoff_s(error, tries=tries, jitter=jitter)
    assert wait_s == retry_after_s if retry_after_s is not None else 0.05 <= wait_s <= 2.0
    assert may_retry(error, tries=tries, patience_s=5) == (tries < MAX_TRIES and (retry_after_s or 0) <= 5)
    assert not may_retry(ProviderError("no", retriable=False), tries=1, patience_s=5)


@given(st.floats(0.1, 100), st.floats(0, 100), st.booleans(), st.booleans())
def test_silence_is_borne_no_longer_than_the_time_that_is_left(
    limit_s: float, left_s: float, others: bool, whole: bool
) -> None:
    silent_s = first_byte_s(limit_s, left_s=left_s, others=others, whole=whole)
    assert 0 <= silent_s <= min(limit_s, left_s)
    if others:
        assert silent_s <= (max(10.0, left_s / 2) if whole else 10.0)
    else:
        assert silent_s == min(limit_s, left_s)


def test_the_most_telling_error_is_the_one_that_the_caller_can_mend() -> None:
    long, auth, late, soon = ContextLengthError("x"), AuthenticationError("x"), RateLimitError("x"), RateLimitError("y")
    late.retry_after_s, soon.retry_after_s = 9.0, 2.0
    fault = down()
    assert most_telling([]) is None
    assert most_telling([auth, fault]) is fault
    assert most_telling([soon, late, auth, fault]) is soon
    assert most_telling([soon, long, fault]) is long
    assert refused_error("p", "rate_limited", 3.0).retry_after_s == 3.0
    assert isinstance(refused_error("p", "key_refused", 3.0), AuthenticationError)
    assert refused_error("p", "breaker_open", 3.0).error_class == "breaker_open"


# --- the breaker ------------------------------------------------------------------------------------------------------


def test_a_run_of_failures_opens_and_a_success_between_them_does_not() -> None:
    breaker = Breaker(0.0)
    assert [breaker.fail(1.0) for _ in range(RUN)] == [False] * (RUN - 1) + [True]
    breaker = Breaker(0.0)
    for _ in range(3):
        assert not any(breaker.fail(1.0) for _ in range(2))
        for _ in range(4):
            breaker.succeed()


def test_a_run_spread_over_more_than_a_minute_does_not_open() -> None:
    breaker = Breaker(0.0)
    assert not any(breaker.fail(at * (RUN_WITHIN_S / (RUN - 1) + 1)) for at in range(20))


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_half_of_the_calls_failing_opens_and_less_does_not(outcomes: list[bool]) -> None:
    breaker = Breaker(0.0)
    seen: list[bool] = []
    for good in outcomes:
        seen.append(good)
        if good:
            breaker.succeed()
            continue
        opens = breaker.fail(5.0)  # all at one time: everything lies within both windows
        tail = list(itertools.takewhile(lambda was_good: not was_good, reversed(seen)))
        since_first = seen[seen.index(False) :]
        failures = since_first.count(False)
        if failures > 60:
            return  # beyond what is remembered
        expected = len(tail) >= RUN or (failures >= SHARE_FROM and failures * 2 >= len(since_first))
        assert opens == expected


def test_old_failures_do_not_count_towards_the_share() -> None:
    breaker = Breaker(0.0)
    for at in range(SHARE_FROM - 1):
        breaker.fail(0.0)
        breaker.succeed()
        del at
    assert not breaker.fail(WINDOW_S + 1)


@given(st.integers(0, 20), st.floats(0, 1), st.floats(0, 1))
def test_an_opening_lasts_longer_each_time_up_to_the_longest(level: int, jitter: float, other: float) -> None:
    assert 0.75 <= open_s(level, jitter) <= LONGEST_OPEN_S
    assert open_s(level + 1, jitter) >= open_s(level, jitter)
    if level < 4:
        assert open_s(level + 1, jitter) > open_s(level, other)  # whatever the jitter


def test_a_fault_that_comes_back_soon_opens_for_longer_and_one_that_comes_back_late_does_not() -> None:
    for pause_s, level in ((10.0, 1), (40.0, 0)):
        breaker = Breaker(0.0)
        breaker.open(0.0, Cause.FAILING, 1.0, breaker.next_level(0.0, Cause.FAILING))
        breaker.close(1.0)
        assert breaker.next_level(1.0 + pause_s, Cause.FAILING) == level
        assert breaker.next_level(1.0 + pause_s, Cause.LIMITED) == 0


@given(st.floats(0.001, 1e6), st.floats(0, 1))
def test_what_a_provider_asks_for_is_never_cut_short_below_five_minutes(retry_after_s: float, jitter: float) -> None:
    assert asked_s(Cause.LIMITED, retry_after_s, jitter) >= min(retry_after_s, 300.0)
    assert asked_s(Cause.REFUSED, None, jitter) >= 60
    assert asked_s(Cause.FAILING, retry_after_s, jitter) == 0


class OneProcess(RuleBasedStateMachine):
    """Any order of calls, outcomes and time on one gate: who passes, who probes, for how long nobody does."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.gates = self.do(self._open())
        self.target = target()
        self.calls: list[tuple[Admission, float]] = []
        self.openings: list[tuple[float, int]] = []  # until, level: probes that failed one after another

    async def _open(self) -> Gates:
        return lonely_gates(self.clock)

    def do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return self.runner.run(run())

    @property
    def gate(self) -> Gate:
        return self.gates._gates[self.target.gate]

    def teardown(self) -> None:
        self.runner.close()

    @rule()
    def begin(self) -> None:
        known = self.target.gate in self.gates._gates
        before = self.gate.breaker.state(self.clock.now_s) if known else State.CLOSED
        admission = self.do(self.gates.admit(self.target, 10))
        if admission.ok:
            assert before in (State.CLOSED, State.HALF_OPEN)
            assert admission.probe == (before is State.HALF_OPEN)
            if admission.probe:
                # The hold of the one before has run out, or it is back.
                assert not any(other.probe and until > self.clock.now_s for other, until in self.calls)
            self.calls.append((admission, self.clock.now_s + self.target.route.first_byte_timeout_s + 1))
        else:
            assert (before is State.CLOSED) == (admission.wait_s == 0)  # a stall refuses without opening
            assert admission.reason in ("breaker_open", "rate_limited", "key_refused")

    def pick(self, data: st.DataObject) -> Admission:
        return self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))[0]

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        admission = self.pick(data)
        probe, cause = admission.probe, self.gate.breaker.cause
        self.gates.seen(admission, 0.2)
        self.gates.done(admission, 12)
        still_open = self.gate.breaker.cause is not None
        if cause is not None and not probe:
            assert still_open, "only a probe closes"

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), late=st.booleans())
    def fail(self, data: st.DataObject, late: bool) -> None:
        admission = self.pick(data)
        probe, level, until = admission.probe, self.gate.breaker.level, self.gate.breaker.until_s
        was_open = self.gate.breaker.cause is not None
        self.gates.failed(admission, down(), late=late)
        if probe:
            assert self.gate.breaker.cause is not None
            assert self.gate.breaker.level == level + 1
            assert self.gate.breaker.until_s > max(self.clock.now_s, until)
        elif was_open:
            assert (self.gate.breaker.level, self.gate.breaker.until_s) == (level, until), (
                "late failures change nothing"
            )

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), retry_after_s=st.one_of(st.none(), st.floats(0.1, 100)))
    def limit(self, data: st.DataObject, retry_after_s: float | None) -> None:
        admission = self.pick(data)
        elsewhere = any(other.probe for other, _ in self.calls)
        self.gates.failed(admission, RateLimitError("slow down", retry_after_s=retry_after_s))
        assert self.gate.breaker.cause is not None
        if retry_after_s is not None and not elsewhere:
            assert self.gates.wait_s(self.target) >= retry_after_s * 0.999

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        self.gates.failed(self.pick(data), AuthenticationError("no"))
        assert self.gate.breaker.cause is not None

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def dislike(self, data: st.DataObject) -> None:
        admission = self.pick(data)
        was_open = self.gate.breaker.cause is not None
        self.gates.failed(admission, ContextLengthError("too long"))
        assert was_open or self.gate.breaker.cause is None

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        admission = self.pick(data)
        was_probe, cause = admission.probe, self.gate.breaker.cause
        self.gates.left(admission)
        assert self.gate.breaker.cause is cause, "who leaves says nothing"
        if was_probe and self.clock.now_s >= self.gate.breaker.until_s:
            again = self.do(self.gates.admit(self.target, 10))
            assert again.probe, "a probe that was given back is the next one's"
            self.gates.left(again)

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.1, 5.0, 31.0, 70.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @invariant()
    def nobody_is_miscounted(self) -> None:
        if self.target.gate in self.gates._gates:
            assert self.gate.waiting == sum(admission.silent for admission, _ in self.calls)
            wait_s = self.gates.wait_s(self.target)
            assert 0 <= wait_s <= 331  # nobody is shut out for longer than the longest that may be asked for
            (state,) = self.gates.states()
            assert (state.state is State.CLOSED) == (self.gate.breaker.cause is None)


OneProcess.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_one_process = OneProcess.TestCase


async def test_a_probe_of_a_provider_that_cuts_is_judged_at_its_end() -> None:
    clock = Clock()
    gates = lonely_gates(clock)
    for _ in range(RUN):
        admission = await gates.admit(target(), 1)
        gates.seen(admission, 0.1)
        gates.failed(admission, CutStream("cut"), late=True)
    clock.now_s += 2
    probe = await gates.admit(target(), 1)
    assert probe.probe
    gates.seen(probe, 0.1)
    assert gates.states()[0].state is State.HALF_OPEN
    gates.failed(probe, CutStream("cut"), late=True)
    assert gates.states()[0].state is State.OPEN
    clock.now_s += 40
    probe = await gates.admit(target(), 1)
    gates.seen(probe, 0.1)
    gates.done(probe)
    assert gates.states()[0].state is State.CLOSED


async def test_a_provider_that_went_silent_is_left_before_its_time_outs() -> None:
    clock = Clock()
    gates = lonely_gates(clock)
    for _ in range(30):
        admission = await gates.admit(target(), 1)
        gates.seen(admission, 0.3)
        gates.done(admission)
    silent = [await gates.admit(target(), 1) for _ in range(10)]
    assert all(admission.ok for admission in silent)
    clock.now_s += 1.9
    assert (await gates.admit(target(), 1)).ok
    clock.now_s += 0.2
    refused = await gates.admit(target(), 1)
    assert (refused.ok, refused.reason, refused.wait_s) == (False, "breaker_open", 0.0)
    alone = await gates.admit(target(), 1, alone=True)
    assert alone.ok, "who knows no other may wait there"
    gates.seen(alone, 4.0)
    assert (await gates.admit(target(), 1)).ok, "one sign of life is enough"
    # A burst on a provider that answers is no stall, however long one of its calls has been silent.
    other = target("openai|k|other")
    for _ in range(30):
        gates.seen(await gates.admit(other, 1), 0.3)
    await gates.admit(other, 1)
    clock.now_s += 60
    assert all([(await gates.admit(other, 1)).ok for _ in range(50)])


async def test_one_gate_says_nothing_about_another() -> None:
    gates = lonely_gates()
    gates.failed(await gates.admit(target("openai|bad|a"), 1), AuthenticationError("no"))
    assert not (await gates.admit(target("openai|bad|a"), 1)).ok
    assert (await gates.admit(target("openai|good|a"), 1)).ok
    assert {state.gate: state.state for state in gates.states()} == {
        "openai|bad|a": State.KEY_REFUSED,
        "openai|good|a": State.CLOSED,
    }
    assert all([(await gates.admit(target(""), 1)).ok for _ in range(100)])


async def test_who_waits_for_a_gate_is_woken_when_it_closes() -> None:
    gates = lonely_gates()
    gates.failed(await gates.admit(target(), 1), RateLimitError("slow down", retry_after_s=0.05))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(gates.wait(target(), 4))
        await gates.wait(target(), 0.07)
        probe = await gates.admit(target(), 1)
        gates.seen(probe, 0.1)
    assert 0.05 <= loop.time() - began < 1


async def test_headers_that_say_that_nothing_is_left_close_the_gate_until_the_reset() -> None:
    clock = Clock()
    gates = lonely_gates(clock)
    gates.left(await gates.admit(target(), 1))
    gates.heard(target().gate, StatedLimits(requests=Window(limit=500, remaining=1, reset_s=0.5)))
    assert gates.wait_s(target()) == 0
    for nothing in (Window(limit=0, remaining=0, reset_s=3), Window(limit=-1, remaining=-1), Window(remaining=0)):
        gates.heard(target().gate, StatedLimits(tokens=nothing))
    assert gates.wait_s(target()) == 0
    gates.heard(target().gate, StatedLimits(tokens=Window(limit=90_000, remaining=0, reset_s=2.0)))
    assert 2.0 <= gates.wait_s(target()) <= 2.3
    (state,) = gates.states()
    assert state.learned == KeyLimits(requests_per_minute=500, tokens_per_minute=90_000) == state.limits
    assert state.state is State.LIMITED


async def test_the_operators_limits_win_over_the_stated_ones() -> None:
    gates = lonely_gates()
    mine = target(limits=KeyLimits(requests_per_minute=60))
    gates.left(await gates.admit(mine, 1))
    gates.heard(
        mine.gate, StatedLimits(requests=Window(limit=5000, remaining=9), tokens=Window(limit=9000, remaining=9))
    )
    assert gates.states()[0].limits == KeyLimits(requests_per_minute=60, tokens_per_minute=9000)


async def test_unused_gates_are_bounded() -> None:
    gates = lonely_gates()
    for number in range(10_050):
        await gates.admit(target(f"g{number}"), 1)
    assert len(gates.states()) <= 10_000


def test_a_stated_limit_that_alternates_by_model_counts_as_the_larger() -> None:
    learned = Learned()
    assert learned.hear(500, 0.0)
    assert learned.hear(900, 1.0)
    assert not learned.hear(500, 2.0)
    assert not learned.hear(900, 50.0)
    assert not learned.hear(500, 100.0)
    assert learned.hear(500, 111.0)
    assert learned.limit == 500


def test_the_95th_percentile_needs_twenty_samples_and_follows() -> None:
    delays = Delays()
    for number in range(19):
        delays.add(number / 100)
    assert delays.p95_s is None
    delays.add(0.19)
    assert delays.p95_s == 0.19
    for _ in range(64):
        delays.add(3.0)
    assert delays.p95_s == 3.0


def test_only_our_own_notices_are_read() -> None:
    assert read_notice("abc healed 0 0") == ("abc", None)
    opened = read_notice("abc limited 1500 2")
    assert opened is not None
    assert opened[1] is not None
    assert (opened[1].cause, opened[1].left_s, opened[1].level) == (Cause.LIMITED, 1.5, 2)
    for strange in ("", "abc", "abc gone 1 2", "abc failing x 2", "a b c d e"):
        assert read_notice(strange) is None


# --- limits -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5_000_000))
def test_a_burst_and_a_minutes_drip_make_no_more_than_the_limit(limit: int) -> None:
    pace = pace_of(limit)
    assert 1 <= pace.burst <= limit
    assert pace.burst + math.floor(60.25 / pace.interval_s) <= limit
    assert pace_of(0) == Pace()
    assert pace_of(limit, stated=True) == Pace(60 / limit, limit)


@settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(1, 300),
    tokens_limit=st.one_of(st.just(0), st.integers(100, 5000)),
    steps=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 12), st.integers(1, 800)), min_size=1, max_size=80),
)
def test_no_window_of_a_minute_holds_more_than_the_limit(
    limit: int, tokens_limit: int, steps: list[tuple[float, int, int]]
) -> None:
    requests, tokens = pace_of(limit), pace_of(tokens_limit)
    state, now, taken = (0.0, 0.0), 1000.0, list[tuple[float, int, int]]()
    for pause_s, want, need in steps:
        now += pause_s
        grant = take(*state, now, want=want, need=need, mean=need, correct=0, requests=requests, tokens=tokens)
        state = (grant.requests_at_s, grant.tokens_at_s)
        assert 0 <= grant.permits <= want
        if grant.permits:
            assert grant.wait_s == 0
            assert grant.tokens >= need * grant.permits
            taken.append((now, grant.permits, grant.tokens))
        else:
            # Waiting as told is enough, and less is not.
            def later(at_s: float, need: int = need, state: tuple[float, float] = state) -> int:
                once = take(*state, at_s, want=1, need=need, mean=1, correct=0, requests=requests, tokens=tokens)
                return once.permits

            assert later(now + grant.wait_s + 1e-4) == 1
            assert later(now + grant.wait_s * 0.98 - 1e-3) == 0
    largest = max((need for _, _, need in steps), default=0)
    for at, _, _ in taken:
        window = [(permits, spent) for then, permits, spent in taken if at <= then < at + 60]
        assert sum(permits for permits, _ in window) <= limit
        if tokens_limit:
            assert sum(spent for _, spent in window) <= tokens_limit + largest


@given(st.integers(100, 100_000), st.integers(1, 50_000), st.integers(0, 50_000))
def test_tokens_that_were_not_used_come_back_and_debts_are_waited_for(limit: int, reserved: int, used: int) -> None:
    tokens = pace_of(limit)

    def once(tokens_at_s: float, *, need: int, correct: int = 0) -> Grant:
        return take(
            0.0, tokens_at_s, 1000.0, want=1, need=need, mean=1, correct=correct, requests=Pace(), tokens=tokens
        )

    first = once(0.0, need=reserved)
    assert first.permits == 1, "the largest call passes an empty bucket"
    after = once(first.tokens_at_s, need=1, correct=used - reserved)
    exact = once(1000.0 + used * tokens.interval_s, need=1)
    assert after.permits == exact.permits
    assert after.wait_s == pytest.approx(exact.wait_s, abs=1e-6)


async def test_alone_a_process_keeps_the_limit_by_itself() -> None:
    clock = Clock()
    gates = lonely_gates(clock)
    limited = target(limits=KeyLimits(requests_per_minute=30))
    passed = 0
    for _ in range(600):
        admission = await gates.admit(limited, 10)
        passed += admission.ok
        if admission.ok:
            gates.done(admission, 10)
        else:
            assert admission.reason == "rate_limited"
            assert admission.wait_s > 0
        clock.now_s += 0.1
    assert 24 <= passed <= 30


async def test_a_stated_limit_is_the_providers_own_bucket() -> None:
    gates = lonely_gates(clock := Clock())
    gates.left(await gates.admit(target(), 10))
    gates.heard(target().gate, StatedLimits(requests=Window(limit=20, remaining=19)))
    assert [(await gates.admit(target(), 10)).ok for _ in range(21)] == [True] * 20 + [False]
    clock.now_s += 3
    assert (await gates.admit(target(), 10)).ok


async def test_many_callers_at_once_share_one_take() -> None:
    gates = lonely_gates()
    limited = target(limits=KeyLimits(requests_per_minute=100, tokens_per_minute=100_000))
    async with asyncio.timeout(5):
        admissions = await asyncio.gather(*(gates.admit(limited, 10) for _ in range(200)))
    assert sum(admission.ok for admission in admissions) == pace_of(100).burst
