"""The money drill's judge finds what it has to find, its bills are what providers charge, its script reaches every ending."""

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.drill.evidence import Violation
from bench.drill.money.evidence import (
    AlertEvidence,
    BilledCall,
    BooksEvidence,
    BurstEvidence,
    CapEvidence,
    CounterState,
    Delivered,
    LedgerRow,
    Rates,
)
from bench.drill.money.fleet import MIXED, PRIMARY, SECONDARY, billed
from bench.drill.money.receiver import verified
from bench.drill.money.run import seeds_in
from bench.drill.money.script import plan_hits, write_question
from bench.drill.money.verdict import judge_alerts, judge_books, judge_burst, judge_cap
from bench.simulator import Call, parse_verbs
from bench.simulator.behaviour import without_directives
from bench.simulator.counting import count_prompt, count_text
from bench.simulator.log import bill
from chatwright.adapters.alerts.webhook import sign
from chatwright.adapters.catalogue.tariff import Band, Tariff
from chatwright.adapters.catalogue.tariff import Rates as OwnRates
from chatwright.domain.providers import Usage

NEED = 100


def rules(violations: list[Violation]) -> set[str]:
    return {violation.rule for violation in violations}


def row(number: int = 1, **fields: Any) -> LedgerRow:
    usual = LedgerRow(
        id=f"r{number}", provider="openai", state="ok", error_class=None, estimated=False, reserved_nano=NEED,
        cost_nano=NEED,
    )  # fmt: skip
    return replace(usual, **fields)


def state(spent: int, reserved: int = 0, *, limit: int = 2 * NEED, refused: bool = False) -> CounterState:
    return CounterState(budget_id="b", spent_nano=spent, reserved_nano=reserved, limit_nano=limit, refused=refused)


# Caps ------------------------------------------------------------------------------------------------------------------

GOOD_CAP = CapEvidence(
    need_nano=NEED,
    each_nano=NEED,
    fits=2,
    asked=5,
    answered=2,
    refused=3,
    others=[],
    provider_calls=2,
    rows=[row(1), row(2)],
    committed=[state(0, 100), state(0, 200), state(100, 100, refused=True), state(200, refused=True)],
    sampled=[state(0, 200), state(200)],
    at_rest=[state(200)],
    exactly=True,
)


def test_a_budget_that_held_is_left_alone() -> None:
    assert judge_cap(GOOD_CAP) == []
    half = replace(
        GOOD_CAP, each_nano=50, provider_calls=3, answered=3, refused=2, exactly=False,
        rows=[row(number, cost_nano=50) for number in (1, 2, 3)], at_rest=[state(150)],
    )  # fmt: skip
    assert judge_cap(half) == []


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"committed": [state(101, 100)]}, "settled + reserved passed the limit (committed)"),
        ({"sampled": [state(101, 100)]}, "settled + reserved passed the limit (sampled)"),
        ({"sampled": []}, "nobody watched the counters"),
        ({"committed": [state(0, 100, refused=True)]}, "a call was refused that fitted"),
        ({"provider_calls": 3}, "not exactly 2 provider calls"),
        ({"rows": [row(1)]}, "calls and rows differ"),
        ({"rows": [row(1), row(2, estimated=True)]}, "a row is not what its call was"),
        ({"rows": [row(1), row(2, cost_nano=99)]}, "a row is not what its call was"),
        ({"answered": 1, "others": ["500"]}, "answers and calls differ"),
        ({"refused": 2}, "an end that is neither an answer nor a refusal"),
        ({"exactly": False, "others": ["502"]}, "an end that is neither an answer nor a refusal"),
        ({"at_rest": []}, "there is no counter"),
        ({"at_rest": [state(200, 1)]}, "something is reserved at rest"),
        ({"at_rest": [state(199)]}, "a counter is not the sum of its calls"),
        ({"at_rest": [state(100)]}, "there was room left that nobody was given"),
    ],
)
def test_a_budget_that_did_not_hold_is_found(fields: dict[str, Any], rule: str) -> None:
    assert rule in rules(judge_cap(replace(GOOD_CAP, **fields)))


# Books -----------------------------------------------------------------------------------------------------------------


def call(number: int = 1, **fields: Any) -> BilledCall:
    usual = BilledCall(
        simulator=PRIMARY, n=number, call_id=f"r{number}", head="k", ended="complete", bill_nano=NEED, shape="plain"
    )  # fmt: skip
    return replace(usual, **fields)


