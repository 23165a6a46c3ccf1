"""The analyser of the keyword half: which words meet, in which languages, whatever the text is."""

import random
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.language import detect_language, index_terms
from chatwright.domain.terms import COMMON_WEIGHT, is_run, question_terms, runs_of, term_of, word_terms

# Each pair is one word as a document and as a visitor write it.
MEET = [
    ("en", "refunds", "Refund"),
    ("en", "Newton's", "newton"),
    ("de", "Rückgaben", "RUCKGABE"),
    ("de", "Straße", "strasse"),
    ("fr", "l'école", "ecoles"),
    ("es", "devoluciones", "devolución"),
    ("ru", "возвраты", "возврат"),
    ("ru", "самолёт", "самолет"),
    ("tr", "İADE", "iade"),
    ("tr", "kargoları", "kargo"),
    ("ar", "المَدْرَسَة", "مدرسة"),
    ("ar", "والكتاب", "كتاب"),
    ("ar", "مـــرحبا", "مرحبا"),
    ("ar", "أحمد", "احمد"),
    ("fa", "کتاب", "كتاب"),
    ("hi", "किताबें", "किताब"),
    ("hi", "क़ीमत", "कीमत"),
    ("el", "ΟΔΟΣ", "οδός"),
]


@pytest.mark.parametrize(("language", "written", "asked"), MEET)
def test_forms_of_a_word_meet(language: str, written: str, asked: str) -> None:
    assert set(word_terms(written, language)) & set(word_terms(asked, language))


def test_codes_and_numbers_are_found_whole_and_in_parts() -> None:
    terms = index_terms("Part AB-12/7, key OPENAI_API_KEY, 3,000 pieces, version v2.3.1, iPhone15, Wi-Fi", "en")
    assert {
        "ab",
        "12",
        "7",
        "ab127",
        "openai",
        "api",
        "key",
        "openaiapikey",
        "3000",
        "v231",
        "iphone15",
        "15",
        "wifi",
    } <= set(terms)
    assert set(index_terms("wifi", "en")) <= set(terms)
    assert index_terms("٣٠٠", "ar") == index_terms("300", "en")


def test_scripts_without_spaces_give_pairs() -> None:
    assert index_terms("退货政策", "zh") == ["退货", "货政", "政策"]
    assert set(index_terms("退货", "zh")) <= set(index_terms("我们的退货政策是三十天。", "zh"))
    assert index_terms("東京タワー", "ja") == ["東京", "京タ", "タワ", "ワー"]
    assert len(index_terms("กองหลัง", "th")) == 5


def test_a_part_of_a_compound_is_found_by_its_letters() -> None:
    asked, written = index_terms("Rückgabe", "de"), index_terms("Rückgabefristen", "de")
    assert set(asked) & set(written)
    assert all(is_run(term) for term in set(asked) & set(written))
    assert not any(is_run(term) for term in index_terms("refundable", "en"))


def test_all_runs_of_a_word_count_as_one_word() -> None:
    weights = question_terms("Rückgabefrist", "de")
    assert weights[word_terms("Rückgabefrist", "de")[0]] == 1.0
    assert sum(weight for term, weight in weights.items() if is_run(term)) == pytest.approx(1.0)


def test_words_that_every_visitor_says_count_little() -> None:
    weights = question_terms("How do I return my shoes?", "en")
    assert weights[term_of("shoes", "en")] == 1.0
    assert weights[term_of("my", "en")] == weights[term_of("how", "en")] == COMMON_WEIGHT


@given(st.text(max_size=300), st.sampled_from([None, "en", "de", "ru", "zh", "ar", "hi", "tr", "th", "xx"]))
def test_a_question_in_the_words_of_a_text_is_covered_by_it(text: str, language: str | None) -> None:
    terms = index_terms(text, language)
    assert terms == index_terms(text, language)
    assert all(term and len(term) <= 200 for term in terms)
    assert set(question_terms(text, language)) <= set(terms)
    assert set(word_terms(text, language)) == {term for term in terms if not is_run(term)}


@given(st.text(max_size=300))
def test_a_language_is_two_letters_or_none(text: str) -> None:
    language = detect_language(text)
    assert language is None or (len(language) == 2 and language.islower())


def test_hostile_text_takes_time_in_proportion() -> None:
    def took_s(text: str) -> float:
        started = time.perf_counter()
        index_terms(text, "en")
        detect_language(text)
        return time.perf_counter() - started

    for piece in ("a", "a-", "'", "-", "ا", "漢", "्क", "1.", "_a", "ก"):
        short = min(took_s(piece * 2_000) for _ in range(3))
        assert took_s(piece * 40_000) < 20 * short * 8 + 0.5


def test_many_threads_stem_alike() -> None:
    generator = random.Random(1)
    words = ["".join(generator.choices("abdeginorstu", k=9)) + "ungen" for _ in range(4_000)]
    alone = [term_of.__wrapped__(word, "de") for word in words]
    found: list[list[str]] = []

    def work() -> None:
        found.append([term_of.__wrapped__(word, "de") for word in words])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4


def test_runs_are_of_whole_words_only() -> None:
    assert runs_of("frist") == ()
    assert runs_of("fristen") == ("~frist", "~riste", "~isten")
    assert runs_of("ab1234567") == ()
