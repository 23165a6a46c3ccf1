"""Banned terms: what counts as one, what is harmless, and lists by category."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.features.guard.policy import CATEGORIES
from chatwright.features.guard.profanity import category_terms
from chatwright.features.guard.terms import TermMatcher, fold_text


def found(text: str, *terms: str, spaced: bool = True) -> list[str]:
    """What is found, as it stands in `text`."""
    scanned = TermMatcher([("banned", terms)], spaced=spaced).scan(fold_text(text), 0, last=True)
    return [text[span.start : span.end] for span in scanned.spans]


@pytest.mark.parametrize(
    ("text", "terms", "expected"),
    [
        ("a bad idea", ["bad"], ["bad"]),
        ("badly", ["bad"], []),
        ("badly", ["bad*"], ["bad"]),
        ("forbad", ["*bad"], ["bad"]),
        ("an abadie", ["*bad*"], ["bad"]),
        ("bad, BAD; Bad", ["bad"], ["bad", "BAD", "Bad"]),
        ("a very, very bad thing", ["very bad"], ["very bad"]),
        ("the bad\tbad one", ["bad bad"], ["bad\tbad"]),
        ("a worse thing", ["worse", "worse thing"], ["worse thing"]),  # the longest
        ("ass*hole, ass hat", ["asshole", "ass hat"], ["ass*hole", "ass hat"]),  # both readings of the mark
        ("C++ and C", ["c++"], ["C++"]),
        ("b.a.d and b a d.", ["bad"], ["b.a.d", "b a d"]),
        ("I a m b ad", ["bad"], []),
        ("b4d", ["bad"], ["b4d"]),
        ("room 455", ["ass"], []),
        ("\u574f\u86cb\u5417", ["\u574f\u86cb"], ["\u574f\u86cb"]),
        ("\u0431\u0430\u0434 \u0425\u0430\u043c", ["\u0445\u0430\u043c"], ["\u0425\u0430\u043c"]),
        ("Gro\u00dfmaul GROSSMAUL", ["gro\u00dfmaul"], ["Gro\u00dfmaul", "GROSSMAUL"]),
    ],
)
def test_each_way_to_write_a_term(text: str, terms: list[str], expected: list[str]) -> None:
    assert found(text, *terms) == expected


def test_letters_written_apart_can_be_left_alone() -> None:
    assert found("b a d", "bad", spaced=False) == []


@given(st.text(max_size=60), st.lists(st.text("abc \u00e1\u0430", min_size=1, max_size=6), max_size=5))
def test_spans_are_in_order_and_inside(text: str, terms: list[str]) -> None:
    scanned = TermMatcher([("banned", terms)]).scan(fold_text(text), 0, last=True)
    assert scanned.open_at == len(text)
    assert all(0 <= span.start < span.end <= len(text) for span in scanned.spans)
    assert [span.start for span in scanned.spans] == sorted(span.start for span in scanned.spans)


@given(st.text(max_size=100))
def test_folding_keeps_every_place(text: str) -> None:
    assert len(fold_text(text)) == len(text)


def test_a_long_text_of_beginnings_is_read_in_few_steps() -> None:
    """Each position begins a term that never comes to its end: linear all the same."""
    matcher = TermMatcher([("banned", ["*" + "ab" * 30 + "c*"])])
    assert matcher.scan(fold_text("ab" * 20_000), 0, last=True).spans == []


def test_lists_have_words_and_no_harmless_ones() -> None:
    for category in CATEGORIES:
        words = category_terms(category, ("en", "de", "es", "tr"))
        assert len(words) > 80, category
        assert len(set(words)) == len(words)
    profane = TermMatcher([("profanity", category_terms("profanity", ("en", "de", "fr")))])
    harmless = (
        "I am the man with the fan, and I got it. Nicht bitte, it bites. The penis, the vagina and the breast are organs. "
        "A hoe is a garden tool. Assess the class, Mr Dickens of Scunthorpe. Ich mag Rosetten und Vögel."
    )
    assert profane.scan(fold_text(harmless), 0, last=True).spans == []
    for word in ("What the f.u.c.k", "This is bullshit", "Du Arschloch", "Quel connard"):
        assert profane.scan(fold_text(word), 0, last=True).spans, word


def test_an_unknown_language_has_the_english_list() -> None:
    assert category_terms("profanity", ("xx",)) == category_terms("profanity", ())
