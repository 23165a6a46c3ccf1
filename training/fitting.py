"""Fits linear heads over columns and n-grams: softmax regression with L2, by L-BFGS in numpy, the same result at every run.

Data sets that label by different rules each get a bias of their own while training; what ships is the bias of group 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.grams import BUCKETS, Grams
from chatwright.adapters.models.linear import LinearHead
from training.logistic import Doubles, minimise

Floats = NDArray[np.float32]
SEEN_AT_LEAST = 2
"""Texts that a gram must stand in to get a weight."""
STEPS = 100
"""At most: the fit ends before where nothing more is gained."""
_BIAS_PENALTY = 1e-4
_SCALE = 1e4
"""Of the loss: `minimise` ends where a step gains less than a fixed amount, which is to be small beside it."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """`columns` (n, D), `grams` of the same n texts, `targets` (n, classes) with rows that sum to 1, or to 0 for a text
    that teaches nothing, `weights` (n,),
    `group` the label rule of their data set: 0 is the product's own."""

    columns: Floats
    grams: Grams
    targets: Floats
    weights: Floats
    group: int


@dataclass(frozen=True, slots=True, eq=False)
class _Sparse:
    """A matrix (rows, columns) by its entries in the order of their rows. Rows without an entry are zero."""

    rows: int
    starts: NDArray[np.int64]
    filled: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Floats

    @classmethod
    def of(cls, rows: NDArray[np.int64], columns: NDArray[np.int64], values: Floats, count: int) -> "_Sparse":
        order = np.argsort(rows, kind="stable")
        filled, starts = np.unique(rows[order], return_index=True)
        return cls(count, starts, filled, columns[order], values[order])

    def times(self, table: Floats) -> Floats:
        sums = np.zeros((self.rows, table.shape[1]), np.float32)
        if len(self.filled):
            sums[self.filled] = np.add.reduceat(table[self.columns] * self.values[:, None], self.starts, axis=0)
        return sums


def fit(
    sets: Sequence[Rows], classes: tuple[str, ...], *, gains: Floats, l2: float, l2_grams: float, steps: int = STEPS
) -> LinearHead:
    """`gains` (D,): columns with a larger one are penalised less; 0 leaves a column out."""
    columns = np.concatenate([rows.columns for rows in sets])
    mean, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-3
    used = np.flatnonzero(gains)
    dense = ((columns[:, used] - mean[used]) / spread[used] * gains[used]).astype(np.float32)
    targets = np.concatenate([rows.targets for rows in sets])
    weights = np.concatenate([rows.weights for rows in sets])
    weights = (weights / weights.sum())[:, None]
    told = targets.sum(axis=1, keepdims=True)
    groups = np.concatenate([np.full(len(rows.weights), rows.group) for rows in sets])
    belongs = np.eye(int(groups.max()) + 1, dtype=np.float32)[groups]
    belongs[:, 0] = 1.0  # the others' biases are what they differ by
    sparse, transposed, kept = _matrix([rows.grams for rows in sets])
    shapes = [(part, len(classes)) for part in (len(used), len(kept), belongs.shape[1])]
    ends = np.cumsum([height * width for height, width in shapes])

    def split(point: Doubles) -> list[Floats]:
        parts = np.split(point.astype(np.float32), ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def loss(point: Doubles) -> tuple[float, Doubles]:
        head, table, biases = split(point)
        logs = _log_softmax(dense @ head + sparse.times(table) + belongs @ biases)
        errors = ((np.exp(logs) * told - targets) * weights).astype(np.float32)
        parts = ((head, dense.T @ errors, l2), (table, transposed.times(errors), l2_grams), (biases, belongs.T @ errors, _BIAS_PENALTY))  # fmt: skip
        value = -float((weights * targets * logs).sum(dtype=np.float64))
        value += sum(penalty * float(np.square(part, dtype=np.float64).sum()) for part, _, penalty in parts)
        slope = np.concatenate([(pulled + 2 * penalty * part).ravel() for part, pulled, penalty in parts])
        return _SCALE * value, _SCALE * slope.astype(np.float64)

    head, table, biases = split(minimise(loss, np.zeros(int(ends[-1])), steps))
    weights_of_columns = np.zeros((len(gains), len(classes)), np.float32)
    weights_of_columns[used] = head * (gains[used] / spread[used])[:, None]
    gram_weights = np.zeros((BUCKETS, len(classes)), np.float32)
    gram_weights[kept] = table
    return LinearHead.of(
        classes,
        dense=weights_of_columns,
        grams=gram_weights,
        bias=(biases[0] - mean @ weights_of_columns).astype(np.float32),
        temperature=1.0,
    )


def calibrate(scores: Floats, targets: Floats, weights: Floats) -> float:
    """The temperature at which the targets are likeliest."""
    candidates = np.geomspace(0.3, 3.0, 60)
    losses = [float(-(weights[:, None] * targets * _log_softmax(scores / tried)).sum()) for tried in candidates]
    return float(candidates[int(np.argmin(losses))])


def _log_softmax(scores: Floats) -> Floats:
    raised = scores - scores.max(axis=1, keepdims=True)
    return raised - np.log(np.exp(raised).sum(axis=1, keepdims=True))


def _matrix(grams: Sequence[Grams]) -> tuple[_Sparse, _Sparse, NDArray[np.int64]]:
    """Texts × buckets that enough texts hold, the same turned round, and which buckets these are."""
    buckets = np.concatenate([part.buckets for part in grams])
    values = np.concatenate([part.weights for part in grams])
    lengths = np.concatenate([np.diff(part.offsets) for part in grams])
    counts = np.bincount(buckets, minlength=BUCKETS)
    kept = np.flatnonzero(counts >= SEEN_AT_LEAST)
    place = np.full(BUCKETS, -1, np.int64)
    place[kept] = np.arange(len(kept))
    known = place[buckets] >= 0
    rows = np.repeat(np.arange(len(lengths)), lengths)[known]
    columns, values = place[buckets[known]], values[known]
    return _Sparse.of(rows, columns, values, len(lengths)), _Sparse.of(columns, rows, values, len(kept)), kept
