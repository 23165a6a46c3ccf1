"""The provider drill's judge must complain about every kind of loss, splicing and silence, and about nothing else."""

import random
from dataclasses import replace
from typing import Any

import pytest

from bench.drill.providers.evidence import (
    PRIMARY,
    SECONDARY,
    Evidence,
    LedgerRow,
    Phase,
    ProviderCall,
    Question,
    StoredMessage,
)
from bench.drill.providers.script import AFTER, BEFORE, write_questions
from bench.drill.providers.verdict import calls_by_key, judge, summarise
from bench.simulator import parse_verbs

COUNT = 10


def question(number: int, **changes: Any) -> Question:
    asked = Question(
        key=f"k{number}", way="queued" if number % 2 else "stream", echo=f"k{number}: some words", text=f"text {number}",
        faulty=False, ended="complete", took_s=1.0,
    )  # fmt: skip
    asked.shown = asked.whole(PRIMARY)
    for name, value in changes.items():
        setattr(asked, name, value)
    return asked


def call(n: int, number: int, simulator: str = PRIMARY, **changes: Any) -> ProviderCall:
    made = ProviderCall(
        simulator=simulator, n=n, call_id=f"c{n}", head=f"k{number}: some", ended="complete",
        text=question(number).whole(simulator), status=200,
    )  # fmt: skip
    return replace(made, **changes)


def good(where: Any = "before", **changes: Any) -> Evidence:
    """Every question answered by the primary in one call."""
    asked = [question(number) for number in range(COUNT)]
    evidence = Evidence(
        phases=[Phase(name="p", where=where, questions=asked)],
        calls=[call(number, number) for number in range(COUNT)],
        rows=[LedgerRow(id=f"c{number}", provider="openai", state="ok", message_id=None) for number in range(COUNT)],
        messages=[
            StoredMessage(text=one.text, state="answered", answer=one.shown, partial=False)
            for one in asked
            if one.way == "queued"
        ],
        deadline_s=12.0,
    )
    return replace(evidence, **changes)


def with_question(number: int, where: Any = "before", **changes: Any) -> Evidence:
    """The good run with one question changed."""
    evidence = good(where)
    asked = [question(place, **(changes if place == number else {})) for place in range(COUNT)]
    return replace(evidence, phases=[Phase(name="p", where=where, questions=asked)])


def rules(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in judge(evidence)}


def fallback() -> Evidence:
    """Question 0: the primary said nothing, the secondary answered."""
    evidence = with_question(0, shown=question(0).whole(SECONDARY))
    return replace(
        evidence,
        calls=[call(0, 0, text="", ended="error", status=500), *evidence.calls[1:], call(99, 0, SECONDARY)],
        rows=[
            replace(evidence.rows[0], state="failed"), *evidence.rows[1:],
            LedgerRow(id="c99", provider="anthropic", state="ok", message_id=None),
        ],
    )  # fmt: skip


def broken_off(**changes: Any) -> Evidence:
    """Question 1 (queued): the primary broke off after some words, and the visitor was told so."""
    evidence = with_question(1, "after", **({"shown": "P:k1: P:some", "ended": "partial"} | changes))
    half = StoredMessage(text="text 1", state="failed", answer="P:k1: P:some", partial=True)
    return replace(
        evidence,
        calls=[evidence.calls[0], call(1, 1, text="P:k1: P:some", ended="cut"), *evidence.calls[2:]],
        rows=[evidence.rows[0], replace(evidence.rows[1], state="cut"), *evidence.rows[2:]],
        messages=[half, *evidence.messages[1:]],
    )


def test_good_runs_have_no_violation() -> None:
    for evidence in (good(), good("after"), fallback(), broken_off()):
        assert judge(evidence) == []


def without_row(e: Evidence) -> Evidence:
    return replace(e, rows=e.rows[1:])


def more_calls(e: Evidence) -> Evidence:
    extra = [call(100 + n, n, text="", ended="error") for n in range(3)]
    rows = [LedgerRow(id=f"c{100 + n}", provider="openai", state="failed", message_id=None) for n in range(3)]
    return replace(e, calls=[*e.calls, *extra], rows=[*e.rows, *rows])


def four_calls(e: Evidence) -> Evidence:
    extra = [call(100 + n, 0, text="", ended="error") for n in range(3)]
    return replace(e, calls=[*e.calls, *extra])


def row(e: Evidence, **changes: Any) -> Evidence:
    return replace(e, rows=[replace(e.rows[0], **changes), *e.rows[1:]])


def message(e: Evidence, **changes: Any) -> Evidence:
    return replace(e, messages=[replace(e.messages[0], **changes), *e.messages[1:]])


