import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.queue.connection import pause_s
from chatwright.adapters.queue.fairness import AHEAD, REBASE_AT, SPAN, cost_of, level_of_number
from chatwright.adapters.queue.jobs import Done, Failed, Finish, RetryLater, decode_job, encode_result
from chatwright.adapters.queue.lane import Lane, Running, Slots, finish_of
from chatwright.adapters.queue.names import (
    QUEUES,
    JobKey,
    JobType,
    QueueName,
    level_of,
    parse_job_id,
    priority_of,
    queues_of,
    route,
)
from chatwright.adapters.queue.scripts import bullmq_text, load

JOB_TYPES = st.sampled_from(JobType)
PRIORITIES = st.integers(1, 10)
ROW_IDS = st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("job_type", "priority", "queue"),
    [
        (JobType.CHAT_RESPONSE, 8, QueueName.HIGH_PRIORITY),
        (JobType.CHAT_RESPONSE, 7, QueueName.STANDARD),
        (JobType.SENTIMENT_ANALYSIS, 10, QueueName.STANDARD),
        (JobType.KNOWLEDGE_SEARCH, 1, QueueName.STANDARD),
        (JobType.CONVERSATION_SUMMARY, 5, QueueName.STANDARD),
        (JobType.DOCUMENT_INDEX, 10, QueueName.BATCH),
        (JobType.KNOWLEDGE_REEMBED, 5, QueueName.BATCH),
        (JobType.CSV_IMPORT_BATCH, 3, QueueName.BATCH),
    ],
)
def test_a_job_is_routed_by_its_class_and_then_by_its_priority(
    job_type: JobType, priority: int, queue: QueueName
) -> None:
    assert route(job_type, priority) is queue


@given(job_type=JOB_TYPES, priority=PRIORITIES)
def test_every_route_is_among_the_queues_that_are_asked_for_a_job(job_type: JobType, priority: int) -> None:
    assert route(job_type, priority) in queues_of(job_type)


@pytest.mark.parametrize("priority", [0, 11, -1])
def test_a_priority_outside_one_to_ten_is_refused(priority: int) -> None:
    with pytest.raises(ValueError, match="priority"):
        route(JobType.CHAT_RESPONSE, priority)
    with pytest.raises(ValueError, match="priority"):
        level_of(priority)


@given(first=PRIORITIES, second=PRIORITIES)
def test_more_urgent_means_a_lower_level_and_back_again(first: int, second: int) -> None:
    assert (first > second) == (level_of(first) < level_of(second))
    assert priority_of(level_of(first)) == first


@given(priority=PRIORITIES, tag=st.integers(0, SPAN - 1))
def test_every_number_is_a_legal_bullmq_priority_and_names_its_level(priority: int, tag: int) -> None:
    number = level_of(priority) * SPAN + 1 + tag
    assert 1 <= number <= 2**21
    assert level_of_number(number) == level_of(priority)


def test_tags_fit_into_a_level_until_a_rebase_is_done() -> None:
    assert REBASE_AT + AHEAD < SPAN
    text = load("add").text
    for line in (f"SPAN = {SPAN}", f"REBASE_AT = {REBASE_AT}", f"AHEAD = {AHEAD}"):
        assert f"local {line}" in text


@given(weight=st.floats(allow_nan=True, allow_infinity=True))
def test_the_cost_of_a_turn_is_bounded_for_any_weight(weight: float) -> None:
    assert 1 / 16 <= cost_of(weight) <= 16
    if math.isfinite(weight) and 1 / 16 <= weight <= 16:
        assert cost_of(weight) == pytest.approx(1 / weight)


@given(job_type=JOB_TYPES, row_id=ROW_IDS, generation=st.integers(0, 10**6))
def test_a_job_id_reads_back_as_it_was_built(job_type: JobType, row_id: str, generation: int) -> None:
    key = JobKey(type=job_type, row_id=row_id, generation=generation)
    assert parse_job_id(str(key)) == key


@given(text=st.text(max_size=60))
def test_any_other_text_is_no_job_id_of_ours(text: str) -> None:
    key = parse_job_id(text)
    assert key is None or str(key) == text


@pytest.mark.parametrize("text", ["", "17", "chat_response-x", "chat_response--0", "other-x-0", "chat_response-x-01"])
def test_foreign_ids_are_not_mistaken_for_ours(text: str) -> None:
    assert parse_job_id(text) is None


@given(items=st.lists(st.binary(max_size=60), max_size=20), raw_id=st.binary(max_size=20))
def test_no_job_hash_whatever_it_holds_raises(items: list[bytes], raw_id: bytes) -> None:
    decode_job("ai-standard", raw_id, items)


