"""A passage read sentence by sentence: words together, words that begin alike, in any script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.terms import question_terms
from chatwright.features.knowledge import Hit, rank
from chatwright.features.knowledge.closer_look import Look, alikeness, look_closer
from tests.rules.test_ranking import ENGLISH, MINILM, a_hit

TEXT = "The harbour was deepened in 1902. A lighthouse stands beside it. Ships pay a fee of ten crowns."


def look(question: str, text: str, *, above: str = "", language: str = "en") -> Look:
    return look_closer(text, above=above, language=language, terms=question_terms(question, language))


def test_words_in_one_sentence_tell_more_than_words_all_over() -> None:
    together = look("harbour deepened 1902", TEXT)
    scattered = look("harbour lighthouse crowns", TEXT)
    assert together.passage == scattered.passage == pytest.approx(1)
    assert together.sentence == pytest.approx(1)
    assert scattered.sentence < 0.5


def test_a_heading_belongs_to_each_of_its_sentences() -> None:
    text = "From nine to six. On Sundays from ten."
    assert look("opening hours Sundays", text, above="Opening hours").sentence > 0.9
    assert look("opening hours Sundays", text).sentence < 0.5


@pytest.mark.parametrize(
    ("language", "question", "text"),
    [
        ("de", "Wer hat die Bänder restauriert?", "Die Bänder wurden zur Restauration übergeben."),
        ("es", "¿Quién restauró las cintas?", "La restauración de las cintas empezó en 1999."),
        ("ru", "Кто реставрировал плёнки?", "Реставрация плёнки началась в 1999 году."),
        ("tr", "Kasetleri kim onarıyordu?", "Kasetlerin onarımı 1999'da başladı."),
        ("hi", "पुस्तकालय कब खुलता है?", "पुस्तकालयों का समय नौ बजे से है।"),
        ("ar", "متى تفتح المكتبة؟", "المكتبات مفتوحة من التاسعة."),
        ("zh", "图书馆几点开门？", "图书馆九点开门。"),
    ],
)
def test_other_forms_of_a_word_count(language: str, question: str, text: str) -> None:
    assert look(question, text, language=language).passage > 0.3
    assert look(question, "2 + 2 = 4.", language=language).passage == 0


@given(st.text(max_size=12), st.text(max_size=12))
def test_likeness_is_a_share(asked: str, said: str) -> None:
    assert 0 <= alikeness(asked, said) <= 1
    assert alikeness(asked, asked) == 1


def test_short_words_are_the_same_or_different() -> None:
    assert alikeness("cat", "cats") == 0
    assert alikeness("restor", "resume") == 0
    assert alikeness("restor", "restorat") > 0.7


@given(
    st.lists(st.text(max_size=40), max_size=5), st.text(max_size=60), st.sampled_from(["en", "de", "zh", "hi", None])
)
def test_a_sentence_never_says_more_than_its_passage(parts: list[str], question: str, language: str | None) -> None:
    found = look_closer(". ".join(parts), above="", language=language, terms=question_terms(question, language))
    assert 0 <= found.sentence <= found.passage + 1e-9 <= 1 + 2e-9


def test_of_two_passages_with_the_same_words_the_one_that_says_them_together_goes_first() -> None:
    terms = question_terms("harbour deepened 1902", "en")

    def hit(name: str, text: str) -> Hit:
        return a_hit(name, text=text, cosine=0.4, keyword_score=0.8, words=1.0)

    hits = [hit("all over", "The harbour. It was old. They deepened things. In 1902."), hit("together", TEXT)]
    ranked = rank(
        "harbour deepened 1902", hits, language="en", embedder=MINILM, embedder_languages=ENGLISH, terms=terms
    )
    assert [each.chunk_id for each in ranked] == ["together", "all over"]
    assert ranked[0].told > ranked[1].told


def test_hits_that_are_not_read_are_not_taken_for_better_than_those_that_are() -> None:
    terms = question_terms("harbour deepened 1902", "en")
    hits = [a_hit(f"{at:02}", cosine=0.5 - at / 100, words=1.0, text="Nothing of it.") for at in range(20)]
    ranked = rank("harbour deepened 1902", hits, language="en", embedder=MINILM, terms=terms)
    assert [each.chunk_id for each in ranked] == [f"{at:02}" for at in range(20)]
