"""How sure a model of custom intents may be, told by what it would have said of its examples without having seen them. Pure.

A confidence is a logistic function of a few signs: margin, score, likeness to the nearest example. Used by `custom.py`.
"""

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.logistic import Doubles, fit_near

PRIOR: Doubles = np.array([-4.5, 5.0, 4.0, 4.0])
"""Of the logistic function: constant, margin, score, nearest. From episodes of CLINC150's training rows."""
_TRUST = 0.5
"""How firmly the prior holds, in verdicts: a few examples barely move it."""
NOVEL_SHARE = 0.3
"""Of the messages, so many are counted as having none of the intents; most such messages are told apart more easily than
an intent that was left out."""


def fit_confidence(signs: Doubles, right: NDArray[np.bool_], novel: Doubles) -> Doubles:
    """The coefficients that explain which verdicts were right, held near the prior.

    `signs`: shape (n, 4), of examples left out; `right`: whether each was named right; `novel`: signs of examples whose
    intent was left out, which cannot be right.
    """
    everything = np.concatenate([signs, novel])
    told = np.concatenate([right, np.zeros(len(novel), np.bool_)])
    share = NOVEL_SHARE / (1 - NOVEL_SHARE) * len(signs) / max(1, len(novel))
    weight = np.concatenate([np.ones(len(signs)), np.full(len(novel), share)])
    return fit_near(everything, told, weight, prior=PRIOR, trust=_TRUST)
