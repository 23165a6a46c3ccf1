"""A linear head: class probabilities of a text from the encoder's features and its n-grams, by plain arrays.

Owns the arithmetic and the file (an .npz without pickles: float16 weights of features, int8 weights of grams). Knows
nothing of what its classes mean. Trained by `training/`, used by the reader, the intents and the guard's model.
"""

from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.embedder import Vectors
from chatwright.adapters.models.grams import BUCKETS, Grams


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearHead:
    """`dense`: float32, shape (F, classes). `grams`: int8, shape (BUCKETS, classes), in steps of `gram_step` (float32,
    shape (classes,)). `bias`: float32, shape (classes,). `temperature` divides the scores: 1 leaves them as they are.

    Either part may be empty (0 rows): the head then takes None for it. Features beyond the F first ones are not looked at:
    new columns are only ever added behind the old ones.
    """

    classes: tuple[str, ...]
    dense: Vectors
    grams: NDArray[np.int8]
    gram_step: Vectors
    bias: Vectors
    temperature: float = 1.0

    def scores(self, dense: Vectors | None, grams: Grams | None) -> Vectors:
        """Shape (n, classes), before softmax. Raises ValueError if a part is missing that the head was trained with."""
        total = self.bias
        if len(self.dense):
            if dense is None:
                raise ValueError("this head needs the encoder's features")
            total = total + dense[:, : len(self.dense)] @ self.dense
        if len(self.grams):
            if grams is None:
                raise ValueError("this head needs n-grams")
            total = total + grams.times(self.grams) * self.gram_step
        return np.asarray(np.atleast_2d(total), np.float32)

    def probabilities(self, dense: Vectors | None, grams: Grams | None) -> Vectors:
        """Shape (n, classes), rows sum to 1, calibrated as far as `temperature` is. Raises ValueError as `scores`."""
        return softmax(self.scores(dense, grams) / self.temperature)

    def save(self, file: IO[bytes]) -> None:
        """Write the head; `load` gives it back with float16 weights of features."""
        np.savez_compressed(
            file,
            classes=np.array(self.classes),
            dense=self.dense.astype(np.float16),
            grams=self.grams,
            gram_step=self.gram_step,
            bias=self.bias,
            temperature=np.float32(self.temperature),
        )

    @classmethod
    def load(cls, file: IO[bytes]) -> "LinearHead":
        """Raises ValueError or KeyError if the file is no head."""
        arrays = cast("dict[str, NDArray[Any]]", np.load(file, allow_pickle=False))
        return cls(
            classes=tuple(str(name) for name in arrays["classes"]),
            dense=arrays["dense"].astype(np.float32),
            grams=arrays["grams"],
            gram_step=arrays["gram_step"],
            bias=arrays["bias"],
            temperature=float(arrays["temperature"]),
        )

    @classmethod
    def of(
        cls,
        classes: tuple[str, ...],
        *,
        dense: Vectors | None,
        grams: Vectors | None,
        bias: Vectors,
        temperature: float,
    ) -> "LinearHead":
        """A head of trained weights, quantised: `dense` (F, classes), `grams` (BUCKETS, classes), either None."""
        step = np.ones(len(classes), np.float32)
        steps: NDArray[np.int8] = np.zeros((0, len(classes)), np.int8)
        if grams is not None:
            if len(grams) != BUCKETS:
                raise ValueError(f"weights of {BUCKETS} buckets wanted, got {len(grams)}")
            step = np.maximum(np.abs(grams).max(axis=0) / 127, 1e-12).astype(np.float32)
            steps = np.rint(grams / step).astype(np.int8)
        if dense is None:
            dense = np.zeros((0, len(classes)), np.float32)
        return cls(
            classes=classes,
            dense=dense.astype(np.float16).astype(np.float32),
            grams=steps,
            gram_step=step,
            bias=bias.astype(np.float32),
            temperature=temperature,
        )


def softmax(scores: Vectors) -> Vectors:
    """Row by row, safe for large scores."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