@given(data=st.binary(max_size=60), number=st.binary(max_size=12))
def test_no_field_of_a_job_whatever_it_holds_raises(data: bytes, number: bytes) -> None:
    items = [b"name", data, b"data", data, b"priority", number, b"timestamp", number, b"ats", number, b"atm", number]
    job, problem = decode_job("ai-standard", b"1", items)
    assert problem or isinstance(job.data, dict)
    job.tenant_id.encode()  # it is packed for Lua later: it must be text that can be encoded


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{", b'{"a":"\\ud800"}', b"[" * 5000])
def test_data_that_is_no_object_is_a_problem_with_a_name(data: bytes) -> None:
    _, problem = decode_job("ai-standard", b"1", [b"name", b"x", b"data", data])
    assert "data" in problem


def _running(failed_attempts: int = 0) -> Running:
    items = [b"name", b"x", b"data", b"{}", b"atm", str(failed_attempts).encode()]
    job, _ = decode_job("ai-standard", b"1", items)
    return Running(job, b"1", "t", Lane(QUEUES[QueueName.STANDARD], "b:"))


def test_outcomes_become_what_bullmq_is_told() -> None:
    assert finish_of(_running(), Done({"a": 1})).wire() == ["c", "t", '{"a":1}', 0, 0]
    assert finish_of(_running(), Done(object())).text == "null"
    assert finish_of(_running(), RetryLater(0.25, "later")).wire() == ["d", "t", "later", 250, 0]
    assert finish_of(_running(), Failed("no \ud800")).wire() == ["f", "t", "no ?", 0, 0]


@pytest.mark.parametrize(
    ("failed", "kind", "delay_ms"), [(0, "a", 5000), (1, "a", 10_000), (3, "a", 40_000), (4, "f", 0)]
)
def test_faults_back_off_exponentially_and_end_with_the_last_attempt(failed: int, kind: str, delay_ms: int) -> None:
    finish = finish_of(_running(failed), KeyError("a visitor's words"))
    assert (finish.kind, finish.number) == (kind, delay_ms)
    assert "visitor" not in finish.text


def test_a_result_that_json_cannot_hold_is_null() -> None:
    assert encode_result({1j}) == "null"
    assert encode_result(None) == "null"


def _slots(concurrency: int, reserve: int) -> tuple[Slots, list[Lane]]:
    lanes = [Lane(spec, f"b:{spec.name}:") for spec in QUEUES.values()]
    return Slots(lanes, concurrency=concurrency, reserve=reserve), lanes


@given(st.integers(2, 40), st.integers(0, 39), st.lists(st.integers(0, 2), max_size=60))
def test_slots_are_never_overfilled_and_the_reserve_stays_free(
    concurrency: int, reserve: int, wishes: list[int]
) -> None:
    reserve %= concurrency
    slots, lanes = _slots(concurrency, reserve)
    for number, wish in enumerate(wishes):
        if slots.room(lanes[wish]) > 0:
            lanes[wish].running[str(number)] = _running()
    counts = [len(lane.running) for lane in lanes]
    assert sum(counts) <= concurrency
    assert counts[1] + counts[2] <= concurrency - reserve
    assert counts[2] <= max(1, (concurrency - reserve) // 2)


@given(st.integers(2, 40), st.integers(0, 39))
def test_a_plan_gives_no_slot_away_twice(concurrency: int, reserve: int) -> None:
    slots, _ = _slots(concurrency, reserve % concurrency)
    turns = slots.plan(fetch=True)
    assert sum(turn.wanted for turn in turns) <= concurrency
    assert turns[0].lane.spec.name is QueueName.HIGH_PRIORITY


def test_impossible_slots_are_refused() -> None:
    for concurrency, reserve in ((0, 0), (4, 4), (4, -1)):
        with pytest.raises(ValueError, match="concurrency"):
            _slots(concurrency, reserve)


def test_finishes_of_a_failed_round_trip_are_told_again_in_order() -> None:
    lane = Lane(QUEUES[QueueName.STANDARD], "b:")
    lane.finishes = [Finish("c", str(number).encode(), "t") for number in range(70)]
    taken = lane.take_finishes()
    assert len(taken) == 64
    lane.give_back(taken)
    assert [int(finish.raw_id) for finish in lane.finishes] == list(range(70))


def test_the_pause_between_tries_never_passes_a_second() -> None:
    assert [pause_s(failures) for failures in (1, 2, 5, 50, 10_000)] == [0.1, 0.2, 1.0, 1.0, 1.0]


def test_a_script_that_bullmq_does_not_have_is_named() -> None:
    with pytest.raises(RuntimeError, match="noSuchScript"):
        bullmq_text("noSuchScript")
