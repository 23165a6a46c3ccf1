"""A chatbot's own intents: which of them a message has, learned from a few examples of each.

Kernel ridge regression over the encoder's vectors and n-grams, trained in closed form: some milliseconds for a hundred
examples. What it would have said of each example, had it not seen it, comes for nothing (leave one out); so does what it
would have said of each intent that it had never heard of (leave one intent out). From these verdicts follow the confidence,
the figures shown to people, and what is below the threshold: none of them.
What a likeness is made of is chosen by the examples as well (`custom_mix.py`).

Trained by `pipeline/intents.py` in a worker, asked by it for each message. Pure; figures in docs/reference/quality.md.
"""

import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.embedder import Vectors
from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.grams import hash_grams
from chatwright.adapters.models.logistic import probability
from chatwright.features.analysis.custom_confidence import PRIOR, fit_confidence
from chatwright.features.analysis.custom_mix import MIXES, Joining, Mix, draw_evenly, fold_grams, surprise

LANDMARKS = 3_000
"""Examples that a model is written in, at most (10 MB); of more, some of each intent are drawn. Training takes the cube of
them: 3,000 are some seconds."""
GAMMA = 1.5
"""Width of the kernel exp(GAMMA (likeness - 1))."""
RIDGE = 0.1
LEAST_TO_CHOOSE, MOST_TO_CHOOSE = 60, 1_500
"""As many examples choose the mix. Fewer tell too little; with more it matters less, and a part of them would tell what is
best for a part. Each mix costs the cube of them: 1,500 some tenths of a second."""
THRESHOLD = 0.5
"""Confidence below which no intent is named: what is likelier wrong than right is none."""
PAIRS_SHOWN = 10
_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """`count` examples of `intent` would be read as `read_as`, had they not been examples."""

    intent: str
    read_as: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What a model would have said of its own examples unseen. `accuracy`: the share whose intent it names right; `named`:
    the share that it would name at all, and `right_of_named` how many of those are right. None with a single example."""

    examples: int
    accuracy: float | None
    named: float | None
    right_of_named: float | None
    confusions: tuple[Confusion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The likeliest intent and the probability that it is the message's; `holds`: it is above the threshold."""

    name: str
    confidence: float
    holds: bool