GOOD_BOOKS = BooksEvidence(
    least_calls=2,
    calls=[call(1), call(2, bill_nano=80, ended="client_closed")],
    rows=[
        row(1),
        row(2, estimated=True, state="cancelled", cost_nano=80),
        row(3, state="failed", cost_nano=0),
        row(4, state="abandoned", estimated=True),
    ],
    committed=[state(0, 200), state(200)],
    at_rest=[state(180)],
    rest_s=100.0,
    rest_limit_s=120.0,
    drifts=0,
    faults_planned=1,
    faults_hit=1,
)


def test_books_that_are_the_bill_are_left_alone() -> None:
    assert judge_books(GOOD_BOOKS) == []


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"least_calls": 3}, "too few calls were made"),
        ({"faults_hit": 0}, "a fault found no process"),
        ({"calls": [call(1), call(9)]}, "a provider call has no row in the ledger"),
        ({"calls": [call(1), call(2, call_id=None)]}, "a provider call has no row in the ledger"),
        ({"calls": [call(1), call(1)]}, "two provider calls share one row"),
        ({"calls": [call(1, ended=""), call(2)]}, "a call never ended"),
        ({"calls": [call(1, bill_nano=101), call(2)]}, "a measured row is not the bill"),
        ({"calls": [call(1, bill_nano=99), call(2)]}, "a measured row is not the bill"),
        ({"calls": [call(1), call(2, bill_nano=81)]}, "an estimated row is below the bill"),
        ({"rows": [row(1, cost_nano=None), row(2)]}, "a row has no cost"),
        ({"rows": [row(1), row(2), row(3, state="open")]}, "a row is still open"),
        ({"rows": [row(1), row(2), row(3, state="failed")]}, "a call that was never made costs something"),
        ({"committed": [state(201)]}, "settled + reserved passed the limit (committed)"),
        ({"at_rest": [state(180, 5)]}, "something is reserved at rest"),
        ({"rest_s": None}, "reservations were not all back within 120 s"),
        ({"rest_s": 121.0}, "reservations were not all back within 120 s"),
        ({"drifts": 1}, "counters and ledger differ"),
    ],
)
def test_books_that_are_not_the_bill_are_found(fields: dict[str, Any], rule: str) -> None:
    assert rule in rules(judge_books(replace(GOOD_BOOKS, **fields)))


def test_findings_are_counted_by_kind() -> None:
    calls = [call(number, bill_nano=1, verb=verb) for number, verb in ((1, "cut:cut=2"), (2, "cut"), (3, "ok"))]
    found = judge_books(replace(GOOD_BOOKS, calls=calls, rows=[row(1), row(2), row(3)]))
    wrong = next(violation for violation in found if violation.rule == "a measured row is not the bill")
    assert wrong.count == 3
    assert [example.split(",")[0] for example in wrong.examples] == [
        "2 x ok  primary plain cut complete",
        "1 x ok  primary plain ok complete",
    ]


# Alerts ----------------------------------------------------------------------------------------------------------------

GOOD_ALERTS = AlertEvidence(
    name="a",
    wanted=("budget.80", "budget.95"),
    told=[("1", "budget.80"), ("2", "budget.95")],
    delivered=[
        Delivered(webhook_id="1", kind="budget.80", signed=True, status=500),
        Delivered(webhook_id="1", kind="budget.80", signed=True, status=200),
        Delivered(webhook_id="2", kind="budget.95", signed=True, status=200),
        Delivered(webhook_id="2", kind="budget.95", signed=True, status=200),
    ],
    refusals_of={"budget.80": 1},
)


def test_levels_told_once_are_left_alone() -> None:
    assert judge_alerts(GOOD_ALERTS) == []


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"told": [*GOOD_ALERTS.told, ("3", "budget.80")]}, "a level was not told exactly once"),
        ({"told": [*GOOD_ALERTS.told, ("3", "budget.100")]}, "a level was not told exactly once"),
        ({"told": GOOD_ALERTS.told[:1]}, "a level was not told exactly once"),
        ({"delivered": GOOD_ALERTS.delivered[:2]}, "an alert was never heard"),
        ({"delivered": GOOD_ALERTS.delivered[1:]}, "the receiver did not refuse as it meant to"),
        (
            {"delivered": [replace(GOOD_ALERTS.delivered[0], signed=False), *GOOD_ALERTS.delivered[1:]]},
            "a delivery is not signed as Standard Webhooks has it",
        ),
        (
            {"delivered": [*GOOD_ALERTS.delivered, replace(GOOD_ALERTS.delivered[1], webhook_id="9")]},
            "a delivery is of no alert",
        ),
    ],
)
def test_levels_told_otherwise_are_found(fields: dict[str, Any], rule: str) -> None:
    assert rule in rules(judge_alerts(replace(GOOD_ALERTS, **fields)))


