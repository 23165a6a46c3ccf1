"""What the reader is made of: hashed n-grams, linear heads and the lexicon's counts."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.grams import BUCKETS, fold_text, hash_grams
from chatwright.adapters.models.linear import LinearHead, softmax
from chatwright.features.analysis.rules import SURFACES, read, weigh

TABLE = np.random.default_rng(1).integers(-127, 127, (BUCKETS, 3)).astype(np.int8)
texts = st.lists(st.text(max_size=120), max_size=5)


@given(texts)
def test_grams_do_not_depend_on_what_else_is_in_the_batch(many: list[str]) -> None:
    together = hash_grams(many)
    assert len(together) == len(many)
    for row, text in enumerate(many):
        alone, part = hash_grams([text]), together[row : row + 1]
        assert np.array_equal(alone.buckets, part.buckets)
        assert np.array_equal(alone.weights, part.weights)
        assert ((part.buckets >= 0) & (part.buckets < BUCKETS)).all()
        length = float(part.weights @ part.weights)
        assert length == pytest.approx(2.0 if fold_text(text) else 0.0, abs=1e-3)


@given(st.text(max_size=60))
def test_case_runs_and_space_make_no_difference(text: str) -> None:
    assert fold_text(fold_text(text)) == fold_text(text)
    assert np.array_equal(hash_grams([f"  {text}\n"]).buckets, hash_grams([text]).buckets)
    assert fold_text("SOOOOO  goooood @Ann https://a.example/b 1999") == "soo good @ ~ 0000".replace("0000", "00")


@given(texts)
def test_a_product_with_a_table_is_the_sum_over_the_row(many: list[str]) -> None:
    grams = hash_grams(many)
    product = grams.times(TABLE)
    assert product.shape == (len(many), 3)
    for row in range(len(many)):
        part = grams[row : row + 1]
        assert product[row] == pytest.approx(part.weights @ TABLE[part.buckets].astype(np.float32), abs=1e-2)


def test_a_long_text_is_cut_and_an_empty_one_is_an_empty_row() -> None:
    assert len(hash_grams(["x y z " * 100_000]).buckets) < 100
    empty = hash_grams(["", " \n", "a"])
    assert list(np.diff(empty.offsets)[:2]) == [0, 0]
    assert not empty.times(np.ones((BUCKETS, 2), np.int8))[:2].any()


def _head(rows: int = 4) -> LinearHead:
    dice = np.random.default_rng(3)
    return LinearHead.of(
        ("no", "yes"),
        dense=dice.normal(size=(rows, 2)).astype(np.float32),
        grams=dice.normal(size=(BUCKETS, 2)).astype(np.float32),
        bias=np.array([0.5, -0.5], np.float32),
        temperature=2.0,
    )


def test_a_head_comes_back_from_its_file_as_it_was() -> None:
    head, file = _head(), io.BytesIO()
    head.save(file)
    file.seek(0)
    again = LinearHead.load(file)
    dense, grams = np.ones((2, 4), np.float32), hash_grams(["hello", "good bye"])
    assert again.classes == head.classes
    assert np.array_equal(again.probabilities(dense, grams), head.probabilities(dense, grams))


def test_a_head_looks_at_the_columns_it_was_trained_on_and_at_no_more() -> None:
    head, grams = _head(), hash_grams(["hello"])
    columns = np.ones((1, 4), np.float32)
    wider = np.concatenate([columns, np.full((1, 3), 99, np.float32)], axis=1)
    assert np.array_equal(head.scores(columns, grams), head.scores(wider, grams))
    assert not np.array_equal(head.scores(columns, grams), head.scores(columns * 2, grams))


def test_a_head_refuses_to_guess_without_what_it_was_trained_with() -> None:
    with pytest.raises(ValueError, match="n-grams"):
        _head().scores(np.ones((1, 4), np.float32), None)
    with pytest.raises(ValueError, match="features"):
        _head().scores(None, hash_grams(["a"]))
    with pytest.raises(ValueError, match="buckets"):
        LinearHead.of(
            ("a",), dense=None, grams=np.ones((4, 1), np.float32), bias=np.zeros(1, np.float32), temperature=1
        )


def test_int8_weights_stay_within_half_a_step() -> None:
    weights = np.random.default_rng(5).normal(size=(BUCKETS, 2)).astype(np.float32)
    head = LinearHead.of(("a", "b"), dense=None, grams=weights, bias=np.zeros(2, np.float32), temperature=1.0)
    assert np.abs(head.grams * head.gram_step - weights).max() <= head.gram_step.max() / 2 + 1e-6


@given(st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=4))
def test_probabilities_sum_to_one_and_keep_the_order(rows: list[list[float]]) -> None:
    scores = np.array(rows, np.float32)
    chances = softmax(scores)
    assert chances.sum(axis=1) == pytest.approx(1.0, abs=1e-4)
    assert (chances.max(axis=1) == chances[np.arange(len(rows)), scores.argmax(axis=1)]).all()


def test_a_slice_of_what_was_encoded_is_a_view() -> None:
    encoded = Encoded(vectors=np.eye(3, dtype=np.float32), features=np.ones((3, 2), np.float32))
    part = encoded[1:]
    assert len(part) == 2
    assert np.shares_memory(part.vectors, encoded.vectors)


@given(st.text(max_size=300))
def test_weighing_never_fails_and_stays_within_bounds(text: str) -> None:
    surface = weigh(text)
    assert len(surface.row) == SURFACES
    assert all(-4 <= value <= 4 for value in surface.row)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("This is good", "This is not good"),
        ("This is wonderful", "This is good"),
        ("very good", "good"),
        ("not bad", "bad"),
        ("It was slow, but now it is great", "It was great, but now it is slow"),
        ("ok 😀", "ok 😡"),
        ("fine :)", "fine :("),
        ("the delivery", "the awful delivery"),
        ("sehr gut", "sehr schlecht"),
        ("Merci, c'est parfait", "C'est nul"),
        ("GREAT work", "great work"),
        ("he loves it", "he hates it"),
    ],
)
def test_the_lexicon_puts_the_better_text_first(better: str, worse: str) -> None:
    assert weigh(better).balance > weigh(worse).balance


@pytest.mark.parametrize("text", ["", "?!", "🙃🙃", "\ud800", "a" * 50_000, "اللغة العربية", "\x00"])
def test_the_rules_read_whatever_comes(text: str) -> None:
    reading = read(text)
    assert reading.by == "rules"
    assert reading.sentiment_score is None
