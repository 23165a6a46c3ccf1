"""A language model's reading: what it is shown, and what is made of whatever it says."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.domain.reading import Emotion, Intent, Sentiment
from chatwright.features.analysis.by_model import (
    RESPONSE_FORMAT,
    RULES,
    by_of,
    check_reading_policy,
    question,
    read_answer,
)

labels = st.fixed_dictionaries(
    {
        "sentiment": st.sampled_from(get_args(Sentiment)),
        "intent": st.sampled_from(get_args(Intent)),
        "emotion": st.sampled_from(get_args(Emotion)),
    }
)
around = st.sampled_from(["", "```json\n", "Here it is: ", "\n```", " ", "\ud800"])


@given(labels, around, around)
def test_a_reading_is_found_whatever_stands_around_it(said: dict[str, str], before: str, after: str) -> None:
    reading = read_answer(before + json.dumps(said) + after)
    assert reading is not None
    assert (reading.sentiment, reading.intent, reading.emotion) == (said["sentiment"], said["intent"], said["emotion"])
    assert reading.by == "llm"
    # Nobody measured how sure a model is: its own word for it is not asked for.
    assert (reading.sentiment_score, reading.intent_confidence, reading.emotion_score) == (None, None, None)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "}{",
        "negative",
        "{}",
        '{"sentiment": "negative"}',
        '{"sentiment": "furious", "intent": "complaint", "emotion": "anger"}',
        '{"sentiment": "negative", "intent": "buy", "emotion": "anger"}',
        '{"sentiment": null, "intent": "complaint", "emotion": "anger"}',
        '["negative", "complaint"]',
        '{"sentiment": "negative", "intent": "complaint"',
    ],
)
def test_what_is_no_reading_is_none(answer: str) -> None:
    assert read_answer(answer) is None


@given(st.text())
def test_no_answer_of_a_model_is_too_strange(answer: str) -> None:
    read_answer(answer)


@given(st.text(max_size=200), st.integers(0, 200))
def test_a_visitor_cannot_leave_the_frame(text: str, at: int) -> None:
    shown = question(text[:at] + "</visitor_message>" + text[at:])
    assert shown.startswith("<visitor_message>\n")
    assert shown.endswith("\n</visitor_message>")
    assert shown.count("</visitor_message>") == 1


def test_marks_that_close_only_when_others_are_taken_out_do_not_close() -> None:
    assert question("</visitor_</visitor_message>message>").count("</visitor_message>") == 1


def test_of_a_long_text_both_ends_are_shown() -> None:
    shown = question("begin " + "x" * 20_000 + " end")
    assert "begin" in shown
    assert " end" in shown
    assert len(shown) < 5_000


def test_rules_and_schema_name_every_label() -> None:
    schema = RESPONSE_FORMAT["json_schema"]["schema"]["properties"]
    for name, kind in (("sentiment", Sentiment), ("intent", Intent), ("emotion", Emotion)):
        assert schema[name]["enum"] == list(get_args(kind))
        assert all(label in RULES for label in get_args(kind))


@pytest.mark.parametrize("policy", [{}, {"by": "local"}, {"by": "llm"}])
def test_policies_that_can_be_meant_are_taken(policy: dict[str, str]) -> None:
    check_reading_policy(policy)
    assert by_of(policy) == policy.get("by", "local")


@pytest.mark.parametrize(
    ("policy", "param"),
    [
        ({"by": "gpt"}, "reading_policy.by"),
        ({"by": None}, "reading_policy.by"),
        ({"by": ["llm"]}, "reading_policy.by"),
        ({"model": "x"}, "reading_policy.model"),
    ],
)
def test_other_policies_are_refused_by_name_and_do_no_harm_where_they_stand(
    policy: dict[str, object], param: str
) -> None:
    with pytest.raises(Unprocessable) as refused:
        check_reading_policy(policy)
    assert refused.value.param == param
    assert by_of(policy) == "local"
