"""How sure a model of custom intents may be, told by what it would have said of its examples without having seen them. Pure.

A confidence is a logistic function of a few signs: margin, score, likeness to the nearest example. Used by `custom.py`.
"""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

PRIOR: Doubles = np.array([-4.5, 5.0, 4.0, 4.0])
"""Of the logistic function: constant, margin, score, nearest. From episodes of CLINC150's training rows."""
_TRUST = 0.5
"""How firmly the prior holds, in verdicts: a few examples barely move it."""
NOVEL_SHARE = 0.3
"""Of the messages, so many are counted as having none of the intents; most such messages are told apart more easily than
an intent that was left out."""
_STEPS = 20


def confidence_of(signs: Doubles, calibration: Doubles) -> Doubles:
    return 1.0 / (1.0 + np.exp(-np.clip(signs @ calibration, -30, 30)))


def fit_confidence(signs: Doubles, right: NDArray[np.bool_], novel: Doubles) -> Doubles:
    """The coefficients that explain which verdicts were right, held near the prior.

    `signs`: shape (n, 4), of examples left out; `right`: whether each was named right; `novel`: signs of examples whose
    intent was left out, which cannot be right. Newton's steps; one that overshoots is halved.
    """
    everything = np.concatenate([signs, novel])
    told = np.concatenate([right, np.zeros(len(novel), np.bool_)])
    share = NOVEL_SHARE / (1 - NOVEL_SHARE) * len(signs) / max(1, len(novel))
    weight = np.concatenate([np.ones(len(signs)), np.full(len(novel), share)])
    trust = _TRUST * np.eye(signs.shape[1])

    def loss(at: Doubles) -> float:
        logit = np.clip(everything @ at, -30, 30)
        away = at - PRIOR
        return float(weight @ (np.logaddexp(0.0, logit) - told * logit) + away @ trust @ away / 2)

    found: Doubles = PRIOR.copy()
    least = loss(found)
    for _ in range(_STEPS):
        said = confidence_of(everything, found)
        slope = everything.T @ (weight * (told - said)) - trust @ (found - PRIOR)
        bend = (everything * (weight * said * (1 - said))[:, None]).T @ everything + trust
        step: Doubles = np.linalg.solve(bend, slope).astype(np.float64)
        while (reached := loss(found + step)) > least and np.abs(step).max() > 1e-6:
            step = step / 2
        if reached > least or np.abs(step).max() < 1e-6:
            break
        found, least = found + step, reached
    return found
