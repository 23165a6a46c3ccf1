"""GCRA: what passes in any time, what a refusal costs, what waiting is worth; plans and the words of the headers."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.adapters.providers.rate_headers import reset_s
from chatwright.domain.errors import Unprocessable
from chatwright.domain.limits import Allowance, Limits, Standing, limits_in
from chatwright.entrypoints.failures import duration, limit_headers
from chatwright.features.limits.local import LocalLimits
from chatwright.features.limits.rules import MINUTE_US, Bucket, admit, correct, interval_us, standing_of
from chatwright.features.tenancy import PLANS, check_limits, plan_of

START_US = 1e14
limits = st.integers(1, 5_000)
gaps_us = st.lists(st.floats(0, 3e6), min_size=1, max_size=300)


def bucket(limit: int, need: int = 1, key: str = "b", *, tokens: bool = False) -> Bucket:
    return Bucket(key, "tenant", limit, need, tokens)


def run(limit: int, arrivals_us: list[float]) -> int:
    """How many of the requests pass a bucket that was full at first."""
    full_at_us, passed = 0.0, 0
    for now_us in arrivals_us:
        place, _, (full_at_us,) = admit([full_at_us], now_us, [bucket(limit)])
        passed += place == 0
    return passed


def at(gaps: list[float]) -> list[float]:
    times, now = [START_US], START_US
    for gap in gaps:
        now += gap
        times.append(now)
    return times


@given(limit=limits, gaps=gaps_us)
def test_never_more_than_the_limit_and_what_came_back_since(limit: int, gaps: list[float]) -> None:
    arrivals = at(gaps)
    elapsed_s = (arrivals[-1] - arrivals[0]) / 1e6
    assert run(limit, arrivals) <= limit + math.ceil(limit * elapsed_s / 60)


@given(limit=st.integers(1, 2_000), span_us=st.floats(0, 10e6))
@settings(max_examples=40)
def test_a_burst_gets_at_least_the_limit(limit: int, span_us: float) -> None:
    arrivals = [START_US + span_us * place / 2_000 for place in range(2_000)]
    passed = run(limit, arrivals)
    assert min(2_000, limit) <= passed <= limit + math.ceil(limit * span_us / 1e6 / 60)


@given(limit=st.integers(2, 2_000), seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_a_steady_client_at_the_limit_is_not_refused(limit: int, seed: int) -> None:
    chance = Random(seed)
    arrivals = sorted(START_US + (place + chance.random()) * interval_us(limit) for place in range(3_000))
    assert run(limit, arrivals) == 3_000


@given(
    states=st.lists(st.tuples(limits, st.integers(0, 300), st.floats(0, 2 * MINUTE_US)), min_size=1, max_size=6),
)
def test_all_or_nothing_and_the_wait_is_exact(states: list[tuple[int, int, float]]) -> None:
    buckets = [bucket(limit, need, str(place)) for place, (limit, need, _) in enumerate(states)]
    before = [START_US + debt for _, _, debt in states]
    place, wait_us, after = admit(before, START_US, buckets)
    if place == 0:
        assert wait_us == 0
        assert all(
            math.isclose(new - max(old, START_US), one.need * interval_us(one.limit), abs_tol=0.1)
            for new, old, one in zip(after, before, buckets, strict=True)
        )
        return
    assert after == before
    assert admit(before, START_US + math.ceil(wait_us), buckets)[0] == 0
    if wait_us > 2:
        assert admit(before, START_US + wait_us - 1, buckets)[0] != 0


def test_more_than_the_bucket_holds_passes_a_full_one_and_is_paid_afterwards() -> None:
    place, _, (full_at_us,) = admit([0.0], START_US, [bucket(100, 250)])
    assert place == 0
    assert full_at_us == START_US + 2.5 * MINUTE_US
    place, wait_us, _ = admit([full_at_us], START_US, [bucket(100, 1)])
    assert place == 1
    assert wait_us == pytest.approx(1.5 * MINUTE_US + MINUTE_US / 100, rel=0.001)


@given(limit=limits, taken=st.integers(0, 5_000), used=st.integers(0, 5_000))
def test_a_correction_leaves_what_was_used(limit: int, taken: int, used: int) -> None:
    full_at_us = START_US + taken * interval_us(limit)
    after = correct(full_at_us, START_US, limit=limit, tokens=used - taken)
    assert after == pytest.approx(START_US + used * interval_us(limit), abs=1)


def test_the_tightest_limits_are_shown() -> None:
    buckets = [bucket(100), bucket(10, key="c"), bucket(1_000, key="t", tokens=True)]
    standing = standing_of(buckets, [0.6e6, 12e6, 30e6])
    assert standing == Standing(Allowance(10, 8, 12.0), Allowance(1_000, 500, 30.0))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, b"0ms"), (0.0171, b"18ms"), (1, b"1s"), (1.2, b"1.2s"), (59.9999, b"1m0s"), (360, b"6m0s"), (61.5, b"1m1.5s")],
)
def test_times_are_written_as_openai_does(seconds: float, text: bytes) -> None:
    assert duration(seconds) == text


@given(seconds=st.floats(0, 86_000))
def test_a_time_is_read_back_and_never_shorter(seconds: float) -> None:
    read = reset_s(duration(seconds).decode(), START_US)
    assert read is not None
    assert seconds - 1e-9 <= read <= seconds + 0.002


def test_headers_name_only_what_is_limited() -> None:
    assert limit_headers(None) == ()
    names = [name for name, _ in limit_headers(Standing(tokens=Allowance(10, 5, 30.0)))]
    assert names == [b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens"]


def test_here_the_same_limits_hold() -> None:
    local = LocalLimits()
    buckets, leases = [bucket(3)], [("c", 2)]
    assert [local.admit(START_US, buckets, leases, str(name), 5e6)[0] for name in range(3)] == [0, 0, 2]
    local.release("c", "0")
    assert local.admit(START_US, buckets, leases, "3", 5e6)[:2] == (0, 0)
    assert local.admit(START_US, buckets, [], "4", 5e6)[0] == 1
    place, wait_us, _ = local.admit(START_US, buckets, [], "4", 5e6)
    assert place == 1
    assert local.admit(START_US + wait_us, buckets, [], "4", 5e6)[0] == 0
    assert local.admit(START_US + 6e6, [], leases, "5", 5e6)[0] == 0  # the leases of others have ended


def test_here_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatwright.features.limits.local.KEPT_AT_MOST", 100)
    local = LocalLimits()
    for number in range(500):
        local.admit(START_US + number, [bucket(10, key=str(number))], [(f"c{number}", 1)], "m", 100.0)
    kept = vars(local)
    assert len(kept["_full_at_us"]) <= 100
    assert len(kept["_leases"]) <= 201


def test_plans_are_data() -> None:
    assert set(PLANS) == {"free", "standard", "pro", "enterprise"}
    assert PLANS["standard"].limits == PLANS["enterprise"].limits == Limits()
    assert PLANS["free"].limits.requests_per_minute == 60
    assert PLANS["pro"].limits.requests_per_minute == 6_000
    assert PLANS["free"].max_priority < 8  # never before paying tenants' visitors
    assert plan_of("of another time") == PLANS["standard"]


def test_limits_are_checked_before_they_are_stored() -> None:
    good = {"requests_per_minute": 5, "concurrency": 0}
    assert check_limits(good) is good
    assert limits_in(good) == Limits(requests_per_minute=5)
    for bad in ({"requests": 5}, {"concurrency": -1}, {"concurrency": True}, {"tokens_per_minute": 1.5}):
        with pytest.raises(Unprocessable):
            check_limits(bad)
