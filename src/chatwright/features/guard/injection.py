"""The model that reads a text for an attack: linear heads on the encoder's features, on n-grams and on what the rules found.

Three heads: of messages; of documents, where any order to the reader is out of place; and one without the encoder, for
when that cannot be had. Trained by `training/injection.py`. CPU only, some 0.5 ms a message beside the encoder's pass.
Called by the flows that judge a turn, scan a document or analyse a text, in the process that holds the embedder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.grams import hash_grams
from chatwright.adapters.models.linear import LinearHead
from chatwright.domain.guard import Finding
from chatwright.features.guard.signals import as_features, find_signals

FEATURES = 7 * 384
"""Of `Encoded.features` the columns that the heads were trained on: the layers' means and the last layer's largest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InjectionModel:
    """Probabilities are calibrated so that 0.5 is the threshold which was chosen on the validation fold: about one honest
    message in a hundred reaches it."""

    message: LinearHead
    document: LinearHead
    words: LinearHead

    @classmethod
    def load(cls) -> "InjectionModel":
        """Reads the shipped heads, some 30 ms. Raises OSError, ValueError or KeyError if they are broken."""
        heads: dict[str, LinearHead] = {}
        for name in ("message", "document", "words"):
            with (resources.files("chatwright.features.guard") / "data" / f"injection_{name}.npz").open("rb") as file:
                heads[name] = LinearHead.load(file)
        return cls(**heads)

    def score(
        self,
        texts: Sequence[str],
        encoded: Encoded | None,
        *,
        findings: Sequence[Sequence[Finding]] | None = None,
        document: bool = False,
    ) -> list[float]:
        """How probable an attack is in each text, in 0..1. `encoded`: of these texts, None if there is no encoder.

        Callers pass windows of long texts (`windows.windows`) and take the largest. `findings`: what `find_signals` gave
        for each text, if it ran already. `document`: the texts are of a letter, a page or a row, not a visitor's; there what
        the rules come to is the least that the score can be.
        """
        if not texts:
            return []
        seen = findings if findings is not None else [find_signals(text) for text in texts]
        signals = np.stack([as_features(found) for found in seen])
        grams = hash_grams(texts)
        if encoded is None:
            odds = self.words.probabilities(signals, grams)
        else:
            head = self.document if document else self.message
            odds = head.probabilities(np.concatenate([encoded.features[:, :FEATURES], signals], axis=1), grams)
        # In a document rules may err on the safe side: nobody is refused over it, and polite orders have few other marks.
        values = np.maximum(odds[:, 1], signals[:, -1]) if document else odds[:, 1]
        return [float(value) for value in values]
