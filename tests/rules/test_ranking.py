"""From the hits of a search to sources: which half is trusted, what a relevance means, which hits are left out and why."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.ids import ChunkId, DocumentId
from chatwright.domain.providers import Turn
from chatwright.domain.terms import index_terms, question_terms
from chatwright.features.knowledge import Hit, choose, choose_sources, earlier_question, rank, weighed_terms
from chatwright.features.knowledge.followup import leans_back
from chatwright.features.knowledge.hit import Cosines
from chatwright.features.knowledge.keywords import Weighed, chunk_weights, dimension_of, key_of, rarity_of, term_keys
from chatwright.features.knowledge.ranking import KEYWORD_FLOOR, KEYWORDS_ONLY, TRUST, probability

MINILM = "minilm-l6-v2-int8"
ENGLISH = frozenset({"en"})


def a_hit(name: str = "a", **fields: object) -> Hit:
    values: dict[str, object] = {
        "chunk_id": ChunkId(name),
        "document_id": DocumentId(name),
        "title": "",
        "url": None,
        "ordinal": 0,
        "heading": "",
        "anchor": None,
        "text": f"text of {name}",
        "cosine": 0.0,
        "language": "en",
    }
    return Hit(**(values | fields))  # type: ignore[arg-type]


def names(hits: list[Hit]) -> list[str]:
    return [hit.chunk_id for hit in hits]


shares = st.floats(0, 1)


@given(st.sampled_from([*(trust.calibration for trust in TRUST.values()), KEYWORDS_ONLY]), st.data())
def test_more_evidence_is_never_less_relevant(calibration: object, data: st.DataObject) -> None:
    low = data.draw(st.tuples(st.floats(-1, 1), st.floats(0, 2), shares, shares, shares))
    more = data.draw(st.tuples(shares, shares, shares, shares, shares))
    high = tuple(one + other for one, other in zip(low, more, strict=True))
    assert 0 <= probability(calibration, *low) <= probability(calibration, *high) <= 1  # type: ignore[arg-type]


def test_words_decide_where_the_embedder_cannot_read() -> None:
    near = a_hit("near", cosine=0.9, language="zh", text="巴黎是法国的首都。")
    worded = a_hit("worded", cosine=0.1, keyword_score=0.6, words=0.7, language="zh", text="柏林是德国的首都。")
    question = "德国的首都是哪里？"
    by = rank(question, [near, worded], language="zh", embedder=MINILM, embedder_languages=ENGLISH)
    assert names(by) == ["worded", "near"]
    assert by[0].evidence is not None
    assert by[0].evidence.vector_weight < 0.1
    everywhere = rank(question, [near, worded], language="zh", embedder="multilingual-e5-small-q4")
    assert everywhere[0].evidence is not None
    assert everywhere[0].evidence.vector_weight == TRUST["multilingual-e5"].vector_weight


def test_meaning_counts_where_the_embedder_reads_it() -> None:
    near = a_hit("near", cosine=0.7)
    worded = a_hit("worded", cosine=0.1, keyword_score=0.3, words=0.3)
    assert names(
        rank("what does it cost", [worded, near], language="en", embedder=MINILM, embedder_languages=ENGLISH)
    ) == ["near", "worded"]


def test_without_vectors_the_words_are_judged_alone() -> None:
    hit = a_hit(keyword_score=1.0, words=1.0)
    ranked = rank("opening hours in winter", [hit], language="en", embedder="", embedder_languages=frozenset())
    assert ranked[0].relevance > 0.9


@given(st.lists(st.tuples(st.floats(-1, 1), shares), min_size=2, max_size=8, unique=True))
def test_an_unknown_embedder_is_read_by_what_is_usual_for_it(values: list[tuple[float, float]]) -> None:
    """Cosines squeezed and moved, as some embedders' are, give the same relevances once it is known what is usual."""
    hits = [a_hit(str(at), cosine=cosine, words=words) for at, (cosine, words) in enumerate(values)]
    squeezed = [a_hit(str(at), cosine=0.8 + cosine / 10, words=words) for at, (cosine, words) in enumerate(values)]
    usual = Cosines(mean=0.8 + 0.032 / 10, spread=0.0097)
    as_minilm = rank("question", hits, language="en", embedder=MINILM)
    as_unknown = rank("question", squeezed, language="en", embedder="acme/embed", cosines=usual)
    assert {hit.chunk_id: pytest.approx(hit.relevance, abs=1e-6) for hit in as_minilm} == {
        hit.chunk_id: hit.relevance for hit in as_unknown
    }


