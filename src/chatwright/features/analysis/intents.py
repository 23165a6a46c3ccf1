"""Which of the twelve intents a message has: a linear head over the encoder's features and n-grams, calibrated.

Owns what its probabilities mean: below LEAST the head abstains and says `other`. What each label stands for is written in
training/labelled/README.md, the head is trained by `python -m training.intents`. Called by `reader.py`; pure but for
`load`, which reads the head's file.
"""

from dataclasses import dataclass
from importlib import resources
from typing import cast, get_args

import numpy as np

from chatwright.adapters.models.embedder import Vectors
from chatwright.adapters.models.grams import Grams
from chatwright.adapters.models.linear import LinearHead
from chatwright.domain.reading import Intent

LEAST = 0.3
"""Probability below which no intent is named. Chosen on the choosing third of the labelled messages."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntentHead:
    """Unchangeable, shared by all threads. Made by `load`."""

    head: LinearHead

    @classmethod
    def load(cls) -> "IntentHead":
        """The head that ships, 0.1 s. Raises ValueError or KeyError if the file is none."""
        file = resources.files("chatwright.features.analysis") / "data" / "intents.npz"
        with file.open("rb") as opened:
            head = LinearHead.load(opened)
        if set(head.classes) != set(get_args(Intent)):
            raise ValueError("the intent head names other intents than the program; reinstall chatwright")
        return cls(head=head)

    def read(self, features: Vectors, grams: Grams) -> list[tuple[Intent, float]]:
        """One (intent, its probability) for each row. `features`: as of `Encoded`; `grams`: of the same texts.

        Abstaining gives `other` with the probability of `other`, whatever that is.
        """
        return [self._verdict(row) for row in self.head.probabilities(features, grams)]

    def _verdict(self, probabilities: Vectors) -> tuple[Intent, float]:
        best = int(np.argmax(probabilities))
        if probabilities[best] < LEAST:
            best = self.head.classes.index("other")
        return cast("Intent", self.head.classes[best]), float(probabilities[best])