class CustomIntents:
    """A trained model: plain arrays, unchangeable. Made by `train` or `from_bytes`."""

    def __init__(self, names: tuple[str, ...], arrays: dict[str, NDArray[Any]], threshold: float = THRESHOLD) -> None:
        self.names = names
        self.threshold = threshold
        self._arrays = arrays
        self._landmarks: Vectors = arrays["landmarks"]
        self._weights: Vectors = arrays["weights"]
        self._columns: NDArray[np.int32] = arrays["columns"]
        self._joining = Joining.from_arrays(arrays)
        self._calibration: NDArray[np.float64] = arrays["calibration"]

    @property
    def size_bytes(self) -> int:
        """What it takes in memory: twice what it takes in the database."""
        return sum(array.nbytes for array in self._arrays.values())

    @property
    def mix(self) -> Mix:
        """What its likenesses are made of."""
        return self._joining.mix

    def read(self, texts: Sequence[str], encoded: Encoded) -> list[Verdict]:
        """One verdict for each text. `encoded`: of the same texts. 0.3 ms a text and 1,000 examples."""
        joined = self._joining.join(encoded, fold_grams(hash_grams(texts)))
        likeness = joined @ self._landmarks.T
        scores = _kernel(likeness) @ self._weights
        signs, best = _signs(scores, likeness, self._columns)
        confidences = probability(signs, self._calibration)
        return [
            Verdict(name=self.names[int(at)], confidence=float(sure), holds=bool(sure >= self.threshold))
            for at, sure in zip(best, confidences, strict=True)
        ]

    def to_bytes(self) -> bytes:
        """Plain arrays in a zip archive, 2.6 to 3.3 kB an example."""
        out = io.BytesIO()
        packed = {**self._arrays, "landmarks": self._landmarks.astype(np.float16)}
        head = {"names": np.array(self.names), "version": np.array([_VERSION]), "threshold": np.array([self.threshold])}
        np.savez(out, allow_pickle=False, **packed, **head)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "CustomIntents":
        """Raises ValueError for what another version wrote, or for what is no model."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as packed:
                arrays = {name: packed[name] for name in packed.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError("this is no model of intents") from error
        if int(arrays.pop("version", np.zeros(1))[0]) != _VERSION:
            raise ValueError("this model of intents is of another version")
        names = tuple(str(name) for name in arrays.pop("names"))
        threshold = float(arrays.pop("threshold")[0])
        arrays["landmarks"] = arrays["landmarks"].astype(np.float32)
        return cls(names, arrays, threshold)


def train(
    names: Sequence[str],
    labels: Sequence[int],
    texts: Sequence[str],
    encoded: Encoded,
    *,
    hints: int = 0,
    threshold: float = THRESHOLD,
) -> tuple[CustomIntents, Quality]:
    """Learn intents from examples. Deterministic.

    `labels`: of each text, the place of its intent in `names`; each intent has an example. `encoded`: of the same texts. The
    last `hints` of them are no messages but other words on an intent (its name): they teach and are not counted.
    Raises ValueError for no example, or an intent without one.
    """
    columns = np.array(labels, np.int32)
    counted = len(columns) - hints
    if counted < 1 or set(labels[:counted]) != set(range(len(names))):
        raise ValueError("each intent needs an example")
    folded = fold_grams(hash_grams(texts))
    joining = _choose(encoded, folded, columns, counted)
    joined = joining.join(encoded, folded)
    wanted = _wanted(columns)
    chosen = draw_evenly(columns, LANDMARKS)
    landmarks, near = joined[chosen], columns[chosen]
    solved = _solve(joined, landmarks, wanted, whole=len(chosen) == len(columns))

    likeness = joined @ landmarks.T
    likeness[chosen, np.arange(len(chosen))] = -1.0  # of itself, an example that was left out knows nothing
    calibration = PRIOR.copy()
    quality = Quality(examples=counted, accuracy=None, named=None, right_of_named=None, confusions=())
    if len(names) > 1 and counted > len(names):
        alone, best = _signs(solved.left_out(wanted)[:counted], likeness[:counted], near)
        right = best == columns[:counted]
        novel = _left_as_intent(solved, wanted, columns, likeness, near)[:counted]
        calibration = fit_confidence(alone, right, novel)
        named = probability(alone, calibration) >= threshold
        quality = Quality(
            examples=counted,
            accuracy=float(right.mean()),
            named=float(named.mean()),
            right_of_named=float(right[named].mean()) if named.any() else None,
            confusions=_confusions(names, columns[:counted], best),
        )
    arrays: dict[str, NDArray[Any]] = {
        "landmarks": landmarks,
        "weights": solved.weights,
        "columns": near,
        "calibration": calibration,
        **joining.to_arrays(),
    }
    return CustomIntents(tuple(names), arrays, threshold), quality


def _choose(encoded: Encoded, folded: Vectors, columns: NDArray[np.int32], counted: int) -> Joining:
    """The mix by which the examples, each left out, foretell one another best. Rows from `counted` on are hints."""
    if not LEAST_TO_CHOOSE <= counted <= MOST_TO_CHOOSE or columns.max() == 0:
        return Joining.learn(MIXES[0], encoded[:counted])
    wanted = _wanted(columns)
    found: list[tuple[float, Joining]] = []
    for mix in MIXES:
        joining = Joining.learn(mix, encoded[:counted])
        joined = joining.join(encoded, folded)
        left_out = _solve(joined, joined, wanted, whole=True).left_out(wanted)[:counted]
        found.append((surprise(left_out, columns[:counted]), joining))
    return min(found, key=lambda pair: pair[0])[1]


def _wanted(columns: NDArray[np.int32]) -> Vectors:
    """Shape (n, intents): 1 for each example's own."""
    wanted = np.zeros((len(columns), int(columns.max()) + 1), np.float32)
    wanted[np.arange(len(columns)), columns] = 1.0
    return wanted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Solved:
    """A ridge fit that says of each example what it would be without it. `weights`: (landmarks, intents); `hat(rows)`: how
    the fits of these examples hang on their own targets, (rows, rows); `fitted`: (n, intents)."""

    weights: Vectors
    fitted: Vectors
    basis: Vectors
    inner: Vectors | None

    def hat(self, rows: NDArray[np.intp]) -> Vectors:
        if self.inner is None:  # exact: basis is the inverse of the ridged kernel
            return _floats(np.eye(len(rows), dtype=np.float32) - RIDGE * self.basis[np.ix_(rows, rows)])
        return _floats(self.basis[rows] @ self.inner @ self.basis[rows].T)

    def leverage(self) -> Vectors:
        if self.inner is None:
            return _floats(np.float32(1.0) - RIDGE * np.diag(self.basis))
        return _floats(np.einsum("nm,nm->n", self.basis @ self.inner, self.basis))

    def left_out(self, wanted: Vectors) -> Vectors:
        """Scores of each example as if it had not been one, (n, intents)."""
        rest = np.maximum(1.0 - self.leverage(), 1e-4)[:, None]
        return _floats(wanted - (wanted - self.fitted) / rest)


