"""A logistic function of a few signs, fitted near a prior: how sure a small model may be. Pure.

Used where verdicts are few and something is known before the first of them: by the cache's router and by custom intents.
"""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_STEPS = 20
_STILL = 1e-6


def probability(signs: Doubles, coefficients: Doubles) -> Doubles:
    """Shape (n,) for `signs` of shape (n, k)."""
    return 1.0 / (1.0 + np.exp(-np.clip(signs @ coefficients, -30, 30)))


def fit_near(signs: Doubles, told: NDArray[np.bool_], weight: Doubles, *, prior: Doubles, trust: float) -> Doubles:
    """The coefficients, shape (k,), that explain `told` best, held near `prior` by `trust` (in verdicts).

    `weight`: how much each of the n verdicts counts. Newton's steps; one that overshoots is halved.
    """
    hold = trust * np.eye(signs.shape[1])

    def loss(at: Doubles) -> float:
        logit = np.clip(signs @ at, -30, 30)
        away = at - prior
        return float(weight @ (np.logaddexp(0.0, logit) - told * logit) + away @ hold @ away / 2)

    found: Doubles = prior.copy()
    least = loss(found)
    for _ in range(_STEPS):
        said = probability(signs, found)
        slope = signs.T @ (weight * (told - said)) - hold @ (found - prior)
        bend = (signs * (weight * said * (1 - said))[:, None]).T @ signs + hold
        step: Doubles = np.linalg.solve(bend, slope).astype(np.float64)
        while (reached := loss(found + step)) > least and np.abs(step).max() > _STILL:
            step = step / 2
        if reached > least or np.abs(step).max() < _STILL:
            break
        found, least = found + step, reached
    return found