@pytest.mark.parametrize(
    ("evidence", "rule"),
    [
        (with_question(0, shown="P:k0: S:some P:words"), "a complete answer is not what one provider said"),
        (with_question(0, shown="P:k0: P:some"), "a complete answer is not what one provider said"),
        (with_question(0, shown="P:k0: S:k0:", ended="partial"), "a text is spliced or doubled"),
        (with_question(0, shown="P:k0: P:k0: P:some", ended="partial"), "a text is spliced or doubled"),
        (with_question(0, shown="", ended="partial"), "a partial answer has no text"),
        (with_question(0, shown="P:k0:", ended="error"), "text was shown, but the end does not say that it is partial"),
        (with_question(0, ended="broken"), "an answer ended without a word"),
        (with_question(0, ended=""), "an answer ended without a word"),
        (with_question(0, took_s=13.1), "a wait went past the deadline"),
        (with_question(0, shown="", ended="error"), "fewer than 99.9% complete answers"),
        (with_question(0, "after", shown="", ended="error"), "fewer than 99.9% complete answers"),
        (broken_off(ended="complete", shown=question(1).whole(PRIMARY)), "a fault after visible text did not end as a partial answer"),
        (broken_off(ended="complete", shown=question(1).whole(PRIMARY)), "an answer is complete that no provider completed"),
        (broken_off(ended="complete", shown=question(1).whole(PRIMARY)), "another answer is stored than was shown"),
        (message(broken_off(), partial=False), "a partial answer is not stored as one"),
        (message(broken_off(), answer=None), "a partial answer is not stored as one"),
        (message(good(), answer="other"), "another answer is stored than was shown"),
        (message(good(), text="other"), "a message is lost"),
        (without_row(good()), "a provider call has no row in the ledger"),
        (row(good(), provider="anthropic"), "a ledger row names another provider"),
        (row(good(), state="open"), "a ledger row is still open"),
        (replace(good(), calls=[*good().calls, call(50, 3, call_id="c3", ended="error", text="")]), "two provider calls share one ledger row"),
        (replace(good(), calls=good().calls[1:]), "a ledger row says ok for a call that never was"),
        (replace(good(), calls=good().calls[1:]), "an answer is complete that no provider completed"),
        (more_calls(good()), "more than 1.2 provider calls an answer"),
        (four_calls(good()), "more than 3 provider calls for one answer"),
        (replace(good(), least=COUNT + 1), "too few questions were asked"),
    ],
)  # fmt: skip
def test_the_judge_complains(evidence: Evidence, rule: str) -> None:
    assert rule in rules(evidence)


def test_one_lost_answer_in_a_thousand_is_allowed_and_two_are_not() -> None:
    def run(lost: int) -> Evidence:
        asked = [question(number) for number in range(1000)]
        for one in asked[:lost]:
            one.ended, one.shown = "error", ""
        calls = [call(number, number) for number in range(1000)]
        rows = [LedgerRow(id=f"c{number}", provider="openai", state="ok", message_id=None) for number in range(1000)]
        stored = [StoredMessage(text=one.text, state="answered", answer=one.shown, partial=False) for one in asked]
        phases = [Phase(name="p", where="before", questions=asked)]
        return Evidence(phases=phases, calls=calls, rows=rows, messages=stored, deadline_s=12.0)

    assert rules(run(1)) == set()
    assert rules(run(2)) == {"fewer than 99.9% complete answers"}


def test_a_phase_is_summed_up() -> None:
    evidence = fallback()
    summary = summarise(evidence.phases[0], calls_by_key(evidence.calls))
    assert (summary.questions, summary.complete, summary.by_secondary, summary.calls, summary.to_primary) == (
        10,
        10,
        1,
        11,
        10,
    )
    assert summary.ended == {"complete": 9, "error": 1}


def test_every_fault_is_one_the_simulator_knows_and_a_question_names_its_key_first() -> None:
    for verbs in (*BEFORE, *AFTER):
        assert parse_verbs(verbs)
    draw = random.Random(1)
    asked = write_questions(draw, name="n", way="stream", count=400, faults=BEFORE, share=0.25)
    assert 60 < sum(one.faulty for one in asked) < 140
    for one in asked:
        assert one.text.startswith(f"{one.key}: ")
        assert ("[[sim@primary:" in one.text) == one.faulty
        assert one.whole(PRIMARY).split(" ")[0] == f"P:{one.key}:"
    assert {fault for fault in BEFORE if any(f"primary:{fault}]]" in one.text for one in asked)} == set(BEFORE)
