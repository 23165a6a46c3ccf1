"""How a text's parts (vector, inner layers, n-grams) are weighed into one likeness: a few mixes, of which the examples of a
chatbot choose. Pure.

What tells intents apart differs from chatbot to chatbot. Where all is about one matter (seventy questions on cards) the
vector tells most; where intents are about many matters, two inner layers and the n-grams tell more, which know of words and their
order what the vector has let go. Used by `custom.py`, which tries the mixes on examples left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.embedder import Vectors
from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.grams import Grams

GRAM_WIDTH = 512
_WIDTH = 384
_DRAW = np.uint32(2_654_435_761)
_MOST_CENTRED = 200
_SHARPNESS = (3.0, 5.0, 8.0, 12.0, 18.0, 27.0)
"""By which scores become probabilities before they are compared: the kindest counts, of each mix its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Weights in the likeness, beside 1 for the vector: `layers` are (layer of `Encoded.features`, weight), 1 to 6 the means
    of the tokens after each layer and 7 the largest values of the last."""

    layers: tuple[tuple[int, float], ...]
    grams: float


MIXES = (
    Mix(layers=((2, 0.3), (5, 0.3)), grams=0.3),
    Mix(layers=((7, 0.5),), grams=0.1),
    Mix(layers=((7, 0.5),), grams=0.2),
    Mix(layers=((5, 0.15),), grams=0.1),
)
"""The first is for those who have too few examples to choose, or so many that it matters little. More of the inner layers named CLINC150's intents a little
better, and took more strangers for them (fold 1 and `clinc150/oos_train`)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Joining:
    """Makes one vector of a text's parts. `centre`: shape (384,), of the vectors; `scales`: shape (layers, 2, 384), mean and
    spread of each column of the mix's layers."""

    mix: Mix
    centre: Vectors
    scales: Vectors

    @classmethod
    def learn(cls, mix: Mix, encoded: Encoded) -> "Joining":
        """From the examples of messages."""
        scales = [_scale(encoded.features[:, _columns(layer)]) for layer, _ in mix.layers]
        return cls(mix=mix, centre=_centre(encoded.vectors), scales=np.stack(scales))

    def join(self, encoded: Encoded, folded: Vectors) -> Vectors:
        """One vector a text, whose inner products are likenesses, at most 1. `folded`: n-grams, as `fold_grams` gives."""
        total = 1.0 + sum(weight for _, weight in self.mix.layers) + self.mix.grams
        parts = [total**-0.5 * _unit(encoded.vectors - self.centre)]
        for (layer, weight), (mean, spread) in zip(self.mix.layers, self.scales, strict=True):
            parts.append((weight / total) ** 0.5 * _unit((encoded.features[:, _columns(layer)] - mean) / spread))
        parts.append((self.mix.grams / total) ** 0.5 * folded)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "mix": np.array([1.0, self.mix.grams, *(weight for _, weight in self.mix.layers)]),
            "layers": np.array([layer for layer, _ in self.mix.layers], np.int32),
            "centre": self.centre,
            "scales": self.scales,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "Joining":
        weights = arrays["mix"].tolist()
        layers = zip(arrays["layers"].tolist(), weights[2:], strict=True)
        return cls(mix=Mix(layers=tuple(layers), grams=weights[1]), centre=arrays["centre"], scales=arrays["scales"])


def fold_grams(grams: Grams) -> Vectors:
    """N-grams by signed hashing into GRAM_WIDTH floats, unit rows: inner products stay about what they were."""
    mixed = grams.buckets.astype(np.uint32) * _DRAW
    signed = np.where(mixed & 0x80000000, -grams.weights, grams.weights)
    rows = np.repeat(np.arange(len(grams)), np.diff(grams.offsets))
    places = rows * GRAM_WIDTH + ((mixed >> np.uint32(8)) % np.uint32(GRAM_WIDTH)).astype(np.int64)
    folded = np.bincount(places, weights=signed, minlength=len(grams) * GRAM_WIDTH)
    return _unit(folded.reshape(len(grams), GRAM_WIDTH).astype(np.float32))


def surprise(scores: Vectors, columns: NDArray[np.int32]) -> float:
    """How little the scores of examples left out, shape (n, intents), foretell their intents: mean negative log probability,
    at the sharpness that is kindest to them."""
    own = scores[np.arange(len(columns)), columns]
    return min(
        float((np.logaddexp.reduce(sharpness * scores, axis=1) - sharpness * own).mean()) for sharpness in _SHARPNESS
    )


def draw_evenly(columns: NDArray[np.int32], count: int) -> NDArray[np.intp]:
    """Places of at most `count` examples, ascending, by the same bound for each intent."""
    if len(columns) <= count:
        return np.arange(len(columns))
    drawn = (np.arange(len(columns), dtype=np.uint32) * _DRAW).argsort(kind="stable")
    turn = np.zeros(len(columns), np.int64)
    for column in np.unique(columns):
        members = drawn[columns[drawn] == column]
        turn[members] = np.arange(len(members))
    return np.sort(np.lexsort((np.arange(len(columns)), turn))[:count])


def _columns(layer: int) -> slice:
    return slice((layer - 1) * _WIDTH, layer * _WIDTH)


def _centre(vectors: Vectors) -> Vectors:
    """Of a few examples, the mean is what they are about, and stays."""
    return (vectors.mean(axis=0) * min(1.0, len(vectors) / _MOST_CENTRED)).astype(np.float32)


def _scale(features: Vectors) -> Vectors:
    """Mean and spread of each column, (2, columns)."""
    spread = features.std(axis=0)
    return np.stack([features.mean(axis=0), np.maximum(spread, spread.mean() / 4 + 1e-3)]).astype(np.float32)


def _unit(rows: Vectors) -> Vectors:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
