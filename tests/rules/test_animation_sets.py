"""What the avatar does about a reading: precedence, the manifest, no immediate repeat; and what a set may say."""

import random
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.domain.reading import Emotion, Intent, Sentiment
from chatwright.features.animation import ANIMATIONS, AnimationSet, check_animation_set, choose, while_streaming
from chatwright.features.animation.sets import BY_INTENT, BY_SENTIMENT, INSTEAD

INTENTS, SENTIMENTS, EMOTIONS = get_args(Intent), get_args(Sentiment), get_args(Emotion)
names = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=8)
manifests = st.lists(names, min_size=1, max_size=6, unique=True)


@st.composite
def sets(draw: st.DrawFn) -> dict[str, Any]:
    """A valid set: every name in its tables is one of its manifest."""
    manifest = draw(manifests)
    some = st.lists(st.sampled_from(manifest), max_size=3)
    chosen: dict[str, Any] = {"available": manifest}
    for table, keys in (("intent", (*INTENTS, "own")), ("emotion", EMOTIONS), ("sentiment", SENTIMENTS)):
        if draw(st.booleans()):
            chosen[table] = draw(st.dictionaries(st.sampled_from(keys), some, max_size=4))
    if draw(st.booleans()):
        chosen["default"] = draw(st.sampled_from(manifest))
    return chosen


def test_ten_thousand_random_readings() -> None:
    draw = random.Random(7)
    previous: str | None = None
    allowed_by_intent = {
        intent: {name, *INSTEAD.get(name, ())} for intent, (name, *_) in BY_INTENT.items() if intent in INTENTS
    }
    for number in range(10_000):
        reading: dict[str, Any] = {
            "intent": draw.choice([*INTENTS, None]),
            "sentiment": draw.choice([*SENTIMENTS, None]),
            "emotion": draw.choice([*EMOTIONS, None]),
            "custom_intent": draw.choice([None, "refund"]),
        }
        message_id = f"message-{draw.getrandbits(64)}"
        name = choose(message_id, **reading, previous=previous)
        assert name in ANIMATIONS
        assert name == choose(message_id, **reading, previous=previous), "deterministic"
        assert name != previous, (number, reading)
        if (table := allowed_by_intent.get(str(reading["intent"]))) is not None:
            assert name in table, "intent goes before all else"
            first = BY_INTENT[str(reading["intent"])][0]
            assert first in (name, previous)
        elif reading["sentiment"] is not None:
            assert name in BY_SENTIMENT[reading["sentiment"]]
        else:
            assert name in ("idle", *INSTEAD["idle"])
        previous = name


@given(
    sets(),
    st.lists(st.tuples(st.sampled_from(INTENTS), st.sampled_from(SENTIMENTS), st.sampled_from(EMOTIONS)), max_size=20),
)
def test_no_set_plays_what_its_avatar_lacks_nor_repeats_itself(
    animations: dict[str, Any], readings: list[tuple[str, str, str]]
) -> None:
    check_animation_set(animations)
    tables = AnimationSet.of(animations)
    previous: str | None = None
    for number, (intent, sentiment, emotion) in enumerate(readings):
        arguments: dict[str, Any] = {"intent": intent, "sentiment": sentiment, "emotion": emotion, "previous": previous}
        name = choose(str(number), animation_set=animations, **arguments)
        assert name == choose(str(number), animation_set=tables, **arguments)
        assert name in animations["available"]
        assert name != previous or len(animations["available"]) == 1
        candidates = tables.intent.get(intent) or tables.emotion.get(emotion) or tables.sentiment.get(sentiment)
        if candidates and set(candidates) != {previous}:
            assert name in candidates
        assert while_streaming(number, animations) in animations["available"]
        previous = name


def test_emotion_counts_only_where_the_set_has_a_table_for_it() -> None:
    plain = choose("m", intent="other", emotion="anger", sentiment="positive")
    assert plain in BY_SENTIMENT["positive"]
    tables = {"emotion": {"anger": ["confused"]}}
    assert choose("m", intent="other", emotion="anger", sentiment="positive", animation_set=tables) == "confused"
    assert choose("m", intent="greeting", emotion="anger", sentiment="positive", animation_set=tables) == "wave"


def test_a_chatbots_own_intent_goes_before_the_twelve() -> None:
    tables = {"intent": {"refund": ["confused"]}}
    arguments: dict[str, Any] = {"intent": "greeting", "sentiment": "neutral", "animation_set": tables}
    assert choose("m", custom_intent="refund", **arguments) == "confused"
    assert choose("m", custom_intent="shipping", **arguments) == "wave"


def test_an_empty_entry_leaves_it_to_the_next_table() -> None:
    tables: dict[str, Any] = {"intent": {"question": []}, "sentiment": {"neutral": "nod"}}
    assert choose("m", intent="question", sentiment="neutral", animation_set=tables) == "nod"


def test_a_manifest_of_clips_names_what_there_is() -> None:
    tables = {"manifest": {"Idle": "idle.glb", "Hello": "hello.glb"}, "intent": {"greeting": "Hello"}}
    check_animation_set(tables)
    assert choose("m", intent="greeting", sentiment=None, animation_set=tables) == "Hello"
    assert choose("m", intent="question", sentiment="neutral", animation_set=tables) == "Idle"
    assert choose("m", intent="question", sentiment="neutral", animation_set=tables, previous="Idle") == "Hello"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"intents": {}}, "animation_set.intents"),
        ({"intent": ["wave"]}, "animation_set.intent"),
        ({"intent": {"greeting": "dance"}}, "animation_set.intent.greeting"),
        ({"intent": {"greeting": [1]}}, "animation_set.intent"),
        ({"intent": {"": "wave"}}, "animation_set.intent"),
        ({"sentiment": {"angry": "wave"}}, "animation_set.sentiment"),
        ({"emotion": {"fear": "wave"}}, "animation_set.emotion"),
        ({"tone": {"shouting": "wave"}}, "animation_set.tone"),
        ({"default": "dance"}, "animation_set.default"),
        ({"default": ""}, "animation_set.default"),
        ({"available": []}, "animation_set.available"),
        ({"available": "idle"}, "animation_set.available"),
        ({"available": ["idle", "sit"], "manifest": ["idle"]}, "animation_set.available"),
        ({"available": ["idle"], "sentiment": {"positive": "happy"}}, "animation_set.sentiment.positive"),
        ({"manifest": {}}, "animation_set.manifest"),
        ({"instead": {"sit": "idle"}}, "animation_set.instead.sit"),
        ({"dwell_s": -1}, "animation_set.dwell_s"),
        ({"dwell_s": True}, "animation_set.dwell_s"),
        ({"dwell_s": 31}, "animation_set.dwell_s"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        check_animation_set(fields)
    assert refused.value.param == param
    assert choose("m", intent="greeting", sentiment="positive", animation_set=fields), "and no answer fails over it"


@given(
    st.dictionaries(
        st.sampled_from(
            ["intent", "emotion", "sentiment", "tone", "instead", "default", "available", "manifest", "dwell_s"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_reading_a_stored_set_never_fails(fields: dict[str, Any]) -> None:
    tables = AnimationSet.of(fields)
    assert tables.available
    assert choose("m", intent="greeting", sentiment="positive", animation_set=fields) in tables.available
