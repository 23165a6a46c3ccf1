"""Which hits are checked, what checks say of the others, and what follows: an unbiased rate, a kept cap, a way back."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.features.cache.checks import (
    ENOUGH,
    OFF,
    UNIFORM_SHARE,
    WINDOW,
    Check,
    CheckWindow,
    Draw,
    draw,
    error_bound,
    figures,
    next_strictness,
    wilson,
)


def drawn(
    rng: random.Random, *, share: float = 0.1, has_room: bool = True, doubt: float = 0.3, agreed: int = 0
) -> Draw:
    return draw(
        chance=rng.random(),
        share=share,
        has_room=has_room,
        doubt=doubt,
        agreed=agreed,
        disagreed=0,
        confirmed=agreed > 0,
    )


@given(
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1),
    st.booleans(),
    st.floats(0, 1),
    st.integers(0, 50),
    st.integers(0, 50),
    st.booleans(),
)
def test_a_draw_is_made_with_the_share_that_it_states(
    chance: float, share: float, has_room: bool, doubt: float, agreed: int, disagreed: int, confirmed: bool
) -> None:
    one = draw(
        chance=chance,
        share=share,
        has_room=has_room,
        doubt=doubt,
        agreed=agreed,
        disagreed=disagreed,
        confirmed=confirmed,
    )
    assert 0 < one.share <= 1
    assert one.check == (chance < one.share) or one.share == 1e-6
    if share == 0:
        assert not one.check


def test_checks_go_where_they_teach_most() -> None:
    rng = random.Random(7)

    def often(**how: object) -> float:
        return sum(drawn(rng, **how).check for _ in range(4_000)) / 4_000  # type: ignore[arg-type]

    assert often(agreed=0) > often(agreed=3) > often(agreed=30)
    assert often(agreed=3, doubt=0.9) > often(agreed=3, doubt=0.1)
    without_room = often(agreed=0, has_room=False)
    assert abs(without_room - UNIFORM_SHARE) < 0.01


@given(st.lists(st.booleans(), min_size=1, max_size=3 * WINDOW), st.floats(0.01, 0.5))
def test_the_window_keeps_its_share(wishes: list[bool], share: float) -> None:
    window = CheckWindow()
    for wish in wishes:
        window.asked()
        if wish and window.has_room(share):
            window.spend()
    assert window.spent == sum(window.marks) <= share * len(window.marks) + 1
    assert len(window.marks) == min(len(wishes), WINDOW)


def test_the_rate_is_not_bent_by_where_checks_went() -> None:
    """Doubtful hits are wrong more often and are looked at more often: counted plainly the rate would be too high."""
    rng = random.Random(3)
    checks: list[Check] = []
    wrong = 0
    hits = 200_000
    for _ in range(hits):
        doubtful = rng.random() < 0.2
        is_wrong = rng.random() < (0.10 if doubtful else 0.01)
        wrong += is_wrong
        one = drawn(rng, doubt=1.0 if doubtful else 0.1, agreed=2 if doubtful else 20)
        if one.check:
            checks.append(Check(outcome="different" if is_wrong else "same", drawn=one.drawn, share=one.share))
    found = figures(checks)
    plain = sum(check.outcome == "different" for check in checks) / len(checks)
    assert found.rate is not None
    assert found.low < wrong / hits < found.high
    assert abs(found.rate - wrong / hits) < 0.004 < plain - wrong / hits


def test_what_is_unknown_counts_for_nothing() -> None:
    assert figures([Check(outcome="unknown", drawn="uniform", share=0.5)]).rate is None
    assert figures([Check(outcome="different", drawn="feedback", share=1.0)]).rate is None
    assert figures([]).high == 1.0


@given(st.integers(0, 400), st.integers(1, 400))
def test_wilson_holds_what_was_seen(wrong: int, more: int) -> None:
    count = wrong + more
    low, high = wilson(wrong / count, count)
    assert 0 <= low <= wrong / count <= high <= 1
    assert wilson(wrong / count, 4 * count)[1] <= high + 1e-12


def test_wilson_by_the_book() -> None:
    low, high = wilson(0.1, 100)
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)


def of(wrong: int, right: int, *, age_s: float = 1.0) -> list[Check]:
    return [Check(outcome="different", drawn="uniform", share=0.1, age_s=age_s)] * wrong + [
        Check(outcome="same", drawn="uniform", share=0.1, age_s=age_s)
    ] * right


@pytest.mark.parametrize(
    ("strictness", "wrong", "right", "wanted"),
    [
        (0, 0, 5, 0),  # nothing is known yet
        (0, 1, 10, 0),  # one mishap is no proof
        (0, 2, 58, 0),  # 3.3 % of 60 may be chance
        (0, 4, 56, 1),  # 6.7 %: probably above 2 %
        (1, 4, 56, 2),
        (2, 4, 56, OFF),
        (0, 5, 120, 0),  # 4 % of 125: a router at its bound is as unlucky as that now and then
        (0, 6, 120, 1),  # 4.8 % of as many is no chance any more
        (0, 15, 45, OFF),  # surely above
        (0, 10, 0, OFF),
        (0, 1, 99, 0),
        (2, 1, 99, 1),  # well under it: one step back
        (OFF, 0, ENOUGH, 2),
        (OFF, 0, ENOUGH - 1, OFF),
        (OFF, 5, 20, OFF),
        (0, 3, 0, 1),
        (1, 2, 110, 1),  # under it, not well under it
    ],
)
def test_what_follows_from_checks(strictness: int, wrong: int, right: int, wanted: int) -> None:
    assert next_strictness(strictness, of(wrong, right), strict_for_s=100, max_error=0.02) == wanted


def test_only_checks_since_the_last_step_count() -> None:
    old, new = of(30, 30, age_s=500), of(0, 60, age_s=5)
    assert next_strictness(OFF, [*new, *old], strict_for_s=100, max_error=0.02) == OFF - 1
    assert next_strictness(OFF, [*new, *old], strict_for_s=1_000, max_error=0.02) == OFF


def test_a_stricter_tier_is_trained_for_less() -> None:
    bounds = [error_bound(0.02, step) for step in range(OFF + 1)]
    assert bounds[0] == 0.02
    assert all(math.isclose(after, before / 2) for before, after in itertools.pairwise(bounds))
