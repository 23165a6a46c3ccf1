"""A chatbot's way of speaking stands in its prompt: stable in front, per message with the question, and never without one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.domain.providers import Prompt, Source, Turn
from chatwright.features.prompting import (
    NO_PERSONA,
    Persona,
    accepted_languages,
    build,
    check_persona,
    greeting,
    no_answer,
    says_no_answer,
)
from chatwright.features.prompting.persona import EMOJI, LANGUAGES, READING_LEVELS, TONES

PASSAGE = Source(n=1, document_id="d1", title="Delivery", url=None, score=0.9, quote="Four days.", text="Four days.")
FULL: dict[str, Any] = {
    "tone": "friendly",
    "reading_level": "simple",
    "emoji": "some",
    "language": ["de", "en"],
    "greetings": {"de": "Grüß Gott!", "en": "Hello!"},
}


def make(question: str, **given: Any) -> Prompt:
    return build(
        question=question,
        history=given.pop("history", ()),
        sources=given.pop("sources", (PASSAGE,)),
        name="Ada",
        system_prompt="You speak for the shop.",
        personality="",
        policy="sources_only",
        temperature=0.2,
        max_tokens=100,
        room_tokens=2_000,
        **given,
    )


def test_without_any_of_it_the_prompt_is_what_it_was() -> None:
    plain = make("How long does delivery take?")
    assert plain == make("How long does delivery take?", persona=NO_PERSONA, canary="", advice="")
    assert plain == make("How long does delivery take?", persona=Persona.of({}))
    assert plain.turns[0].content.startswith("You speak for the shop.\n\nNumbered passages")
    assert (
        plain.turns[-1].content == "<passages>\n[1] Delivery\nFour days.\n</passages>\n\nHow long does delivery take?"
    )


def test_each_choice_is_a_line_of_the_system_prompt() -> None:
    system = make("How long?", persona=Persona.of(FULL)).turns[0].content
    assert system.index("shop.") < system.index(TONES["friendly"]) < system.index("Numbered passages")
    assert READING_LEVELS["simple"] in system
    assert EMOJI["some"] in system
    assert "if it is one of these: German, English. Otherwise answer in German." in system
    assert "Grüß Gott" not in system


def test_what_varies_with_the_message_stands_behind_what_does_not() -> None:
    persona = Persona.of({"tone": "formal"})
    one = make("How long does it take?", persona=persona, canary="k7f3", advice="Beware of this message.")
    two = make("Wie lange dauert die Lieferung?", persona=persona, canary="k7f3")
    assert one.turns[0] == two.turns[0]
    assert "k7f3" in one.turns[0].content
    assert one.stable_turns == two.stable_turns
    last = one.turns[-1].content
    assert last.index("</passages>") < last.index("Beware of this message.") < last.index("(Answer in English.)")
    assert last.endswith("(Answer in English.)\n\nHow long does it take?")
    assert two.turns[-1].content.endswith("(Answer in German.)\n\nWie lange dauert die Lieferung?")
    assert "Beware" not in one.turns[0].content


@pytest.mark.parametrize(
    ("language", "question", "answered_in"),
    [
        ("visitor", "Wie lange dauert die Lieferung?", "de"),
        ("visitor", "ok", None),
        ("fr", "Wie lange dauert die Lieferung?", "fr"),
        (["de", "en"], "How long does the delivery take?", "en"),
        (["de", "en"], "¿Cuánto tarda la entrega en España?", "de"),
        (["de", "en"], "ok", "de"),
    ],
)
def test_the_language_of_an_answer(language: Any, question: str, answered_in: str | None) -> None:
    persona = Persona.of({"language": language})
    assert persona.reply_language(question) == answered_in
    assert persona.reminder(question) == (f"(Answer in {LANGUAGES[answered_in]}.)" if answered_in else "")
    assert NO_PERSONA.reminder(question) == ""


def test_not_knowing_is_said_in_the_language_of_the_policy() -> None:
    prompt = make("Who won the league?", sources=(), persona=Persona.of({"language": "de"}))
    assert prompt.no_answer_text == no_answer("", "de")
    assert prompt.no_answer_text.startswith("Das weiß ich nicht.")
    prompt = make("Wer hat gewonnen und warum?", sources=(), persona=Persona.of({"tone": "formal"}))
    assert prompt.no_answer_text.startswith("Das weiß ich nicht.")
    prompt = make("Who won?", sources=(), persona=Persona.of({"language": "de"}), no_answer_text="Ask us.")
    assert prompt.no_answer_text == "Ask us."
    for text in (no_answer("", "de"), no_answer("who knows this?"), "Ask  us."):
        assert says_no_answer(f" {text}\n", "Ask us.")
    assert not says_no_answer("Delivery takes four days.", "Ask us.")
    assert not says_no_answer("", "")


@given(st.text(max_size=80), st.text(max_size=20), st.text(max_size=40))
def test_the_question_stays_last_and_the_canary_first(question: str, canary: str, advice: str) -> None:
    history = [Turn("user", "Hi"), Turn("assistant", "Hello!")]
    prompt = make(question, persona=Persona.of(FULL), canary=canary, advice=advice, history=history)
    assert prompt.turns[-1].content.endswith(question)
    assert canary in prompt.turns[0].content
    assert prompt.turns[0] == make("another", persona=Persona.of(FULL), canary=canary).turns[0]


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", ["de", "en"]),
        ("en;q=0.1, fr", ["fr", "en"]),
        ("*, de;q=0", []),
        ("", []),
        ("de;q=nonsense, x, en-US ; q=0.5", ["en"]),
        ("," * 5000 + "de", []),
    ],
)
def test_what_a_browser_accepts(header: str, languages: list[str]) -> None:
    assert accepted_languages(header) == languages


def test_a_greeting_in_a_language_that_the_browser_accepts() -> None:
    assert greeting("Welcome.", FULL, "fr,de;q=0.5") == "Grüß Gott!"
    assert greeting("Welcome.", FULL, "fr") == "Welcome."
    assert greeting("", FULL, "fr") == "Grüß Gott!"
    assert greeting("Welcome.", {}, "de") == "Welcome."


@given(st.text(max_size=200))
def test_no_header_is_too_odd(header: str) -> None:
    assert all(language.isascii() and language.islower() for language in accepted_languages(header))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mood": "good"}, "persona.mood"),
        ({"tone": "rude"}, "persona.tone"),
        ({"tone": ["friendly"]}, "persona.tone"),
        ({"reading_level": "easy"}, "persona.reading_level"),
        ({"emoji": True}, "persona.emoji"),
        ({"language": "german"}, "persona.language"),
        ({"language": []}, "persona.language"),
        ({"language": ["de", "de"]}, "persona.language"),
        ({"language": ["de", 1]}, "persona.language"),
        ({"language": ["visitor", "de"]}, "persona.language"),
        ({"greetings": ["Hello"]}, "persona.greetings"),
        ({"greetings": {"german": "Hallo"}}, "persona.greetings"),
        ({"greetings": {"de": "  "}}, "persona.greetings"),
        ({"greetings": {"de": "x" * 501}}, "persona.greetings"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        check_persona(fields)
    assert refused.value.param == param
    assert Persona.of(fields).tone in ("", *TONES), "and no answer fails over it"


def test_what_can_be_meant_is_taken() -> None:
    check_persona({})
    check_persona(FULL)
    for tone in TONES:
        assert TONES[tone] in Persona.of({"tone": tone}).lines
    for language in (*LANGUAGES, "visitor"):
        check_persona({"language": language})
