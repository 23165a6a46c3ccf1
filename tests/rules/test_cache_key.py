"""What is the same question to the exact tier, and what a policy and a request may ask of the caches."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import BadRequest, Unprocessable
from chatwright.domain.providers import Finish, Source, Usage
from chatwright.features.cache import (
    AnswerScope,
    CachedAnswer,
    CacheMode,
    CachePolicy,
    check_policy,
    context_digest,
    decode_entry,
    digest,
    encode_entry,
    exact_key,
    mode_word,
    narrowed,
    normalise,
    requested_mode,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I reset my PIN?", "how do I reset my PIN"),
        ("How do I   reset my PIN ?", "How do I reset my PIN"),
        ("  What does it cost?\n", "what does it cost?"),
        ("Wie komme ich zu euch?", "wie komme ich zu euch"),
        ("What’s new", "what's new?"),
        ("How can I pay if I'm abroad?", "how can i pay if i'm abroad"),
        ("Can I pay by card??", "Can I pay by card"),
    ],
)
def test_writings_of_one_question(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Do you ship to US?", "Do you ship to us?"),
        ("You ship to Spain.", "You ship to Spain?"),
        ("Is Polish spoken?", "Is polish spoken?"),
        ('What does "Stop" mean?', 'What does "stop" mean?'),
        ("What does this print?\n  x = 1", "What does this print?\nx = 1"),
        ("Is it 10?", "Is it 1 0?"),
        ("A?", "a?"),
        ("What is x²?", "What is x2?"),
        ("Was it good? No.", "Was it good? No"),
        ("", " ?"),
    ],
)
def test_questions_that_may_mean_something_else_stay_apart(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(max_size=200))
def test_a_question_in_its_normal_form_stays_as_it_is(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(st.text(alphabet="abcdefg xyz0123456789,;-", min_size=1, max_size=80))
def test_no_letter_or_digit_is_lost(text: str) -> None:
    kept = [character for character in normalise(text).casefold() if not character.isspace()]
    assert kept == [character for character in text.casefold() if not character.isspace()]


@given(st.lists(st.text(max_size=6), max_size=5), st.lists(st.text(max_size=6), max_size=5))
def test_parts_cannot_run_together(one: list[str], other: list[str]) -> None:
    assert (digest(one) == digest(other)) is (one == other)


SCOPE: dict[str, Any] = {
    "tenant_id": "t", "chatbot_id": "c", "revision": 1, "knowledge_version": 2, "chain": ("openai/a",), "options_digest": b"o",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": "t2"},
        {"chatbot_id": "c2"},
        {"revision": 2},
        {"knowledge_version": 3},
        {"chain": ("openai/b",)},
        {"chain": ("openai/a", "openai/b")},
        {"chain": ()},
        {"options_digest": b"p"},
    ],
)
def test_every_part_of_the_scope_makes_another_key(change: dict[str, Any]) -> None:
    one, other = AnswerScope(**SCOPE), AnswerScope(**SCOPE | change)
    assert one.digest != other.digest
    assert exact_key(one, "en", "q", b"") != exact_key(other, "en", "q", b"")


def test_language_question_and_context_make_another_key() -> None:
    scope = AnswerScope(**SCOPE)
    keys = {
        exact_key(scope, language, question, context)
        for language in (None, "en", "de")
        for question in ("q", "r")
        for context in (context_digest(()), context_digest([("user", "a")]), context_digest([("assistant", "a")]))
    }
    assert len(keys) == 18


def test_a_context_that_differs_late_or_in_its_cut_differs() -> None:
    long = [("user" if place % 2 == 0 else "assistant", "word " * 2_000 + str(place)) for place in range(10)]
    late = [*long[:8], (long[8][0], long[8][1] + "."), long[9]]
    assert context_digest(long) != context_digest(late)
    assert context_digest([("user", "a"), ("user", "b")]) != context_digest([("user", "ab")])
    assert context_digest([("user", "a")], b"x") != context_digest([("user", "a")], b"y")
    assert context_digest((), b"x") != context_digest([("x", "")])


def test_a_policy_is_read_with_its_defaults() -> None:
    assert CachePolicy.of({}) == CachePolicy()
    policy = CachePolicy.of({"mode": "read-only", "ttl_s": 60, "semantic": False, "max_error": 0.01})
    assert (policy.mode, policy.ttl_s, policy.semantic, policy.max_error) == ("read", 60, False, 0.01)
    assert policy.lifetime_s(has_knowledge=True) == 60
    assert CachePolicy().lifetime_s(has_knowledge=False) == 300
    assert CachePolicy().lifetime_s(has_knowledge=True) == 86_400
    # What an older release stored and this one cannot mean must not end answers.
    assert CachePolicy.of({"mode": "sideways", "ttl_s": "soon", "what": 1, "check_share": 0.5}).check_share == 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "sideways"},
        {"mode": 1},
        {"ttl_s": 0},
        {"ttl_s": 1.5},
        {"ttl_s": True},
        {"semantic": "yes"},
        {"max_error": 0.9},
        {"check_share": -0.1},
        {"semantic_ttl_s": "1"},
        {"lifetime": 3},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_and_named(fields: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable) as refusal:
        check_policy(fields)
    assert refusal.value.param == f"cache_policy.{next(iter(fields))}"
    assert CachePolicy.of(fields) == CachePolicy()


def test_a_good_policy_is_taken() -> None:
    check_policy({"mode": "write-only", "ttl_s": None, "semantic": True, "max_error": 0, "check_share": 1})


@pytest.mark.parametrize(
    ("cache_control", "asked", "mode"),
    [
        (None, None, None),
        ("max-age=0", None, None),
        ("no-cache", None, "write"),
        ("No-Store, max-age=0", None, "off"),
        ("no-cache, no-store", None, "off"),
        ("no-store", "on", "on"),
        (None, "READ-ONLY", "read"),
        (None, "off", "off"),
    ],
)
def test_what_a_request_asks_for(cache_control: str | None, asked: str | None, mode: CacheMode | None) -> None:
    assert requested_mode(cache_control, asked) == mode


def test_a_request_names_a_mode_or_is_told() -> None:
    with pytest.raises(BadRequest):
        requested_mode(None, "fast")


@pytest.mark.parametrize("policy", ["on", "read", "write", "off"])
@pytest.mark.parametrize("asked", [None, "on", "read", "write", "off"])
def test_a_request_never_gets_more_than_the_policy_grants(policy: CacheMode, asked: CacheMode | None) -> None:
    mode = narrowed(policy, asked)
    assert not (mode in ("on", "read") and policy not in ("on", "read"))
    assert not (mode in ("on", "write") and policy not in ("on", "write"))
    assert mode == policy if asked is None else narrowed("on", asked) == asked
    assert requested_mode(None, mode_word(mode)) == mode


def test_an_entry_comes_back_as_it_was() -> None:
    entry = CachedAnswer(
        text="Nine to five. [1]",
        provider="openai",
        model="m",
        finish=Finish.STOP,
        usage=Usage(input_tokens=12, output_tokens=3),
        cost_nano=77,
        sources=(Source(n=1, document_id="d", title="Hours", url=None, score=0.9, quote="Nine to five"),),
        confidence=0.8,
        document_ids=("d",),
        question="When?",
        created_at=1.5,
    )
    assert decode_entry(encode_entry(entry)) == entry
    assert decode_entry(b"\x00nothing of ours") is None
