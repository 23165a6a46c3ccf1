"""The router of the semantic cache: what it serves is right, what it cannot know it leaves alone. Vectors are made up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.features.cache.ngrams import WIDTH, Grams, hashes
from chatwright.features.cache.router import NONE, Example, Router, train
from chatwright.features.cache.router_threshold import COLD, Evidence, fit_threshold

DIMENSION = 32


def _unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _world(classes: int, each: int, *, noise: float, seed: int = 0, weight: float = 1.0) -> list[Example]:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(40, DIMENSION))
    return [
        Example(
            text=f"question {label} wording {number}",
            vector=_unit(centres[label] + noise * random.normal(size=DIMENSION)),
            label=label,
            weight=weight,
        )
        for number in range(each)
        for label in range(classes)
    ]


def test_serves_known_classes_and_names_the_right_one() -> None:
    router = train(_world(10, 20, noise=0.4), max_error=0.02)
    fresh = _world(10, 10, noise=0.4, seed=1)
    routes = [(router.route(one.text, one.vector), one.label) for one in fresh]
    served = [(route, label) for route, label in routes if route.serve]
    assert len(served) > 0.8 * len(fresh)
    assert sum(route.label == label for route, label in served) >= 0.97 * len(served)
    assert all(route.candidates[0] == route.label for route, _ in routes)


def test_questions_of_classes_it_never_saw_are_not_served() -> None:
    router = train(_world(30, 20, noise=0.4), max_error=0.02)
    known = _world(30, 5, noise=0.4, seed=2)
    strangers = [one for one in _world(40, 10, noise=0.4, seed=2) if one.label >= 30]
    assert sum(router.route(one.text, one.vector).serve for one in known) >= 0.8 * len(known)
    assert sum(router.route(one.text, one.vector).serve for one in strangers) <= 0.1 * len(strangers)


def test_classes_that_cannot_be_told_apart_are_not_served() -> None:
    random = np.random.default_rng(3)
    examples = [
        Example(
            text="the same words", vector=_unit(np.ones(DIMENSION) + 0.3 * random.normal(size=DIMENSION)), label=at % 2
        )
        for at in range(200)
    ]
    router = train(examples, max_error=0.02)
    assert not any(router.route("the same words", one.vector).serve for one in examples)


def test_a_class_with_one_phrasing_needs_a_person_to_vouch_for_it() -> None:
    learned = [*_world(5, 20, noise=0.3), Example(text="opening hours", vector=_unit(np.eye(DIMENSION)[0]), label=99)]
    assert train(learned, max_error=0.02).route("opening hours", learned[-1].vector).label != 99
    vouched = [*learned[:-1], Example(text="opening hours", vector=learned[-1].vector, label=99, given=True)]
    route = train(vouched, max_error=0.02).route("opening hours", vouched[-1].vector)
    assert route.label == 99
    assert 99 in train(learned, max_error=0.02).route("opening hours", learned[-1].vector).candidates


def test_with_too_little_to_go_by_only_the_same_words_are_served() -> None:
    seeds = [
        Example(
            text=f"topic {at}", vector=_unit(np.random.default_rng(at).normal(size=DIMENSION)), label=at, given=True
        )
        for at in range(5)
    ]
    router = train(seeds, max_error=0.02)
    assert router.threshold == COLD
    assert router.route("topic 3", seeds[3].vector).serve
    turned = _unit(seeds[3].vector + 0.6 * seeds[1].vector)
    assert not router.route("quite another thing", turned).serve


def test_bytes_hold_all_of_it() -> None:
    router = train(_world(6, 12, noise=0.4), max_error=0.02)
    again = Router.from_bytes(router.to_bytes())
    for one in _world(6, 4, noise=0.5, seed=5):
        before, after = router.route(one.text, one.vector), again.route(one.text, one.vector)
        assert after.label == before.label
        assert after.confidence == pytest.approx(before.confidence, abs=0.02)
    assert again.threshold == router.threshold


def test_training_is_deterministic() -> None:
    examples = _world(6, 12, noise=0.5)
    assert train(examples, max_error=0.02).to_bytes() == train(examples, max_error=0.02).to_bytes()


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_router_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="router"):
        Router.from_bytes(data)


def test_a_vector_of_another_embedder_is_refused() -> None:
    router = train(_world(4, 5, noise=0.3), max_error=0.02)
    with pytest.raises(ValueError, match="vector"):
        router.route("x", np.ones(3, np.float32))


def test_leaving_one_out_in_closed_form_is_what_training_without_it_says() -> None:
    examples = _world(3, 6, noise=0.6)
    likeness = np.array([[float(a.vector @ b.vector) for b in examples] for a in examples])
    kernel = np.exp(2.0 * (likeness - 1))
    columns = np.array([one.label for one in examples], np.int32)
    wanted = np.eye(4)[columns]
    inverse = np.linalg.inv(kernel + 0.2 * np.eye(len(examples)))
    found = Evidence.left_out(likeness, inverse, inverse @ wanted, wanted, columns, np.ones(len(examples)))
    for left in (0, 7, 17):
        rest = [at for at in range(len(examples)) if at != left]
        weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.2 * np.eye(len(rest)), wanted[rest])
        scores = kernel[left, rest] @ weights
        best = int(scores[:3].argmax())
        assert found.right[left] == (best == columns[left])
        assert found.signs[left, 2] == pytest.approx(scores[best])
        assert found.signs[left, 1] == pytest.approx(scores[best] - np.delete(scores, best).max())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 0.999), st.floats(0.005, 0.1))
def test_threshold_keeps_the_counted_errors_near_the_bound(seed: int, share: float, max_error: float) -> None:
    random = np.random.default_rng(seed)
    right = random.random(400) < share
    margin = np.where(right, random.normal(0.7, 0.2, 400), random.normal(0.2, 0.2, 400))
    signs = np.stack([np.ones(400), margin, margin, margin], axis=1)
    weight = random.choice([1.0, 5.0], 400)
    calibration, threshold, coverage = fit_threshold(
        Evidence(signs=signs, right=right, novel=np.zeros(400, np.bool_), weight=weight), max_error=max_error
    )
    confidence = 1 / (1 + np.exp(-np.clip(signs @ calibration, -30, 30)))
    served = confidence >= threshold
    assert 0.0 <= coverage <= 1.0
    if served.any():
        assert weight[served & ~right].sum() <= 2 * max_error * weight[served].sum() + 1e-9


@given(st.text(max_size=200))
def test_any_text_has_grams_of_length_one_or_none(text: str) -> None:
    halves = hashes(text)
    vector = Grams.learn([halves]).vector(halves)
    assert vector.shape == (2 * WIDTH,)
    for half in (vector[:WIDTH], vector[WIDTH:]):
        assert np.linalg.norm(half) == pytest.approx(1.0, abs=1e-4) or not half.any()


def test_those_of_no_class_are_never_named() -> None:
    examples = [
        *_world(5, 10, noise=0.3),
        *(
            Example(text=f"odd {at}", vector=one.vector, label=NONE)
            for at, one in enumerate(_world(20, 2, noise=0.3, seed=9))
        ),
    ]
    router = train(examples, max_error=0.02)
    for one in examples:
        route = router.route(one.text, one.vector)
        assert route.label != NONE
        assert NONE not in route.candidates