def test_a_heading_that_says_what_was_asked_is_a_source() -> None:
    ranked = rank("opening hours", [a_hit(heading="Opening hours")], language="en", embedder=MINILM)
    assert ranked[0].relevance >= KEYWORD_FLOOR
    assert rank("is it", [a_hit(heading="Opening hours")], language="en", embedder=MINILM)[0].relevance < 0.5


# --- which hits become sources -------------------------------------------------------------------------------------------

LONG = "Goods can be returned within thirty days of delivery if they are unused and in their box"


def test_each_hit_that_is_no_source_says_why() -> None:
    hits = [
        a_hit("first", relevance=0.95, text=LONG),
        a_hit("copy", relevance=0.9, text=LONG + "."),
        a_hit("second", relevance=0.85, text="Shipping is free from fifty euros on"),
        a_hit("third", relevance=0.8, text="Our shop in town opens at nine"),
        a_hit("weak", relevance=0.4),
    ]
    choices = choose(hits, threshold=0.7, at_most=2)
    assert [choice.hit.chunk_id for choice in choices] == names(hits)
    assert [choice.n for choice in choices] == [1, None, 2, None, None]
    reasons = [choice.why_not for choice in choices]
    assert reasons == [
        None,
        "says the same as another source",
        None,
        "beyond the 2 best",
        "below the threshold of 0.7",
    ]


def test_among_near_equals_the_one_that_adds_something_wins() -> None:
    other = "Refunds reach your account within a week after the parcel has come back to us"
    hits = [
        a_hit("first", relevance=0.9, text=LONG),
        a_hit("alike", relevance=0.82, text=LONG.replace("unused", "unworn").replace("thirty", "14") + " and bag too"),
        a_hit("new", relevance=0.8, text=other),
    ]
    chosen = choose(hits, at_most=2)
    assert [choice.hit.chunk_id for choice in chosen if choice.n] == ["first", "new"]


def test_sources_lead_to_their_place() -> None:
    hits = [
        a_hit(
            "a", relevance=0.9, url="https://x.test/g", anchor="returns", heading="Returns", title="Guide", text="One."
        ),
        a_hit("b", relevance=0.8, url="https://x.test/m.pdf", page=7, text="Two."),
        a_hit("c", relevance=0.75, url="https://x.test/p#q", anchor="z", text="Three."),
    ]
    sources = choose_sources("one", hits)
    assert [source.url for source in sources] == [
        "https://x.test/g#returns",
        "https://x.test/m.pdf#page=7",
        "https://x.test/p#q",
    ]
    assert sources[0].title == "Guide › Returns"
    assert [source.n for source in sources] == [1, 2, 3]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([LONG, "b c", "d", "e f g"])), max_size=12), st.integers(1, 6)
)
def test_sources_pass_the_threshold_and_differ(values: list[tuple[float, str]], at_most: int) -> None:
    hits = [a_hit(str(at), relevance=relevance, text=text) for at, (relevance, text) in enumerate(values)]
    choices = choose(hits, threshold=0.7, at_most=at_most)
    chosen = [choice for choice in choices if choice.n is not None]
    assert sorted(choice.n or 0 for choice in chosen) == list(range(1, len(chosen) + 1))
    assert len(chosen) <= at_most
    assert all(choice.hit.relevance >= 0.7 for choice in chosen)
    assert len({choice.hit.text for choice in chosen}) == len(chosen)
    assert all((choice.n is None) == (choice.why_not is not None) for choice in choices)


