"""Sentiment and emotion of texts: two linear heads over the encoder's features, n-grams and the lexicon's counts.

Owns what their probabilities mean and when they abstain. Trained by `python -m training.sentiment`; what they were
measured at stands in docs/reference/reader.md. Called by `reader.py`; pure but for `load`, which reads the heads' files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import cast, get_args

import numpy as np

from chatwright.adapters.models.embedder import Vectors
from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.grams import Grams
from chatwright.adapters.models.linear import LinearHead
from chatwright.domain.reading import Emotion, Sentiment
from chatwright.features.analysis.rules import weigh

LEAST_EMOTION = 0.45
"""Probability below which no emotion is named. Chosen on fold 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """Each score is the probability of its label. Abstaining is `neutral` or `none`, with the probability of that."""

    sentiment: Sentiment
    sentiment_score: float
    emotion: Emotion
    emotion_score: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SentimentHead:
    """Unchangeable, shared by all threads. Made by `load`."""

    sentiment: LinearHead
    emotion: LinearHead

    @classmethod
    def load(cls) -> "SentimentHead":
        """The heads that ship, 20 ms. Raises ValueError or KeyError if a file is none."""
        head = cls(sentiment=_load("sentiment"), emotion=_load("emotion"))
        if set(head.sentiment.classes) != set(get_args(Sentiment)) or set(head.emotion.classes) != set(
            get_args(Emotion)
        ):
            raise ValueError("the sentiment heads name other labels than the program; reinstall chatwright")
        return head

    def read(self, texts: Sequence[str], encoded: Encoded, grams: Grams) -> list[Tone]:
        """One a text. `encoded` and `grams` are of the same texts, in the same order."""
        columns = stack(texts, encoded)
        sentiments = self.sentiment.probabilities(columns, grams)
        emotions = self.emotion.probabilities(columns, grams)
        return [self._tone(*rows) for rows in zip(sentiments, emotions, strict=True)]

    def _tone(self, sentiments: Vectors, emotions: Vectors) -> Tone:
        feeling, emotion = int(np.argmax(sentiments)), int(np.argmax(emotions))
        if emotions[emotion] < LEAST_EMOTION:
            emotion = self.emotion.classes.index("none")
        return Tone(
            sentiment=cast("Sentiment", self.sentiment.classes[feeling]),
            sentiment_score=float(sentiments[feeling]),
            emotion=cast("Emotion", self.emotion.classes[emotion]),
            emotion_score=float(emotions[emotion]),
        )


def stack(texts: Sequence[str], encoded: Encoded) -> Vectors:
    """The columns that the heads were trained on, shape (n, SURFACES + F): the lexicon's counts, then the encoder's."""
    surfaces = np.array([weigh(text).row for text in texts], np.float32)
    return np.concatenate([surfaces, encoded.features], axis=1)


def _load(name: str) -> LinearHead:
    with (resources.files("chatwright.features.analysis") / "data" / f"{name}.npz").open("rb") as file:
        return LinearHead.load(file)
