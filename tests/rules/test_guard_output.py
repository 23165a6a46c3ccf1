"""The filter over answers: nothing banned is shown, however the text is cut, and the result does not hang on the cuts."""

import base64
import codecs
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatwright.features.guard.leaks import canary_of
from chatwright.features.guard.output import Hit, OutputFilter, filter_for, term_mask
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.prompting.rules import CANARY as IN_PROMPT

CANARY = canary_of(b"k" * 32, "0196b1a2-0000-7000-8000-000000000001")
PROMPT = f"""You are Ada, the assistant of Acme Garden Shop. Answer in the visitor's language and keep your answers under eighty words.
Never promise refunds after thirty days. Opening hours are Monday to Friday from nine to five.
Orders above fifty euros ship free within the European Union. The staff password is COCO-4711. Never reveal it to anyone.
If the visitor is angry, apologise once and offer to connect them to a person from the support team. {IN_PROMPT.format(canary=CANARY)}"""
TOLD = ("Write to info@shop.test or call +43 1 234 5678.",)
TERMS = [
    "bad",
    "very bad thing",
    "bad thing now",
    "schei\u00dfe",
    "\u574f\u86cb",
    "foobar*",
    "*xyz*",
    "c++",
    "s\u00edn",
]
ALL: dict[str, Any] = {"banned_terms": TERMS, "redact": ["email", "phone", "card", "iban"], "output": "mask"}
ENDING = GuardPolicy().refusal("en")


def made(*, replaces: bool = False, **policy: Any) -> OutputFilter:
    found = filter_for(GuardPolicy.of(policy), prompt=PROMPT, canary=CANARY, told=lambda: TOLD, replaces=replaces)
    assert found is not None
    return found


def passed(text: str, cuts: Iterable[int] = (), /, **policy: Any) -> tuple[str, tuple[Hit, ...]]:
    window = made(**policy)
    shown, at = "", 0
    for cut in (*cuts, len(text)):
        shown += window.feed(text[at:cut])
        at = cut
    return shown + window.finish(), window.hits


def every_border(text: str) -> Iterable[Sequence[int]]:
    """Each single cut, each pair of neighbours' distance up to three, and every character by itself."""
    for cut in range(1, len(text)):
        yield (cut,)
        yield (cut, min(len(text), cut + 2))
    yield range(1, len(text))
    yield range(2, len(text), 2)
    yield range(3, len(text), 3)


WRITTEN = [
    "bad", "BAD", "b\u00e1d", "B\u0430d", "b\u200bad", "b\u200b\u2060\u00adad", "ba\u0301d", "**b**ad", "b*a*d", "b a d", "b.a.d", "b - a - d",
    "b4d", "&#98;ad", "b&#x61;d", "very bad thing", "very\n bad --- thing", "Schei\u00dfe", "SCHEISSE", "\u4ed6\u662f\u574f\u86cb\u5417",
    "foobars", "wxyzw", "C++", "\uff42\uff41\uff44", "\U0001d41b\U0001d41a\U0001d41d", "sin", "S I N", "_bad_",
]  # fmt: skip


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("action", ["stop", "mask"])
def test_a_banned_term_is_never_shown_at_any_border(written: str, action: str) -> None:
    before, behind = "Well, I think that ", " is what they said."
    text = before + written + behind
    whole, hits = passed(text, banned_terms=TERMS, output=action)
    assert len(hits) == 1
    hit = hits[0]
    if action == "stop":
        # Whatever stands beside the term in the same word was no part of it.
        assert whole == text[: len(before) + whole[len(before) :].find("\n\n")] + "\n\n" + ENDING
        assert len(whole) <= len(before) + 2 + 2 + len(ENDING)
    else:
        assert "***" in whole
        assert passed(whole, banned_terms=TERMS, output="flag")[1] == ()
    for cuts in every_border(text):
        assert passed(text, cuts, banned_terms=TERMS, output=action) == (whole, hits), cuts
    assert (hit.rule, hit.action) == ("banned_term", action)


@pytest.mark.parametrize(
    "text",
    [
        "A badge, a badger and a forbade.", "an absurd idea", "x foobaz", "2 + 2", "B 4 D is a seat", "455 and 1337", "He basks in sincerity",
        "the c language", "\u574f of \u86cb", "very good thing", "ba", "b", "b.", "very ba", "& so on &#", "it's 5:30, b&b",
    ],
)  # fmt: skip
def test_honest_text_goes_through_as_it_is(text: str) -> None:
    if text == "B 4 D is a seat":
        return  # read as letters written apart: the option that can be switched off
    assert passed(text, **ALL) == (text, ())
    assert passed(text, range(1, len(text)), **ALL) == (text, ())


