"""A chatbot's own intents: told apart when they can be, none named for what is none of them, and figures that hold for
messages nobody has seen. Vectors are made up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.adapters.models import Encoded
from chatwright.adapters.models.logistic import probability
from chatwright.domain.errors import Unprocessable
from chatwright.features.analysis import custom, custom_mix
from chatwright.features.analysis.custom import CustomIntents, train
from chatwright.features.analysis.custom_confidence import PRIOR, fit_confidence
from chatwright.features.analysis.custom_mix import MIXES, Joining, Mix, draw_evenly, surprise
from chatwright.features.analysis.intent_store import CustomIntent
from chatwright.pipeline.intents import PER_INTENT_AT_MOST, checked

FEATURES = 7 * 384
NAMES = tuple(f"intent_{at:02}" for at in range(12))


def _world(intents: range, each: int, *, noise: float, seed: int) -> tuple[list[int], list[str], Encoded]:
    """`each` messages of each intent: around its own centre, the same centres for every seed."""
    random, centres = np.random.default_rng(seed), np.random.default_rng(7).normal(size=(40, 384))
    labels = [label for label in intents for _ in range(each)]
    points = np.stack([centres[label] + noise * random.normal(size=384) for label in labels]).astype(np.float32)
    vectors = points / np.linalg.norm(points, axis=1, keepdims=True)
    features = np.zeros((len(labels), FEATURES), np.float32)
    features[:, 384:768] = features[:, 1536:1920] = points
    texts = [f"message {number} of seed {seed}" for number in range(len(labels))]
    return labels, texts, Encoded(vectors=vectors, features=features)


def _model(each: int = 8, noise: float = 1.0) -> CustomIntents:
    labels, texts, encoded = _world(range(12), each, noise=noise, seed=0)
    return train(NAMES, labels, texts, encoded)[0]


def test_intents_that_can_be_told_apart_are_named() -> None:
    labels, texts, encoded = _world(range(12), 5, noise=1.0, seed=1)
    verdicts = _model().read(texts, encoded)
    named = [(verdict, label) for verdict, label in zip(verdicts, labels, strict=True) if verdict.holds]
    assert len(named) > 0.8 * len(labels)
    assert sum(verdict.name == NAMES[label] for verdict, label in named) >= 0.98 * len(named)


def test_what_is_none_of_them_is_not_named() -> None:
    _, texts, encoded = _world(range(20, 40), 5, noise=1.0, seed=1)
    verdicts = _model().read(texts, encoded)
    assert sum(verdict.holds for verdict in verdicts) <= 0.05 * len(verdicts)
    assert all(0.0 <= verdict.confidence <= 1.0 for verdict in verdicts)


def test_the_figures_hold_for_messages_it_has_not_seen() -> None:
    labels, texts, encoded = _world(range(12), 12, noise=3.2, seed=0)
    model, quality = train(NAMES, labels, texts, encoded)
    fresh, fresh_texts, fresh_encoded = _world(range(12), 40, noise=3.2, seed=5)
    verdicts = model.read(fresh_texts, fresh_encoded)
    right = np.mean([verdict.name == NAMES[label] for verdict, label in zip(verdicts, fresh, strict=True)])
    assert quality.accuracy is not None
    assert quality.accuracy < 1.0, "the world is too easy to tell anything"
    assert abs(quality.accuracy - right) < 0.08
    assert quality.examples == 144


def test_the_pair_that_is_confused_is_named() -> None:
    labels, texts, encoded = _world(range(3), 10, noise=0.5, seed=0)
    encoded.vectors[20:], encoded.features[20:] = (
        encoded.vectors[10:20],
        encoded.features[10:20],
    )  # the third is the second
    _, quality = train(NAMES[:3], labels, texts, encoded)
    assert {(one.intent, one.read_as) for one in quality.confusions} <= {(NAMES[1], NAMES[2]), (NAMES[2], NAMES[1])}
    assert quality.confusions[0].count > 0


def test_many_examples_are_written_in_fewer_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, texts, encoded = _world(range(12), 20, noise=2.0, seed=0)
    whole = train(NAMES, labels, texts, encoded)[0]
    monkeypatch.setattr(custom, "LANDMARKS", 96)
    model, quality = train(NAMES, labels, texts, encoded)
    fresh, fresh_texts, fresh_encoded = _world(range(12), 10, noise=2.0, seed=5)
    hits = [
        np.mean(
            [one.name == NAMES[label] for one, label in zip(which.read(fresh_texts, fresh_encoded), fresh, strict=True)]
        )
        for which in (whole, model)
    ]
    assert len(model.to_bytes()) < 0.6 * len(whole.to_bytes())
    assert hits[1] > hits[0] - 0.05
    assert quality.examples == 240


def test_one_intent_and_one_example_each_are_enough_to_begin_with() -> None:
    labels, texts, encoded = _world(range(1), 6, noise=0.5, seed=0)
    model, quality = train(NAMES[:1], labels, texts, encoded)
    assert quality.accuracy is None
    near, far = _world(range(1), 1, noise=0.3, seed=3), _world(range(9, 10), 1, noise=0.3, seed=3)
    assert model.read(near[1], near[2])[0].confidence > model.read(far[1], far[2])[0].confidence
    labels, texts, encoded = _world(range(12), 1, noise=0.5, seed=0)
    assert train(NAMES, labels, texts, encoded)[1].accuracy is None


def test_a_model_is_the_same_after_it_was_kept() -> None:
    model = _model()
    again = CustomIntents.from_bytes(model.to_bytes())
    # Half precision where it is kept, whole where it is used: what bounds the memory counts the latter.
    assert again.size_bytes > 1.5 * len(model.to_bytes())
    _, texts, encoded = _world(range(12), 3, noise=1.0, seed=4)
    for before, after in zip(model.read(texts, encoded), again.read(texts, encoded), strict=True):
        assert (before.name, before.holds) == (after.name, after.holds)
        assert before.confidence == pytest.approx(after.confidence, abs=0.02)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no archive", b"\x80\x04K\x01."])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no model"):
        CustomIntents.from_bytes(data)


def test_an_intent_without_an_example_is_refused() -> None:
    labels, texts, encoded = _world(range(2), 2, noise=0.5, seed=0)
    with pytest.raises(ValueError, match="example"):
        train(NAMES[:3], labels, texts, encoded)
    with pytest.raises(ValueError, match="example"):
        train((), [], [], encoded[0:0])


def test_few_verdicts_barely_move_the_prior_and_many_do() -> None:
    random = np.random.default_rng(0)
    signs = np.stack([np.ones(400), *(random.random(400) for _ in range(3))], axis=1)
    wrong = np.zeros(400, np.bool_)
    few = fit_confidence(signs[:2], wrong[:2], np.zeros((0, 4)))
    many = fit_confidence(signs, wrong, np.zeros((0, 4)))
    assert np.abs(few - PRIOR).max() < 2.0
    assert probability(signs, many).max() < probability(signs, PRIOR).max() / 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(7, 40))
def test_landmarks_hold_every_intent_and_stay_in_their_bound(labels: list[int], bound: int) -> None:
    names = sorted(set(labels))
    columns = np.array([names.index(label) for label in labels], np.int32)
    chosen = draw_evenly(columns, bound)
    assert len(chosen) == min(bound, len(labels))
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(columns[chosen].tolist()) == set(range(len(names)))


def test_examples_are_tidied() -> None:
    (intent,) = checked([CustomIntent(name="returns", examples=(" send it back ", "send it back", "", "return this"))])
    assert intent.examples == ("send it back", "return this")


@pytest.mark.parametrize(
    ("intents", "said"),
    [
        ([("Returns!", ("a",))], "no name"),
        ([("", ("a",))], "no name"),
        ([("a", ("x",)), ("a", ("y",))], "twice"),
        ([("a", (" ",))], "needs 1 to"),
        ([("a", tuple(f"{n}" for n in range(PER_INTENT_AT_MOST + 1)))], "needs 1 to"),
        ([("a", ("y" * 501,))], "longer than"),
        ([("a", ("nul \0",))], "longer than"),
        ([("a", ("Where is it?",)), ("b", ("where  IS it?",))], "example of a and of b"),
        ([(f"i{n}", (f"{n}",)) for n in range(301)], "at most 300"),
    ],
)
def test_what_cannot_be_an_intent_is_refused(intents: list[tuple[str, tuple[str, ...]]], said: str) -> None:
    with pytest.raises(Unprocessable, match=said):
        checked([CustomIntent(name=name, examples=examples) for name, examples in intents])


def _apart_by(layer: int, seed: int) -> tuple[list[int], list[str], Encoded]:
    """Messages of twelve intents that only one layer tells apart; all else is noise."""
    random, centres = np.random.default_rng(seed), np.random.default_rng(7).normal(size=(12, 384))
    labels = [label for label in range(12) for _ in range(8)]
    points = random.normal(size=(len(labels), 384)).astype(np.float32)
    features = random.normal(size=(len(labels), FEATURES)).astype(np.float32)
    telling = slice((layer - 1) * 384, layer * 384)
    features[:, telling] = centres[labels] + 0.7 * random.normal(size=(len(labels), 384))
    vectors = points / np.linalg.norm(points, axis=1, keepdims=True)
    return labels, [f"message {at}" for at in range(len(labels))], Encoded(vectors=vectors, features=features)


@pytest.mark.parametrize("layer", [2, 7])
def test_examples_choose_the_mix_that_tells_them_apart(layer: int) -> None:
    labels, texts, encoded = _apart_by(layer, seed=0)
    model = train(NAMES, labels, texts, encoded)[0]
    fresh, fresh_texts, fresh_encoded = _apart_by(layer, seed=1)
    verdicts = model.read(fresh_texts, fresh_encoded)
    assert layer in [at for at, _ in model.mix.layers]
    assert np.mean([one.name == NAMES[label] for one, label in zip(verdicts, fresh, strict=True)]) > 0.9


def test_few_examples_choose_nothing() -> None:
    labels, texts, encoded = _apart_by(7, seed=0)
    few = [at for at in range(len(labels)) if at % 8 < 4]
    rows = Encoded(vectors=encoded.vectors[few], features=encoded.features[few])
    assert len(few) < custom.LEAST_TO_CHOOSE <= len(labels)
    model = train(NAMES, [labels[at] for at in few], [texts[at] for at in few], rows)[0]
    assert model.mix == MIXES[0]


def test_many_examples_keep_the_first_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, texts, encoded = _apart_by(7, seed=0)
    monkeypatch.setattr(custom, "MOST_TO_CHOOSE", len(labels) - 1)
    assert train(NAMES, labels, texts, encoded)[0].mix == MIXES[0]


@pytest.mark.parametrize("mix", MIXES)
def test_likenesses_of_any_mix_are_at_most_one_and_survive_being_kept(mix: Mix) -> None:
    _, _, encoded = _world(range(5), 6, noise=1.0, seed=0)
    joining = Joining.learn(mix, encoded)
    folded = np.eye(len(encoded), custom_mix.GRAM_WIDTH, dtype=np.float32)
    joined = joining.join(encoded, folded)
    assert np.linalg.norm(joined, axis=1).max() <= 1.0 + 1e-5
    again = Joining.from_arrays(joining.to_arrays())
    assert np.allclose(again.join(encoded, folded), joined, atol=1e-5)


def test_scores_that_foretell_the_intents_surprise_less() -> None:
    columns = np.array([0, 1, 2, 0], np.int32)
    sure = np.eye(3, dtype=np.float32)[columns]
    assert surprise(sure, columns) < surprise(0.3 * sure, columns) < surprise(np.zeros((4, 3), np.float32), columns)
    assert surprise(1.0 - sure, columns) > np.log(3)
