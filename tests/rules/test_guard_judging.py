"""Findings, a score, a policy and what was tried before make a verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.guard import Finding
from chatwright.features.guard.attempts import HALF_LIFE_S, MAX_WEIGHT, Attempts, remember, weigh
from chatwright.features.guard.judging import judge, suspect
from chatwright.features.guard.policy import GuardPolicy, InputAction
from chatwright.features.guard.windows import OPENING, WHOLE, WINDOW, windows

SURE = (Finding(rule="override", start=0, end=9, score=0.95),)
VAGUE = (Finding(rule="role_play", start=0, end=9, score=0.5),)
scores = st.floats(0, 1)
findings = st.lists(st.builds(Finding, rule=st.sampled_from(["override", "secret"]), start=st.just(0), end=st.just(4), score=scores), max_size=4)  # fmt: skip


@pytest.mark.parametrize("action", ["flag", "advise", "block"])
def test_the_policys_action_holds_at_the_threshold(action: InputAction) -> None:
    policy = GuardPolicy(input=action)
    assert judge((), 0.5, policy).action == action
    assert judge((), 0.49, policy).action == "allow"
    assert judge((), 0.6, GuardPolicy(input=action, threshold=0.7)).action == "allow"


def test_off_means_off() -> None:
    verdict = judge(SURE, 1.0, GuardPolicy(input="off"), 4.0)
    assert (verdict.action, verdict.findings) == ("allow", ())


def test_rules_act_alone_only_where_they_are_sure() -> None:
    policy = GuardPolicy(input="block")
    assert judge(SURE, None, policy).action == "block"
    assert judge(VAGUE, None, policy).action == "flag"
    assert judge((), None, policy).action == "allow"
    assert judge(VAGUE, 0.1, policy).action == "allow"


def test_what_was_tried_before_weighs_in_where_there_is_something_to_weigh() -> None:
    policy = GuardPolicy(input="block")
    assert judge((), 0.3, policy).action == "allow"
    assert judge((), 0.3, policy, attempts=2.0).action == "block"
    assert judge((), 0.01, policy, attempts=MAX_WEIGHT).action == "allow"
    assert judge((), None, policy, attempts=MAX_WEIGHT).action == "allow"


@given(findings, st.none() | scores, st.floats(0, MAX_WEIGHT), st.floats(0, MAX_WEIGHT))
def test_suspicion_is_a_probability_that_grows_with_attempts(
    found: list[Finding], score: float | None, fewer: float, more: float
) -> None:
    low, high = sorted((fewer, more))
    assert 0.0 <= suspect(found, score, low) <= suspect(found, score, high) + 1e-12 <= 1.0 + 1e-12


@given(st.lists(st.tuples(scores, st.floats(0, 5_000)), max_size=20))
def test_attempts_fade_and_are_bounded(messages: list[tuple[float, float]]) -> None:
    kept: Attempts | None = None
    now_s = 1_000.0
    for suspicion, pause_s in messages:
        now_s += pause_s
        kept = remember(kept, suspicion, now_s)
        assert 0.0 <= weigh(kept, now_s) <= MAX_WEIGHT
    assert weigh(kept, now_s + HALF_LIFE_S) == pytest.approx(weigh(kept, now_s) / 2)


def test_an_ordinary_visitor_leaves_nothing_behind() -> None:
    assert remember(None, 0.1, 5.0) is None
    counted = remember(None, 0.9, 5.0)
    assert counted is not None
    assert weigh(counted, 0.0) == 0.9  # a clock that went back changes nothing


@given(st.text(max_size=WHOLE))
def test_a_short_text_is_one_window(text: str) -> None:
    assert windows(text) == [text]


@given(st.lists(st.text("abc .!?\n", min_size=1, max_size=700), min_size=1, max_size=12).map("".join))
def test_windows_hold_every_word_of_a_long_text(text: str) -> None:
    cut = windows(text)
    if len(text) > WHOLE:
        assert cut[0] == text[:OPENING]
        assert all(len(window) <= 2 * WINDOW for window in cut[1:])
        assert "".join(text.split()) in "".join("".join(window.split()) for window in cut[1:]) or len(cut) > 2
    seen = {word for window in cut for word in window.split()}
    assert {word for word in text.split() if len(word) < WINDOW // 2} <= seen


def test_no_more_windows_than_asked_for() -> None:
    cut = windows("A sentence of some length stands here. " * 900, at_most=32)
    assert len(cut) == 32
