"""The port of the embedders: texts to vectors. Implemented by the local models beside this file, and over the providers by
`pipeline/embedding.py`; used by the flows that index and search.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chatwright.domain.errors import Unavailable

Vectors = NDArray[np.float32]

MAX_CHARACTERS = 16_384
"""Local models cut texts here before tokenizing: the 256 or 512 tokens that they read are some 1,200 or 2,500
characters of prose."""


class ModelUnavailable(Unavailable):
    """The model's files are missing or do not load; the message says how to mend it."""

    code = "model_unavailable"


class Embedder(Protocol):
    """Turns texts into unit vectors of one space: vectors of two embedders are never compared."""

    @property
    def name(self) -> str:
        """What a knowledge base holds as its embedder."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """What the model reads of one text; the rest is cut, or refused by a provider."""
        ...

    @property
    def languages(self) -> frozenset[str] | None:
        """ISO 639-1 codes of the languages that it was made for; None: many."""
        ...

    async def embed(self, texts: Sequence[str], *, bulk: bool = False) -> Vectors:
        """Vectors of passages: shape (len(texts), dimension), float32, each row of length 1, in the order of `texts`.

        A row does not depend on what else is in the batch. `bulk` marks documents: they yield to every caller that does
        not set it. Raises ModelUnavailable (local) or ProviderError and RateLimited (providers). A cancelled call gives
        up what has not started.
        """
        ...

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of questions, to be compared with those of passages; as `embed` otherwise.

        Raises ModelUnavailable or ProviderError: a search then goes on without vectors.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` as `max_tokens` counts them, estimated for providers. CPU on the caller's thread."""
        ...


def encodable(text: str) -> str:
    """The text as valid Unicode: tokenizers take nothing else."""
    return text.encode("utf-8", "replace").decode("utf-8")