# --- keywords as numbers -------------------------------------------------------------------------------------------------


@given(st.text("abc ", max_size=60), st.text("abcd ", max_size=30))
def test_the_product_of_the_vectors_is_bm25(text: str, asked: str) -> None:
    terms, question = index_terms(text, "en"), question_terms(asked, "en")
    weights = chunk_weights(terms)
    product = sum(weights.get(dimension_of(term), 0.0) * weight for term, weight in question.items())
    shrink = 1.2 * (0.25 + 0.75 * len(terms) / 110)
    plain = sum(
        weight * terms.count(term) * 2.2 / (terms.count(term) + shrink)
        for term, weight in question.items()
        if term in terms
    )
    assert math.isclose(product, plain, rel_tol=1e-9, abs_tol=1e-12)


def test_rarity_is_never_negative() -> None:
    assert rarity_of(0, 10) > rarity_of(1, 10) > rarity_of(10, 10) > 0
    assert rarity_of(12, 10) > 0  # counts that lag behind


def test_a_term_has_another_key_in_each_base() -> None:
    assert key_of("one", "refund") != key_of("two", "refund")
    keys = term_keys("one", ["refund", "return", "refund"])
    assert keys == sorted(set(keys))
    assert len(keys) == 2
    assert all(-(2**31) <= key < 2**31 for key in keys)


def test_a_compound_counts_as_far_as_its_letters_are_there() -> None:
    weighed = Weighed(question_terms("Rückgabe", "de"))
    assert weighed.share(set(index_terms("Rückgaben", "de"))) == 1.0
    assert weighed.share(set(index_terms("Rückgabefrist", "de"))) == 1.0
    assert 0.5 <= weighed.share(set(index_terms("Rückgang der Abgabe", "de")) | {"~ruckg", "~uckga"}) < 1.0
    assert weighed.share(set(index_terms("Versand", "de"))) == 0.0


# --- questions that lean on what was said before ---------------------------------------------------------------------------

TALK = (Turn("user", "How long do I have to return shoes?"), Turn("assistant", "30 days."))


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("And what does it cost?", "en"),
        ("what about trousers?", "en"),
        ("why?", "en"),
        ("Und wie lange dauert das?", "de"),
        ("Wer bezahlt dafür?", "de"),
        ("¿Y cuánto cuesta eso?", "es"),
        ("А сколько это стоит?", "ru"),
        ("那多少钱？", "zh"),
        ("それはいくらですか", "ja"),
    ],
)
def test_a_follow_up_is_searched_with_what_it_leans_on(question: str, language: str) -> None:
    assert earlier_question(question, TALK, language) == TALK[0].content


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Which payment methods do you accept?", "en"),
        ("opening hours", "en"),
        ("Is there a docker image?", "en"),
        ("Welche Zahlungsarten gibt es?", "de"),
        ("Wo ist die Filiale in Köln?", "de"),
        ("¿Dónde está la tienda?", "es"),
        ("退货政策是什么？", "zh"),
        ("", "en"),
    ],
)
def test_a_question_of_its_own_stands_alone(question: str, language: str) -> None:
    assert earlier_question(question, TALK, language) == ""


def test_a_follow_up_of_a_follow_up_reaches_what_both_are_about() -> None:
    talk = (*TALK, Turn("user", "And what does it cost?"), Turn("assistant", "Nothing."))
    assert earlier_question("why?", talk, "en") == "How long do I have to return shoes? And what does it cost?"
    assert earlier_question("why?", (), "en") == ""


def test_what_was_asked_before_counts_less() -> None:
    terms = weighed_terms("And for trousers?", "Can I return shoes?", "en")
    assert terms["trouser"] == 1.0
    assert terms["shoe"] == pytest.approx(0.4)


@given(st.text(max_size=200), st.sampled_from([None, "en", "de", "zh", "xx"]))
def test_any_question_can_be_asked(question: str, language: str | None) -> None:
    assert leans_back(question, language) in (True, False)
