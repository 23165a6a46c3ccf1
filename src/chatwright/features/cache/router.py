"""Which learned question a new one asks, and how sure that is. Pure.

Each class is a question that has been answered, with the phrasings known to ask it. A kernel classifier over embeddings
and n-grams is trained in closed form, and what it would have said of each phrasing without having seen it comes for
nothing (leave one out). So does what it would have said of a class that it had never seen (leave one class out): the
questions nobody has an answer for. From these verdicts follow the confidence and the threshold that keeps wrong answers
under a bound (`router_threshold.py`); nothing is tuned by hand for a chatbot.

Trained by `pipeline/cache_training.py`, asked by `pipeline/semantic.py`. Numbers: docs/reference/quality.md.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.logistic import probability
from chatwright.features.cache.ngrams import Grams, hashes
from chatwright.features.cache.router_threshold import (
    COLD,
    LEAST,
    Evidence,
    evidence,
    fit_threshold,
)

Floats = NDArray[np.float32]

NONE = -1
"""Label of a phrasing that belongs to no class of these."""
EXAMPLES = 4_000
"""Phrasings that a router is made of, at most: the newest of each class. Training takes the cube of them (4,000: some
seconds), routing reads them all (10 MB, a millisecond)."""
CLASSES = 1_000
"""Classes that may be served, at most: those with the most phrasings."""
CANDIDATES = 5
HEAVIEST = 15.0
HEAVIEST_SHARE = 0.01
"""As how many phrasings one may count, and as which share of all: a rare check that went wrong must not outweigh hundreds
of others."""
GAMMA = 2.0
"""Width of the kernel exp(GAMMA (likeness - 1))."""
GRAM_SHARE = 0.1
"""Weight of each half of the n-grams in the likeness, beside 1 for the embedding."""
RIDGE = 0.2
_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A phrasing. `vector`: its embedding, of length 1; `label`: its class, or NONE.

    `weight`: how many questions it stands for: 1 / the probability with which it was checked, 1 for a miss or a seed; 0
    if it is no sample of what visitors ask (then it teaches and is not counted). `given`: a person vouches for it, so its
    class may be served even if it has no other phrasing.
    """

    text: str
    vector: Floats
    label: int
    weight: float = 1.0
    given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a router says of a question. `confidence` in 0..1 that `label` is right; `serve`: it holds the bound.

    `candidates`: labels that it may be, likeliest first, of classes too small to be served too.
    """

    label: int | None
    confidence: float
    serve: bool
    candidates: tuple[int, ...]


class Router:
    """A trained router: plain arrays, unchangeable. Made by `train` or `from_bytes`."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self._examples: Floats = arrays["examples"]
        self._columns: NDArray[np.int32] = arrays["columns"]
        self._labels: NDArray[np.int64] = arrays["labels"]
        self._weights: Floats = arrays["weights"]
        self._centre: Floats = arrays["centre"]
        self._calibration: NDArray[np.float64] = arrays["calibration"]
        self._served: NDArray[np.int64] = arrays["served"]
        self._grams = Grams(arrays["idf"])
        self.threshold = float(arrays["threshold"][0])
        """Least confidence that is served; above 1: none is."""
        self.coverage = float(arrays["threshold"][1])
        """Share of questions expected to be served, 0..1."""

    def route(self, text: str, vector: Floats) -> Route:
        """Raises ValueError for a vector of another dimension than the examples had."""
        if vector.shape != self._centre.shape:
            raise ValueError(f"a vector of {vector.shape}, not {self._centre.shape}")
        asked = _join(_centred(vector[None], self._centre), self._grams.vector(hashes(text))[None])[0]
        likeness = self._examples @ asked
        candidates = self._near(likeness)
        classes = len(self._served)
        if not classes:
            return Route(label=None, confidence=0.0, serve=False, candidates=candidates)
        scores = _kernel(likeness) @ self._weights
        column = int(scores[:classes].argmax())
        rest = np.delete(scores, column)
        found = evidence(
            margin=scores[column] - rest.max(),
            score=scores[column],
            nearest=likeness[self._columns == column].max(),
        )
        confidence = float(probability(found[None], self._calibration)[0])
        label = int(self._served[column])
        others = tuple(one for one in candidates if one != label)[: CANDIDATES - 1]
        if self.threshold == COLD:  # too little is known to tell how often it errs: nearly the same words only
            holds = bool(found[3] >= COLD and scores[column] > rest.max())
        else:
            holds = confidence >= self.threshold
        serve = holds and confidence >= LEAST
        return Route(label=label, confidence=confidence, serve=serve, candidates=(label, *others))

    def to_bytes(self) -> bytes:
        """Plain arrays in a zip archive, about 1.5 kB a phrasing."""
        packed = {**self._arrays, "version": np.array([_VERSION])}
        packed["examples"] = self._examples.astype(np.float16)
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **packed)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Router":
        """Raises ValueError for what another version wrote, or for what is no router."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as packed:
                arrays = {name: packed[name] for name in packed.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError("this is no router") from error
        if int(arrays.pop("version", np.zeros(1))[0]) != _VERSION:
            raise ValueError("this router is of another version")
        arrays["examples"] = arrays["examples"].astype(np.float32)
        return cls(arrays)

    def _near(self, likeness: Floats) -> tuple[int, ...]:
        """The classes of the most similar phrasings."""
        count = min(len(likeness), 4 * CANDIDATES)
        nearest = np.argpartition(-likeness, count - 1)[:count]
        labels = self._labels[nearest[np.argsort(-likeness[nearest], kind="stable")]]
        return tuple(dict.fromkeys(int(label) for label in labels if label != NONE))[:CANDIDATES]


def train(examples: Sequence[Example], *, max_error: float) -> Router:
    """Make a router that errs in at most about `max_error` of what it serves. Deterministic.

    `examples` oldest first; beyond EXAMPLES the newest of each class are kept. Raises ValueError without any.
    """
    if not examples:
        raise ValueError("a router needs an example")
    kept = _newest(examples)
    labels = np.array([one.label for one in kept], np.int64)
    served, columns = _columns(kept, labels)
    vectors = np.stack([one.vector for one in kept]).astype(np.float32)
    centre = vectors.mean(axis=0) * min(1.0, len(kept) / 200)  # of a few, the mean is what they are about
    hashed = [hashes(one.text) for one in kept]
    grams = Grams.learn(hashed)
    joined = _join(_centred(vectors, centre), np.stack([grams.vector(each) for each in hashed]))

    likeness = joined @ joined.T
    inverse = np.linalg.inv(_kernel(likeness) + RIDGE * np.eye(len(kept), dtype=np.float32))
    wanted = np.zeros((len(kept), len(served) + 1), np.float32)
    wanted[np.arange(len(kept)), columns] = 1.0
    weights = inverse @ wanted

    heaviest = min(HEAVIEST, max(1.0, HEAVIEST_SHARE * len(kept)))
    counted = np.array([min(one.weight, heaviest) for one in kept])
    calibration, threshold, coverage = fit_threshold(
        Evidence.left_out(likeness, inverse, weights, wanted, columns, counted), max_error=max_error
    )
    return Router(
        {
            "examples": joined,
            "columns": columns,
            "labels": labels,
            "weights": weights.astype(np.float32),
            "centre": centre,
            "calibration": calibration,
            "served": served,
            "idf": grams.idf,
            "threshold": np.array([threshold, coverage]),
        }
    )


def _newest(examples: Sequence[Example]) -> list[Example]:
    """At most EXAMPLES, by the same bound for each class; those of no class share one such bound for every ten classes."""
    if len(examples) <= EXAMPLES:
        return list(examples)
    counts: dict[int, int] = {}
    places: list[tuple[int, int]] = []
    for at in range(len(examples) - 1, -1, -1):
        label = examples[at].label
        counts[label] = counts.get(label, 0) + 1
        places.append((counts[label] if label != NONE else counts[label] * 10 // max(10, len(counts)), -at))
    return [examples[at] for at in sorted(-place for _, place in sorted(places)[:EXAMPLES])]


def _columns(examples: Sequence[Example], labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Labels of the classes that may be served, and each example's column; the last column is everything else."""
    found, counts = np.unique(labels, return_counts=True)
    given = {one.label for one in examples if one.given}
    fit = [at for at, label in enumerate(found) if label != NONE and (counts[at] > 1 or int(label) in given)]
    fit = sorted(sorted(fit, key=lambda at: (-counts[at], at))[:CLASSES])
    served = found[fit].astype(np.int64)
    column_of = {int(label): column for column, label in enumerate(served)}
    columns = np.array([column_of.get(int(label), len(served)) for label in labels], np.int32)
    return served, columns


def _centred(vectors: Floats, centre: Floats) -> Floats:
    moved = vectors - centre
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    return (moved / np.maximum(norms, 1e-6)).astype(np.float32)


def _join(vectors: Floats, grams: Floats) -> Floats:
    """One vector whose inner products are likenesses, at most 1."""
    joined = np.concatenate([vectors, GRAM_SHARE**0.5 * grams], axis=1)
    return (joined / (1.0 + 2 * GRAM_SHARE) ** 0.5).astype(np.float32)


def _kernel(likeness: Floats) -> Floats:
    return np.exp(GAMMA * (likeness - 1.0), dtype=np.float32)
