"""A cue for each sentence of a streamed reply: its tone, the minimum dwell, no cue twice in a row."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.features.animation import ANIMATIONS, AnimationSet, Cues, tone_of

_TONE_SAMPLES = [
    ("Hello! Good to see you.", "greeting"),
    ("Guten Tag!", "greeting"),
    ("Bonjour et bienvenue.", "greeting"),
    ("Goodbye for now.", "farewell"),
    ("Have a great day!", "farewell"),
    ("I'm really sorry about that.", "apology"),
    ("Unfortunately that is sold out.", "apology"),
    ("Sorry, could you say that again?", "apology"),
    ("Leider ist das ausverkauft.", "apology"),
    ("Lo siento, no lo tenemos.", "apology"),
    ("I don't know.", "apology"),
    ("**Congratulations!** Your order is placed.", "celebration"),
    ("Great news: it has shipped.", "celebration"),
    ("Your parcel has arrived 🎉", "celebration"),
    ("Which size do you need?", "question"),
    ("¿Qué talla necesita?", "question"),
    ("您需要什么尺码？", "question"),
    ("1. Open the settings.", "list"),
    ("- four euros", "list"),
    ("First, open the settings.", "list"),
    ("Yes, within 30 days.", "agreement"),
    ("Natürlich, gern.", "agreement"),
    ("Delivery takes four days [1].", "plain"),
    ("Great gardens need rain.", "plain"),
    ("History is long.", "plain"),
    ("Yesterday it rained.", "plain"),
    ("", "plain"),
]


@pytest.mark.parametrize(("sentence", "tone"), _TONE_SAMPLES)
def test_the_tone_of_a_sentence(sentence: str, tone: str) -> None:
    assert tone_of(sentence) == tone


def test_an_opening_tells_before_the_end_is_there() -> None:
    assert tone_of("Would you like", whole=False) == "question"
    assert tone_of("Which size do you", whole=False) == "plain"
    assert tone_of("I'm so sorry", whole=False) == "apology"


def played(text: str, *, seconds_a_word: float, animation_set: dict[str, Any] | None = None) -> list[tuple[float, str]]:
    """The cues of a reply that comes word by word: when each begins, and its name."""
    cues = Cues(animation_set)
    found = [(0.0, cues.begin())]
    for number, piece in enumerate(re.findall(r"\s*\S+", text), start=1):
        name = cues.animate(piece, number * seconds_a_word)
        assert name == cues.playing
        if name != found[-1][1]:
            found.append((number * seconds_a_word, name))
    return found


def test_a_reply_is_played_by_its_sentences() -> None:
    text = (
        "Hello and welcome to our little shop! We send parcels to the whole of Austria within four days. "
        "Unfortunately nothing is sent on Sundays or on any public holiday. "
        "Would you like to hear more about what express delivery costs at the moment?"
    )
    cues = [name for _, name in played(text, seconds_a_word=0.4)]
    assert cues == ["thinking", "wave", "talk_calm", "confused", "thinking"]


def test_steps_are_explained_and_praise_is_happy() -> None:
    text = (
        "Congratulations, that worked!\n\n1. Open the settings page of your account now.\n2. Choose the new language."
    )
    cues = [name for _, name in played(text, seconds_a_word=1.0)]
    assert cues[:3] == ["thinking", "happy", "talk_explain"]
    assert set(cues[3:]) <= {"talk_calm", "talk_explain"}


def test_a_fast_stream_shows_few_cues_and_in_order() -> None:
    text = "Hello there! Delivery takes four days. Would you like express?"
    assert [name for _, name in played(text, seconds_a_word=0.01)] == ["thinking", "wave"]


def test_a_stream_that_starts_over_starts_over() -> None:
    cues = Cues()
    cues.begin()
    assert cues.animate("Hello there! ", 1.0) == "wave"
    assert cues.restart() == "thinking"
    assert cues.animate("Unfortunately ", 1.1) == "confused"


def test_the_set_decides() -> None:
    own = {"available": ["sit", "point"], "tone": {"greeting": "point", "waiting": "sit", "plain": ["sit", "point"]}}
    cues = [
        name
        for _, name in played("Hello there, friend! It rains a lot in here.", seconds_a_word=2.0, animation_set=own)
    ]
    assert cues == ["sit", "point", "sit"]
    cues = [
        name for _, name in played("Hello there. It rains.", seconds_a_word=2.0, animation_set={"available": ["sit"]})
    ]
    assert cues == ["sit"]


replies = st.lists(st.sampled_from([sentence for sentence, _ in _TONE_SAMPLES] + ["\n", "word", "1.", "?!", "…", "🎉"]))
pauses = st.lists(st.floats(0, 4), min_size=1, max_size=8)


@given(replies, pauses, st.integers(1, 9), st.sampled_from([None, {"available": ["a", "b"]}, {"dwell_s": 0}]))
def test_every_cue_is_known_dwells_and_is_no_repeat(
    sentences: list[str], pauses: list[float], size: int, animation_set: dict[str, Any] | None
) -> None:
    text = " ".join(sentences)
    known, dwell_s = AnimationSet.of(animation_set).available, AnimationSet.of(animation_set).dwell_s
    cues, again = Cues(animation_set), Cues(animation_set)
    assert cues.begin() == again.begin()
    now_s, since_s, last = 0.0, None, cues.playing
    for number, start in enumerate(range(0, len(text), size)):
        now_s += pauses[number % len(pauses)]
        name = cues.animate(text[start : start + size], now_s)
        assert name == again.animate(text[start : start + size], now_s), (
            "the same text at the same times plays the same"
        )
        assert name in known
        if name != last:
            assert since_s is None or now_s - since_s >= dwell_s
            since_s, last = now_s, name


@given(st.text(max_size=3000), st.integers(1, 500))
def test_no_text_stops_the_avatar(text: str, size: int) -> None:
    cues = Cues()
    for number, start in enumerate(range(0, len(text), size)):
        assert cues.animate(text[start : start + size], number * 2.0) in ANIMATIONS
