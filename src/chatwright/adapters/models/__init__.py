"""Local models, off the event loop: the embedders (and, with the full profile, the reader)."""

from chatwright.adapters.models.embedder import Embedder, ModelUnavailable, Vectors
from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.grams import Grams, hash_grams
from chatwright.adapters.models.linear import LinearHead
from chatwright.adapters.models.local import LocalEmbedders, LocalModel, open_embedder

__all__ = [
    "Embedder",
    "Encoded",
    "Grams",
    "LinearHead",
    "LocalEmbedders",
    "LocalModel",
    "ModelUnavailable",
    "Vectors",
    "hash_grams",
    "open_embedder",
]