def test_the_receiver_knows_our_signatures_from_others() -> None:
    secret, now_s, body = "whsec_c2VjcmV0LW9mLXRoZS1kcmlsbA==", 1_800_000_000, b'{"type":"budget.80"}'
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign(secret, "1", now_s, body),
    }
    assert verified(secret, headers, body, now_s=now_s)
    assert not verified(secret, headers, body + b" ", now_s=now_s)
    assert not verified(secret, {**headers, "webhook-id": "2"}, body, now_s=now_s)
    assert not verified("whsec_b3RoZXI=", headers, body, now_s=now_s)
    assert not verified(secret, headers, body, now_s=now_s + 3_600)
    assert not verified(secret, {}, body, now_s=now_s)


# Bursts ----------------------------------------------------------------------------------------------------------------

GOOD_BURST = BurstEvidence(
    name="b", limit=600, asked=2_000, passed=620, refused=1_380, others=[], took_s=2.0, steady=False
)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({}, None),
        ({"passed": 600, "refused": 1_400}, None),
        ({"passed": 621, "refused": 1_379}, "more passed than the limit"),
        ({"passed": 599, "refused": 1_401}, "fewer passed than the limit"),
        ({"passed": 619}, "an end that is neither an answer nor a refusal"),
        ({"others": ["500"]}, "an end that is neither an answer nor a refusal"),
        ({"steady": True, "passed": 1_981, "refused": 19}, None),
        ({"steady": True, "passed": 1_980, "refused": 20}, "a steady client at the limit was refused"),
    ],
)
def test_a_limit_is_judged_from_both_sides(fields: dict[str, Any], rule: str | None) -> None:
    assert rules(judge_burst(replace(GOOD_BURST, **fields))) == (set() if rule is None else {rule})


# What a provider charges -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"ended": "complete"}, (40, 10)),
        ({"ended": "complete", "answers": False}, (0, 0)),
        ({"ended": "error", "answers": False}, (0, 0)),
        ({"ended": "refused"}, (0, 0)),
        ({"ended": "reset"}, (0, 0)),
        ({"ended": "reset", "begun": True, "chunks_sent": 1}, (40, 3)),
        ({"ended": "client_closed"}, (40, 0)),
        ({"ended": "client_closed", "begun": True}, (40, 0)),
        ({"ended": "cut", "begun": True, "chunks_sent": 2}, (40, 5)),
        ({"ended": "cut", "begun": True, "chunks_sent": 2, "reasoning_tokens": 4}, (40, 7)),
        ({"ended": "cut", "begun": True, "reasoning_tokens": 4}, (40, 4)),
        ({"ended": "error", "begun": True, "chunks_sent": 4}, (40, 10)),
        ({"ended": "client_closed", "stream": False}, (40, 10)),
        ({"ended": "cut", "stream": False, "begun": True}, (40, 10)),
        ({"ended": "reset", "stream": False}, (0, 0)),
    ],
)
def test_the_simulated_bill(fields: dict[str, Any], wanted: tuple[int, int]) -> None:
    usual = Call(
        n=1, path="/", at=0.0, at_mono_ns=0, stream=True, answers=True, input_tokens=40, output_tokens=10, pieces=4
    )  # fmt: skip
    assert bill(msgspec.structs.replace(usual, **fields)) == wanted


def test_tokens_are_counted_alike_in_every_dialect() -> None:
    hello = {"role": "user", "content": "hello world"}
    assert count_text("hello world") == 2
    bodies = [
        ({"messages": [hello]}, 9),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hello world"}]}]}, 9),
        ({"system": "hello world", "messages": [hello]}, 15),
        ({"input": "hello world"}, 9),
        ({"contents": [{"role": "user", "parts": [{"text": "hello world"}]}]}, 9),
    ]
    for body, tokens in bodies:
        assert count_prompt(msgspec.json.encode({"model": "m", **body})) == tokens