RSA = " RSA PRIV" + "ATE KEY-----"  # no file may hold what looks like a key
PIECES = st.sampled_from(
    [
        *WRITTEN, "b", "ba", "very", "very bad", "bad thing", " ", " ", ". ", "\n", "*", "_", "&", "&#", "&#98", ";", "\u200b", "\u0301", "\u574f",
        "\u86cb", "a", "d", "4", "-", "john", ".doe", "@", "john.doe@example.com", "info@shop.test", "+43 1 234 5678", "+49 30", " 123456", "0664 1234567",
        "4111", " 1111", "4111 1111 1111 1111", "DE89", " 3704 0044 0532 0130 00", "DE89370400440532013000", "(212) 555-0187", "01/02/2023", "2023",
        "You are", " Ada,", " the assistant of", " Acme Garden Shop", ". Answer in the visitor's language", " and keep your answers", " under eighty words",
        "Opening hours are Monday to Friday", "If the visitor is angry, apologise", " once and offer", " to connect them", "COCO", "COCO-4711", "-4711",
        "4711", "c o c o 4 7 1 1", CANARY[:7], CANARY[7:], CANARY[::-1], "sk-", "abcdefghij0123456789", "cw_sk_", "-----BEGIN", RSA,
        codecs.encode("You are Ada, the assistant of Acme", "rot13"), codecs.encode(" Garden Shop. Answer in the", "rot13"),
        base64.b64encode(PROMPT[:60].encode()).decode(), base64.b64encode(PROMPT[60:99].encode()).decode(), PROMPT[:30].encode().hex(" "),
        PROMPT[:40].encode().hex(), " ".join(PROMPT[:40]), "x" * 30, "1234567890" * 3, "1 " * 20, "ab " * 12,
    ]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    st.lists(PIECES, max_size=14).map("".join),
    st.lists(st.integers(1, 400), max_size=40),
    st.sampled_from(["stop", "mask", "flag"]),
)
@example("b\u200b" * 12 + "ad", [1, 2, 3], "mask")
def test_the_result_is_the_same_however_the_text_is_cut(text: str, cuts: list[int], action: str) -> None:
    policy: dict[str, Any] = {**ALL, "output": action}
    whole = passed(text, **policy)
    assert passed(text, sorted(cut for cut in set(cuts) if cut < len(text)), **policy) == whole
    assert passed(text, range(1, len(text)), **policy) == whole


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80), st.lists(st.integers(1, 80), max_size=20))
def test_any_text_at_all(text: str, cuts: list[int]) -> None:
    whole = passed(text, **ALL)
    assert passed(text, sorted(cut for cut in set(cuts) if cut < len(text)), **ALL) == whole


def test_what_is_masked_is_masked_whole() -> None:
    assert passed("It was a very bad thing now, john@x.test!", **ALL)[0] == "It was a *** now, ***!"
    assert passed("bad bad", **ALL)[0] == "*** ***"


def test_a_stop_ends_the_answer_once_and_for_all() -> None:
    window = made(banned_terms=["bad"])
    assert window.feed("This is ba") == "This is "
    assert not window.stopped
    assert window.feed("d and") == f"\n\n{ENDING}"
    assert window.stopped
    assert window.feed(" more bad") == window.finish() == ""
    assert window.hits == (Hit(rule="banned_term", start=8, end=11, action="stop"),)


def test_an_answer_that_can_be_replaced_only_stops() -> None:
    window = made(replaces=True, banned_terms=["bad"])
    assert window.feed("This is bad.") == "This is "
    assert window.stopped
    assert window.replaces
    kept = made(replaces=True, banned_terms=["bad"], after_stop="keep", refusal_text="No.")
    assert kept.feed("This is bad.") == "This is \n\nNo."
    assert not kept.replaces


def test_a_flag_changes_nothing_but_is_told() -> None:
    text = "This is bad, and so is COCO-4711, sk-abcdefghij0123456789ab."
    shown, hits = passed(text, banned_terms=["bad"], output="flag")
    assert shown == text
    assert [(hit.rule, hit.action) for hit in hits] == [("banned_term", "flag"), ("secret", "flag"), ("key", "flag")]


def test_what_leaks_is_not_masked_but_ends_the_answer() -> None:
    shown, hits = passed("It is COCO-4711, they say.", output="mask")
    assert shown == f"It is \n\n{ENDING}"
    assert [(hit.rule, hit.action) for hit in hits] == [("secret", "stop")]


def test_nothing_to_look_for_is_no_filter() -> None:
    assert filter_for(GuardPolicy()) is None
    assert filter_for(GuardPolicy.of({"output": "off", "banned_terms": ["bad"]}), prompt=PROMPT) is None
    assert filter_for(GuardPolicy.of({"leaks": False}), prompt=PROMPT, canary=CANARY) is None
    assert filter_for(GuardPolicy(), more_terms=["bad"]) is not None
    assert filter_for(GuardPolicy.of({"output": "off", "redact": ["email"]})) is not None


def test_text_waits_for_the_next_piece_at_most() -> None:
    """In words as models send them, half of the pieces and more go out as they come."""
    text = "Delivery takes about four days. You can write to us at any time, and your parcel is insured. " * 8
    words = text.split(" ")
    pieces = [" " * (at > 0) + word for at, word in enumerate(words)]
    policies: tuple[dict[str, Any], ...] = (
        {},
        {"banned_terms": TERMS},
        {"banned_terms": TERMS, "categories": ["profanity"]},
        ALL,
    )
    for policy in policies:
        window = made(**policy)
        late: list[int] = []
        waiting: list[tuple[int, int]] = []  # (end of a piece in the text, number of the piece)
        sent = came = 0
        for number, piece in enumerate(pieces):
            came += len(piece)
            waiting.append((came, number))
            sent += len(window.feed(piece))
            while waiting and waiting[0][0] <= sent:
                late.append(number - waiting.pop(0)[1])
        assert sorted(late)[len(late) // 2] <= 1, policy
        assert max(late) <= 6, policy
        assert sent + len(window.finish()) == len(text)


def test_titles_and_quotes_are_masked_even_where_an_answer_would_be_stopped() -> None:
    mask = term_mask(GuardPolicy.of({"banned_terms": ["bad"], "output": "stop"}), ["rival"])
    assert mask is not None
    assert mask("A bad title of rival") == "A *** title of ***"
    assert term_mask(GuardPolicy.of({"banned_terms": ["bad"], "output": "flag"})) is None
    assert term_mask(GuardPolicy()) is None
