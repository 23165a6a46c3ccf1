"""The avatar's choice and the rule-based reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.features.analysis import read
from chatwright.features.animation import ANIMATIONS, choose, while_streaming

labels = st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["greeting", "question", "positive", "negative"]))


@given(st.text(max_size=40), labels, labels, st.one_of(st.none(), st.sampled_from(ANIMATIONS)))
def test_the_choice_is_stable_known_and_not_repeated(
    message: str, intent: str | None, sentiment: str | None, previous: str | None
) -> None:
    name = choose(message, intent=intent, sentiment=sentiment, previous=previous)
    assert name == choose(message, intent=intent, sentiment=sentiment, previous=previous)
    assert name in ANIMATIONS
    if sentiment == "positive" and intent not in ("greeting", "question"):
        assert name != previous


def test_intent_goes_before_sentiment_before_default() -> None:
    assert choose("m", intent="greeting", sentiment="negative") == "wave"
    assert choose("m", intent="other", sentiment="negative") in ("thinking", "confused")
    assert choose("m", intent=None, sentiment=None) == "idle"


def test_a_chatbot_overrides_the_tables_within_what_its_avatar_has() -> None:
    tables = {"intent": {"greeting": ["happy", "dance"]}, "available": ["idle", "happy"], "default": "dance"}
    assert choose("m", intent="greeting", sentiment=None, animation_set=tables) == "happy"
    assert choose("m", intent="question", sentiment="negative", animation_set=tables) == "idle"
    assert while_streaming(3, tables) == "idle"
    assert {while_streaming(i) for i in range(4)} == {"talk_calm", "talk_explain"}


@pytest.mark.parametrize(
    ("text", "sentiment", "intent"),
    [
        ("Hello there", "neutral", "greeting"),
        ("Thanks, that was very helpful!", "positive", "thanks"),
        ("This is terrible, I want a refund", "negative", "complaint"),
        ("It is not good", "negative", "other"),
        ("Where is my order?", "neutral", "question"),
        ("How do I reset my password?", "neutral", "explanation"),
        ("Let me speak to a human", "neutral", "handoff"),
        ("bye bye", "neutral", "farewell"),
        ("", "neutral", "other"),
    ],
)
def test_the_reader_labels_plain_cases_and_claims_no_probability(text: str, sentiment: str, intent: str) -> None:
    reading = read(text)
    assert (reading.sentiment, reading.intent) == (sentiment, intent)
    assert reading.sentiment_score is None
    assert reading.intent_confidence is None


@given(st.text(max_size=2000))
def test_reading_never_fails(text: str) -> None:
    read(text)