_RATE = st.decimals(min_value=0, max_value=99, places=4)


@given(
    rates=st.tuples(_RATE, _RATE, _RATE, _RATE),
    tokens=st.tuples(*[st.integers(0, 1_000_000)] * 4),
)
def test_the_drill_and_the_product_reckon_the_same_price(
    rates: tuple[Decimal, ...], tokens: tuple[int, int, int, int]
) -> None:
    given_usd, cached_usd, written_usd, output_usd = rates
    fresh, cached, written, output = tokens
    ours = Rates(
        input_usd=str(given_usd), cached_usd=str(cached_usd), cache_write_usd=str(written_usd), output_usd=str(output_usd)
    )  # fmt: skip
    own = OwnRates(input_usd=given_usd, cached_usd=cached_usd, cache_write_usd=written_usd, output_usd=output_usd)
    usage = Usage(
        input_tokens=fresh + cached + written, cached_tokens=cached, cache_write_tokens=written, output_tokens=output
    )
    cost_nano = Tariff((Band(above=0, rates=own),)).cost_nano(usage)
    assert cost_nano == ours.nano(fresh=fresh, cached=cached, written=written, output=output)


def test_a_bill_in_nanodollars_knows_cached_tokens_of_whole_answers_only() -> None:
    made = Call(
        n=1, path="/", at=0.0, at_mono_ns=0, model=f"{MIXED}3", head="b1-7|cut:cut=2|words", call_id="c", ended="complete",
        stream=True, answers=True, begun=True, pieces=4, chunks_sent=4, input_tokens=1_000, output_tokens=100,
        cached_tokens=200, cache_write_tokens=50, billed_input_tokens=1_000, billed_output_tokens=100,
    )  # fmt: skip
    found = billed(PRIMARY, made)
    assert (found.head, found.verb) == ("b1-7", "cut:cut=2")
    assert found.bill_nano == 800 * 1_370 + 200 * 137 + 100 * 4_190
    assert billed(SECONDARY, made).bill_nano == -(-(750 * 8300 + 200 * 830 + 50 * 10375 + 100 * 41500) // 10)
    made.ended = "cut"
    assert billed(PRIMARY, made).bill_nano == 1_000 * 1_370 + 100 * 4_190


# The script ------------------------------------------------------------------------------------------------------------


def test_the_script_reaches_every_ending_and_says_nothing_unknown() -> None:
    draw = random.Random(1)
    questions = [write_question(draw, seed=1, number=number, chatbots=12) for number in range(2_000)]
    verbs = {question.text.split("|")[1].partition(":")[0] for question in questions}
    wanted = {"ok", "usage", "4xx", "5xx", "timeout", "stall", "garble", "cut", "reset", "error", "silent", "slow"}
    assert verbs == wanted | {"hedge", "leave", "cancel"}
    assert {question.way for question in questions} == {"stream", "whole", "queued", "leave", "cancel"}
    for question in questions:
        directive, echo = without_directives(question.text, PRIMARY)
        parse_verbs(directive)  # raises on one that the simulator does not know
        assert without_directives(question.text, SECONDARY) == ("", echo)
        assert echo.startswith(f"{question.key}|")
    assert len({question.key for question in questions}) == len(questions)


def test_every_process_is_killed_and_each_role_terminated() -> None:
    for seed in range(1, 6):
        hits = plan_hits(seed)
        assert hits == plan_hits(seed)
        killed = {(hit.role, hit.place) for hit in hits if hit.number.name == "SIGKILL"}
        assert killed == {("api", 0), ("api", 1), ("worker", 0), ("worker", 1), ("worker", 2)}
        assert {hit.role for hit in hits if hit.number.name == "SIGTERM"} == {"api", "worker"}
        assert [hit.at_s for hit in hits] == sorted(hit.at_s for hit in hits)


@pytest.mark.parametrize(("text", "wanted"), [("1-5", [1, 2, 3, 4, 5]), ("3", [3]), ("1,4-5", [1, 4, 5])])
def test_seeds_are_read(text: str, wanted: list[int]) -> None:
    assert seeds_in(text) == wanted


@pytest.mark.parametrize("text", ["", "0", "x", "5-1"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        seeds_in(text)
