"""How sure a router may be, told by what it would have said of each phrasing without having seen it. Pure.

Used by `router.py`. A confidence is a logistic function of three signs; it is fitted to the left-out verdicts, as is the
threshold above which wrong answers stay under the bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.logistic import Doubles, fit_near, probability

Matrix = NDArray[np.floating]

NEVER = 2.0
"""A threshold that no confidence reaches."""
COLD = 0.93
"""Threshold, and least likeness to a phrasing of the class, where nothing can be told from left-out verdicts."""
LEAST = 0.5
"""Confidence below which nothing is served, whatever the threshold: what is likelier wrong than right is no hit."""
NOVEL_SERVED = 0.2
"""Of the questions that no class answers, at most this share is served. Most of them are left-out classes, whose like stands
right beside them: far harder than what strangers ask."""
NOVEL_SHARE = 0.03
"""Of the questions, at least, ask something that no class answers: as many left-out classes are counted in."""
_PRIOR = np.array([-1.0, 9.0, 2.0, 0.0])
"""Of the logistic function: constant, margin, score, nearest. From the development folds of two corpora."""
_TRUST = 0.1
CAUTION = 0.25
"""Standard deviations of the errors seen that are counted on top of them."""
_SLACK = 1.0
"""Errors that are counted on top of those seen: few verdicts prove little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a router said of questions that it had not seen. `signs`: shape (n, 4), as `evidence` makes them; `right`:
    whether the class it named was the question's; `novel`: whether none could have been; `weight`: how many questions each
    stands for."""

    signs: Doubles
    right: NDArray[np.bool_]
    novel: NDArray[np.bool_]
    weight: Doubles

    @classmethod
    def left_out(
        cls,
        likeness: Matrix,
        inverse: Matrix,
        weights: Matrix,
        wanted: Matrix,
        columns: NDArray[np.int32],
        counted: Doubles,
    ) -> "Evidence":
        """Of each phrasing left out alone, and of each class left out as a whole.

        `inverse`: of the ridged kernel matrix, (n, n); `weights` = inverse @ `wanted`, (n, columns); `columns`: each
        phrasing's; the last column is of no class. Left out, a phrasing's score is wanted - weights / diag(inverse).
        """
        classes = wanted.shape[1] - 1
        if not classes:
            return cls(
                signs=np.zeros((0, 4)), right=np.zeros(0, np.bool_), novel=np.zeros(0, np.bool_), weight=np.zeros(0)
            )
        nearest = _nearest_by_column(likeness, columns, classes)
        alone = _left_alone(inverse, weights, wanted, columns, nearest)
        novel = _left_as_class(inverse, weights, wanted, columns, nearest)
        total = counted.sum()
        seen_novel = counted[columns == classes].sum()
        lacking = max(0.0, NOVEL_SHARE * total - seen_novel)
        novel_weight = np.full(len(novel), lacking / max(1, len(novel)))
        return cls(
            signs=np.concatenate([alone[0], novel]),
            right=np.concatenate([alone[1], np.zeros(len(novel), np.bool_)]),
            novel=np.concatenate([columns == classes, np.ones(len(novel), np.bool_)]),
            weight=np.concatenate([counted, novel_weight]),
        )


def evidence(*, margin: float, score: float, nearest: float) -> Doubles:
    """The signs of one verdict. `margin`: over the next class; `nearest`: likeness to the class's nearest phrasing."""
    return np.array([1.0, margin, score, nearest])


def fit_threshold(found: Evidence, *, max_error: float) -> tuple[Doubles, float, float]:
    """Fit confidence and threshold to what was found. Returns (calibration, threshold, share served).

    The errors above a threshold are counted and, as few are seen, also expected by the confidences: the mean of the two
    is held under `max_error`. COLD, if there is too little to count.
    """
    used = found.weight > 0
    signs, right, weight = found.signs[used], found.right[used], found.weight[used]
    if not right.any() or weight.sum() * max_error < _SLACK:
        return _PRIOR.copy(), COLD, 0.0
    calibration = fit_near(signs, right, weight / weight.mean(), prior=_PRIOR, trust=_TRUST)
    confidence = probability(signs, calibration)
    order = np.argsort(-confidence, kind="stable")
    served = np.cumsum(weight[order])
    seen = np.cumsum(np.where(right[order], 0.0, weight[order]))
    expected = np.cumsum((1.0 - confidence[order]) * weight[order])
    novel = found.novel[used][order]
    novel_served = np.cumsum(np.where(novel, weight[order], 0.0)) <= NOVEL_SERVED * weight[order][novel].sum()
    doubt = _SLACK + CAUTION * np.sqrt(np.cumsum(np.where(right[order], 0.0, weight[order] ** 2)))
    fine = np.flatnonzero((((seen + expected) / 2 + doubt) / served <= max_error) & novel_served)
    if not len(fine):
        return calibration, NEVER, 0.0
    last = fine[-1]
    return calibration, float(confidence[order][last]), float(served[last] / served[-1])


def _nearest_by_column(likeness: Matrix, columns: NDArray[np.int32], classes: int) -> Matrix:
    """Shape (n, classes + 1): likeness to the nearest other phrasing of each column; -1 where it has none."""
    count = len(columns)
    others = likeness.copy()
    np.fill_diagonal(others, -1.0)
    order = np.argsort(columns, kind="stable")
    present, starts = np.unique(columns[order], return_index=True)
    nearest = np.full((count, classes + 1), -1.0, likeness.dtype)
    nearest[:, present] = np.maximum.reduceat(others[:, order], starts, axis=1)
    return nearest


def _left_alone(
    inverse: Matrix,
    weights: Matrix,
    wanted: Matrix,
    columns: NDArray[np.int32],
    nearest: Matrix,
) -> tuple[Doubles, NDArray[np.bool_]]:
    scores = wanted - weights / np.diag(inverse)[:, None]
    classes = wanted.shape[1] - 1
    best = scores[:, :classes].argmax(axis=1)
    return _signs(scores, best, nearest), best == columns


def _left_as_class(
    inverse: Matrix,
    weights: Matrix,
    wanted: Matrix,
    columns: NDArray[np.int32],
    nearest: Matrix,
) -> Doubles:
    """Each class's phrasings as the router would see them had the class never been learned."""
    classes = wanted.shape[1] - 1
    rows: list[Doubles] = []
    for column in range(classes if classes > 1 else 0):
        members = np.flatnonzero(columns == column)
        block = inverse[np.ix_(members, members)]
        scores = wanted[members] - np.linalg.solve(block, weights[members])
        scores[:, column] = -np.inf
        best = scores[:, :classes].argmax(axis=1)
        rows.append(_signs(scores, best, nearest[members]))
    return np.concatenate(rows) if rows else np.zeros((0, 4))


def _signs(scores: Matrix, best: NDArray[np.intp], nearest: Matrix) -> Doubles:
    at = np.arange(len(best))
    score = scores[at, best].astype(np.float64)
    others = scores.copy()
    others[at, best] = -np.inf
    return np.stack(
        [
            np.ones(len(best)),
            score - others.max(axis=1),
            score,
            nearest[at, best].astype(np.float64),
        ],
        axis=1,
    )
