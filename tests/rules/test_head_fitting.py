"""The fit of the linear heads: what separates is told apart, rules of other data sets keep their bias, penalties hold."""

from dataclasses import replace

import numpy as np

from chatwright.adapters.models.grams import hash_grams
from training.fitting import Floats, Rows, calibrate, fit

CLASSES = ("no", "yes")
NOTHING = np.zeros(2, np.float32)


def rows(texts: list[str], columns: Floats, labels: list[int], *, group: int = 0) -> Rows:
    return Rows(
        columns=columns,
        grams=hash_grams(texts),
        targets=np.eye(2, dtype=np.float32)[labels],
        weights=np.ones(len(texts), np.float32),
        group=group,
    )


def test_columns_tell_classes_apart() -> None:
    columns = np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)
    labels = [int(one > 0) for one in columns[:, 1]]
    found = fit([rows(["same"] * 200, columns, labels)], CLASSES, gains=NOTHING + 1, l2=1e-3, l2_grams=1e-3)
    said = found.scores(columns, hash_grams(["same"] * 200)).argmax(axis=1)
    assert (said == labels).mean() > 0.97
    assert abs(found.dense[1]).sum() > 10 * abs(found.dense[0]).sum()


def test_grams_tell_classes_apart_where_columns_say_nothing() -> None:
    texts, labels = ["good day", "bad day"] * 20, [1, 0] * 20
    found = fit([rows(texts, np.ones((40, 2), np.float32), labels)], CLASSES, gains=NOTHING + 1, l2=1e-3, l2_grams=1e-4)
    said = found.scores(np.ones((2, 2), np.float32), hash_grams(["a good one", "a bad one"])).argmax(axis=1)
    assert said.tolist() == [1, 0]


def test_a_column_without_gain_gets_no_weight() -> None:
    columns = np.random.default_rng(2).normal(size=(50, 2)).astype(np.float32)
    labels = [int(one > 0) for one in columns[:, 0]]
    gains = np.array([0, 1], np.float32)
    found = fit([rows(["same"] * 50, columns, labels)], CLASSES, gains=gains, l2=1e-3, l2_grams=1e-3)
    assert not found.dense[0].any()
    assert found.dense[1].any()


def test_a_set_that_labels_by_another_rule_does_not_move_the_bias_that_ships() -> None:
    columns = np.zeros((60, 2), np.float32)
    ours = rows(["x"] * 60, columns, [0, 1] * 30)
    theirs = rows(["x"] * 60, columns, [1] * 60, group=1)
    found = fit([ours, theirs], CLASSES, gains=NOTHING + 1, l2=1e-3, l2_grams=10.0)
    scores = found.scores(columns[:1], hash_grams(["x"]))[0]
    assert abs(scores[1] - scores[0]) < 0.2
    mixed = fit([ours, rows(["x"] * 60, columns, [1] * 60)], CLASSES, gains=NOTHING + 1, l2=1e-3, l2_grams=10.0)
    scores = mixed.scores(columns[:1], hash_grams(["x"]))[0]
    assert scores[1] - scores[0] > 0.8  # three of four say yes


def test_a_text_without_a_label_teaches_nothing() -> None:
    columns = np.random.default_rng(4).normal(size=(80, 2)).astype(np.float32)
    labels = [int(one > 0) for one in columns[:, 0]]
    ours = rows(["x"] * 80, columns, labels)
    mute = replace(rows(["x"] * 400, np.zeros((400, 2), np.float32), [1] * 400), targets=np.zeros((400, 2), np.float32))
    found = fit([ours, mute], CLASSES, gains=NOTHING + 1, l2=1e-5, l2_grams=1e-2)
    chances = found.probabilities(columns, hash_grams(["x"] * 80))
    assert -np.log(chances[np.arange(80), labels]).mean() < 0.1


def test_the_same_rows_give_the_same_head() -> None:
    columns = np.random.default_rng(3).normal(size=(40, 2)).astype(np.float32)
    taught = rows(["one", "two"] * 20, columns, [0, 1] * 20)
    first, second = (fit([taught], CLASSES, gains=NOTHING + 1, l2=1e-2, l2_grams=1e-2) for _ in range(2))
    assert np.array_equal(first.dense, second.dense)
    assert np.array_equal(first.grams, second.grams)
    assert np.array_equal(first.bias, second.bias)


def test_a_head_that_is_too_sure_is_cooled() -> None:
    scores = np.array([[5, -5], [5, -5], [5, -5], [-5, 5]], np.float32)
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    assert calibrate(scores, targets, np.ones(4, np.float32)) > 2.5
    assert calibrate((scores / 10).astype(np.float32), targets[[0, 1, 0, 3]], np.ones(4, np.float32)) < 0.4
