"""The drill's judge must complain about every kind of loss and doubling, and about nothing when all is well."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.drill.evidence import AnswerRow, CallRow, Evidence, MessageRow, Sent, SimulatedCall
from bench.drill.schedule import PARTS, plan_faults
from bench.drill.verdict import count_mended, judge
from bench.drill.view import View

COUNT = 6


def text(number: int) -> str:
    return f"key-{number}: words of {number} [[sim:chunks=3]]"


def echo(number: int) -> str:
    return f"key-{number}: words of {number}"


def good(**changes: Any) -> Evidence:
    """A run in which everything went well: one message, one answer, one call, one row each."""
    evidence = Evidence(
        wanted=COUNT,
        sent=[
            Sent(
                key=f"key-{n}", tenant_id="t", text=text(n), echo=echo(n), tries=1, acknowledged={f"m{n}"},
                ended="answered", streamed=echo(n), told=echo(n),
            )
            for n in range(COUNT)
        ],
        messages=[MessageRow(id=f"m{n}", tenant_id="t", text=text(n), state="answered", finished=True) for n in range(COUNT)],
        answers=[AnswerRow(id=f"a{n}", message_id=f"m{n}", text=echo(n), partial=False) for n in range(COUNT)],
        calls=[CallRow(id=f"c{n}", message_id=f"m{n}", state="ok") for n in range(COUNT)],
        simulated=[SimulatedCall(n=n, call_id=f"c{n}", head=text(n)[:80]) for n in range(COUNT)],
        open_jobs=0,
        queue_left={"ai-standard": 0},
        doubled_events=0,
        faults_planned=13,
        faults_hit=13,
        settle_s=4.0,
    )  # fmt: skip
    return replace(evidence, **changes)


def rules(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in judge(evidence)}


def test_a_good_run_has_no_violation() -> None:
    assert judge(good()) == []


def lost(e: Evidence) -> Evidence:
    return replace(e, messages=e.messages[1:], answers=e.answers[1:], calls=e.calls[1:], simulated=e.simulated[1:])


def double_answer(e: Evidence) -> Evidence:
    return replace(e, answers=[*e.answers, AnswerRow(id="again", message_id="m0", text=echo(0), partial=False)])


def stored_twice(e: Evidence) -> Evidence:
    return replace(e, messages=[*e.messages, replace(e.messages[0], id="m0-again")])


def wrong_text(e: Evidence) -> Evidence:
    return replace(e, answers=[replace(e.answers[0], text=echo(1)), *e.answers[1:]])


def torn_partial(e: Evidence) -> Evidence:
    messages = [replace(e.messages[0], state="failed"), *e.messages[1:]]
    answers = [replace(e.answers[0], text="something else", partial=True), *e.answers[1:]]
    sent = [replace(e.sent[0], ended="failed"), *e.sent[1:]]
    return replace(e, messages=messages, answers=answers, sent=sent)


def four_calls(e: Evidence) -> Evidence:
    calls = [CallRow(id=f"x{n}", message_id="m0", state="failed") for n in range(3)]
    simulated = [SimulatedCall(n=100 + n, call_id=f"x{n}", head=text(0)[:80]) for n in range(3)]
    return replace(e, calls=[*e.calls, *calls], simulated=[*e.simulated, *simulated])


def sent_change(**changes: Any) -> Callable[[Evidence], Evidence]:
    return lambda e: replace(e, sent=[replace(e.sent[0], **changes), *e.sent[1:]])


def row_change(**changes: Any) -> Callable[[Evidence], Evidence]:
    return lambda e: replace(e, messages=[replace(e.messages[0], **changes), *e.messages[1:]])


def call_change(**changes: Any) -> Callable[[Evidence], Evidence]:
    return lambda e: replace(e, simulated=[replace(e.simulated[0], **changes), *e.simulated[1:]])


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lost, "an acknowledged message is lost"),
        (double_answer, "a message has two answers"),
        (stored_twice, "one message is stored twice"),
        (wrong_text, "an answer is another message's or broken"),
        (torn_partial, "an answer is another message's or broken"),
        (four_calls, "more than 3 provider calls for one message"),
        (lambda e: replace(e, answers=e.answers[1:]), "an answered message has no answer"),
        (lambda e: replace(e, answers=[replace(e.answers[0], partial=True), *e.answers[1:]]), "an answered message has a partial answer"),
        (lambda e: replace(e, calls=e.calls[1:]), "a provider call has no row in the ledger"),
        (call_change(call_id=None), "a provider call has no row in the ledger"),
        (call_change(call_id="c1"), "two provider calls share one ledger row"),
        (call_change(head=text(2)[:80]), "a provider call carried another message's text"),
        (lambda e: replace(e, simulated=e.simulated[1:]), "a ledger row says ok for a call that never was"),
        (row_change(state="accepted"), "a message is not terminal"),
        (row_change(finished=False), "a message is not terminal"),
        (row_change(tenant_id="other"), "a message went to another tenant"),
        (row_change(text="nobody said this"), "a stored message was never sent"),
        (row_change(text=text(1)), "an acknowledged message holds another text"),
        (sent_change(acknowledged={"m0", "m1"}), "one message was acknowledged under two ids"),
        (sent_change(acknowledged=set[str]()), "a message was never acknowledged"),
        (sent_change(ended=""), "a client never saw the end of its answer"),
        (sent_change(ended="failed"), "a client was told another end than is stored"),
        (sent_change(told="other"), "a client was told another text than is stored"),
        (sent_change(streamed=echo(0) * 2), "a client was shown text that is not the stored answer's"),
        (sent_change(streamed=echo(0)[5:]), "a client was shown text that is not the stored answer's"),
        (sent_change(streamed=echo(0)[:5], told=None), "a client was left with a part of the stored answer"),
        (lambda e: replace(e, settle_s=61.0), "not all terminal within 60 s of the last fault"),
        (lambda e: replace(e, settle_s=None), "not all terminal within 60 s of the last fault"),
        (lambda e: replace(e, queue_left={"ai-batch": 1}), "the queue is not empty at the end"),
        (lambda e: replace(e, open_jobs=1), "jobs are open at the end"),
        (lambda e: replace(e, doubled_events=1), "a stream event came twice"),
        (lambda e: replace(e, wanted=COUNT + 1), "too few messages were sent"),
        (lambda e: replace(e, faults_hit=12), "a fault found no process"),
    ],
)  # fmt: skip
def test_the_judge_complains(spoil: Callable[[Evidence], Evidence], rule: str) -> None:
    assert rule in rules(spoil(good()))


def test_rows_of_calls_that_never_left_are_allowed_unless_they_say_ok() -> None:
    crashed = CallRow(id="never", message_id="m0", state="abandoned")
    assert judge(good(calls=[*good().calls, crashed])) == []


def test_a_failed_message_may_keep_a_prefix_of_its_answer() -> None:
    base = good()
    messages = [replace(base.messages[0], state="failed"), *base.messages[1:]]
    answers = [replace(base.answers[0], text=echo(0)[:9], partial=True), *base.answers[1:]]
    sent = [replace(base.sent[0], ended="failed", told=None), *base.sent[1:]]
    assert judge(good(messages=messages, answers=answers, sent=sent)) == []


def test_pieces_missing_at_the_end_are_mended_by_the_last_event_and_counted() -> None:
    base = good()
    cut = good(sent=[replace(base.sent[0], streamed=echo(0)[:5]), *base.sent[1:]])
    assert judge(cut) == []
    assert count_mended(cut) == 1
    assert count_mended(base) == 0


def test_an_empty_run_is_no_good_run() -> None:
    empty = good(sent=[], messages=[], answers=[], calls=[], simulated=[])
    assert rules(empty) == {"too few messages were sent"}


@given(st.integers(0, 10_000))
def test_every_schedule_hits_every_part_in_every_way_and_wipes_once(seed: int) -> None:
    faults = plan_faults(seed)
    assert {(fault.kind, fault.part) for fault in faults if fault.kind != "flush"} == {
        (kind, part) for kind in ("kill", "term", "stop") for part in PARTS
    }
    assert sum(fault.kind == "flush" for fault in faults) == 1
    assert all(later.at_s > earlier.end_s for earlier, later in itertools.pairwise(faults))
    assert faults == plan_faults(seed)
    assert faults[-1].end_s < 75


def test_the_view_shows_what_a_page_would_show() -> None:
    view = View()
    sent = Sent(key="k", tenant_id="t", text="", echo="", acknowledged={"m"})
    for seq, event in enumerate(
        (
            {"type": "stream_start"},
            {"type": "stream_chunk", "chunk": "half of the fi"},
            {"type": "stream_reset"},
            {"type": "stream_start"},
            {"type": "stream_chunk", "chunk": "whole "},
            {"type": "stream_chunk", "chunk": "answer"},
        ),
        start=1,
    ):
        view.take({**event, "message_id": "m", "seq": seq})
    assert not view.settle(sent)
    view.take({"type": "stream_chunk", "chunk": "answer", "message_id": "m", "seq": 6})
    assert view.doubled == 1
    view.take({"type": "stream_complete", "message_id": "m", "seq": 7, "text": "whole answer", "state": "answered"})
    assert view.settle(sent)
    assert (sent.ended, sent.streamed, sent.told) == ("answered", "whole answer", "whole answer")
