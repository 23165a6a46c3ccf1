"""What one pass of the English model gives of a batch of texts: their vectors, and what the reading heads look at.

Made by `minilm.py` through `LocalEmbedders.encode`; read by retrieval and the caches (`vectors`), by the reader, the
intents and the guard's model (`features`).
"""

from dataclasses import dataclass

from chatwright.adapters.models.embedder import Vectors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded:
    """`vectors`: float32, shape (n, 384), unit rows, the same that `embed` gives. `features`: float32, shape (n, F), in
    the order of the columns that the heads were trained on. A slice holds views of the same arrays."""

    vectors: Vectors
    features: Vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice) -> "Encoded":
        return Encoded(vectors=self.vectors[rows], features=self.features[rows])
