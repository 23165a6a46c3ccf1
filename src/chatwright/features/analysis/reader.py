"""The reader: what each message reveals of its writer, by the local heads, and by word rules where the encoder is missing.

One `Reader` a process, opened by `app/services.py`. It costs CPU on the caller's thread: some 0.5 ms a message beyond
the encoder's pass, which the caller has made already for retrieval and the caches (`LocalEmbedders.encode`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.grams import hash_grams
from chatwright.domain.reading import Reading
from chatwright.features.analysis import rules
from chatwright.features.analysis.intents import IntentHead
from chatwright.features.analysis.sentiment import SentimentHead


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reader:
    """Unchangeable, shared by all threads. Made by `load`."""

    tones: SentimentHead
    intents: IntentHead

    @classmethod
    def load(cls) -> "Reader":
        """Read the heads' files, 0.1 s. Raises FileNotFoundError, ValueError or KeyError where the package is broken."""
        return cls(tones=SentimentHead.load(), intents=IntentHead.load())

    def read(self, texts: Sequence[str], encoded: Encoded | None) -> list[Reading]:
        """One reading a text, in order. `encoded`: the same texts through the encoder; None where it cannot be had.

        Without it labels come from word rules and all probabilities are None. A text without a letter is neutral or
        what its emoji say; nothing fails. Raises ValueError if there are not as many rows as texts.
        """
        if encoded is None:
            return [rules.read(text) for text in texts]
        if len(encoded) != len(texts):
            raise ValueError(f"{len(texts)} texts, but {len(encoded)} rows of the encoder")
        if not texts:
            return []
        grams = hash_grams(texts)
        tones = self.tones.read(texts, encoded, grams)
        intents = self.intents.read(encoded.features, grams)
        return [
            Reading(
                sentiment=tone.sentiment,
                sentiment_score=tone.sentiment_score,
                intent=intent,
                intent_confidence=confidence,
                emotion=tone.emotion,
                emotion_score=tone.emotion_score,
                by="local",
            )
            for tone, (intent, confidence) in zip(tones, intents, strict=True)
        ]
