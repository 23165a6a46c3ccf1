"""A two-class logistic head on dense columns and hashed n-grams, by L-BFGS in plain numpy: the same weights every run."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.embedder import Vectors
from chatwright.adapters.models.grams import BUCKETS, Grams
from chatwright.adapters.models.linear import LinearHead

Doubles = NDArray[np.float64]
_MEMORY = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """`dense`: shape (n, F), or None; `targets`, `weights`: shape (n,)."""

    dense: Vectors | None
    grams: Grams
    targets: Vectors
    weights: Vectors


def fit(
    sample: Sample, classes: tuple[str, str], *, decay_dense: float, decay_grams: float, steps: int = 150
) -> LinearHead:
    """A head with `classes` (no, yes); decays are L2 penalties of the mean loss, on columns brought to unit spread."""
    rows = np.repeat(np.arange(len(sample.grams)), np.diff(sample.grams.offsets))
    weights = sample.weights / sample.weights.sum()
    centre = spread = np.zeros(0, np.float32)
    dense: Vectors | None = None
    if sample.dense is not None:
        centre = sample.dense.mean(axis=0)
        spread = sample.dense.std(axis=0) + 1e-3
        dense = (sample.dense - centre) / spread / np.sqrt(sample.dense.shape[1]).astype(np.float32)
    columns = 0 if dense is None else dense.shape[1]

    def loss(point: Doubles) -> tuple[float, Doubles]:
        of_grams = point[columns:-1].astype(np.float32)
        scores = np.bincount(rows, of_grams[sample.grams.buckets] * sample.grams.weights, len(weights)) + point[-1]
        if dense is not None:
            scores += dense @ point[:columns].astype(np.float32)
        errors = (1 / (1 + np.exp(-scores)) - sample.targets) * weights
        slope = np.empty_like(point)
        if dense is not None:
            slope[:columns] = dense.T @ errors.astype(np.float32) + decay_dense * point[:columns]
        pulled = np.bincount(sample.grams.buckets, sample.grams.weights * errors[rows], BUCKETS)
        slope[columns:-1] = pulled + decay_grams * point[columns:-1]
        slope[-1] = errors.sum()
        value = float(((np.logaddexp(0, scores) - sample.targets * scores) * weights).sum())
        value += 0.5 * decay_dense * float(point[:columns] @ point[:columns])
        value += 0.5 * decay_grams * float(point[columns:-1] @ point[columns:-1])
        return value, slope

    found = minimise(loss, np.zeros(columns + BUCKETS + 1), steps)
    bias = float(found[-1])
    of_dense: Vectors | None = None
    if dense is not None:
        plain = (found[:columns] / spread / np.sqrt(columns)).astype(np.float32)
        bias -= float(plain @ centre)
        of_dense = np.stack([np.zeros_like(plain), plain], axis=1)
    of_grams = found[columns:-1].astype(np.float32)
    return LinearHead.of(
        classes,
        dense=of_dense,
        grams=np.stack([np.zeros_like(of_grams), of_grams], axis=1),
        bias=np.array([0.0, bias], np.float32),
        temperature=1.0,
    )


def minimise(loss: Callable[[Doubles], tuple[float, Doubles]], start: Doubles, steps: int) -> Doubles:
    """L-BFGS with a halving line search; ends early where the slope is flat."""
    point = start
    value, slope = loss(point)
    pairs: list[tuple[Doubles, Doubles]] = []
    for _ in range(steps):
        step = -_turn(slope, pairs)
        along = float(step @ slope)
        if along >= 0:
            pairs, step, along = [], -slope, -float(slope @ slope)
        size = 1.0 if pairs else min(1.0, 1.0 / (np.linalg.norm(slope) + 1e-12))
        for _ in range(20):
            moved = point + size * step
            lower, turned = loss(moved)
            if lower <= value + 1e-4 * size * along:
                break
            size /= 2
        else:
            break
        change = turned - slope
        if float(change @ (moved - point)) > 1e-12:
            pairs = [*pairs[-_MEMORY + 1 :], (moved - point, change)]
        done = value - lower < 1e-7
        point, value, slope = moved, lower, turned
        if done:
            break
    return point


def _turn(slope: Doubles, pairs: list[tuple[Doubles, Doubles]]) -> Doubles:
    turned = slope.copy()
    kept: list[float] = []
    for moved, change in reversed(pairs):
        share = float(moved @ turned) / float(moved @ change)
        kept.append(share)
        turned -= share * change
    if pairs:
        moved, change = pairs[-1]
        turned *= float(moved @ change) / float(change @ change)
    for (moved, change), share in zip(pairs, reversed(kept), strict=True):
        turned += (share - float(change @ turned) / float(moved @ change)) * moved
    return turned