def _solve(joined: Vectors, landmarks: Vectors, wanted: Vectors, *, whole: bool) -> _Solved:
    kernel = _kernel(landmarks @ landmarks.T)
    if whole:
        inverse = _inverse(kernel + RIDGE * np.eye(len(kernel), dtype=np.float32))
        weights = inverse @ wanted
        return _Solved(weights=_floats(weights), fitted=_floats(wanted - RIDGE * weights), basis=inverse, inner=None)
    # Nyström: ridge regression over the kernel's values at some of the examples, made orthonormal so that float32 will do.
    root = np.linalg.cholesky(kernel.astype(np.float64) + 1e-3 * np.eye(len(kernel)))
    unroot = _inverse(root)
    basis = _kernel(joined @ landmarks.T) @ unroot.T
    inner = _inverse(basis.T @ basis + RIDGE * np.eye(len(kernel), dtype=np.float32))
    inside = inner @ (basis.T @ wanted)
    return _Solved(
        weights=_floats(unroot.T @ inside), fitted=_floats(basis @ inside), basis=_floats(basis), inner=inner
    )


def _inverse(matrix: NDArray[np.floating]) -> Vectors:
    return _floats(np.linalg.inv(matrix))


def _floats(values: NDArray[np.floating]) -> Vectors:
    return values.astype(np.float32, copy=False)


def _left_as_intent(
    solved: _Solved, wanted: Vectors, columns: NDArray[np.int32], likeness: Vectors, near: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Signs of each intent's examples as if it had never been learned, (n, signs)."""
    found = np.zeros((len(columns), len(PRIOR)))
    for column in range(wanted.shape[1]):
        members = np.flatnonzero(columns == column)
        rest = np.eye(len(members), dtype=np.float32) - solved.hat(members)
        rest[np.diag_indices(len(members))] += 1e-4
        scores = _floats(wanted[members] - np.linalg.solve(rest, wanted[members] - solved.fitted[members]))
        scores[:, column] = -1.0
        seen = likeness[members].copy()
        seen[:, near == column] = -1.0
        found[members] = _signs(scores, seen, near)[0]
    return found


def _signs(scores: Vectors, likeness: Vectors, near: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """What a confidence is told by, (n, 4): 1, margin over the next intent, score, likeness to the intent's nearest example;
    and the best intents. `near`: intents of the landmarks that `likeness` is to."""
    at = np.arange(len(scores))
    best = scores.argmax(axis=1)
    others = scores.copy()
    others[at, best] = -np.inf
    second = others.max(axis=1) if scores.shape[1] > 1 else np.zeros(len(scores), np.float32)
    nearest = np.where(near[None] == best[:, None], likeness, -1.0).max(axis=1)
    score = scores[at, best].astype(np.float64)
    return np.stack([np.ones(len(scores)), score - second, score, nearest.astype(np.float64)], axis=1), best


def _confusions(names: Sequence[str], columns: NDArray[np.int32], best: NDArray[np.intp]) -> tuple[Confusion, ...]:
    pairs = Counter((int(was), int(read)) for was, read in zip(columns, best, strict=True) if was != read)
    ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:PAIRS_SHOWN]
    return tuple(Confusion(intent=names[was], read_as=names[read], count=count) for (was, read), count in ranked)


def _kernel(likeness: Vectors) -> Vectors:
    return np.exp(GAMMA * (likeness - 1.0), dtype=np.float32)
