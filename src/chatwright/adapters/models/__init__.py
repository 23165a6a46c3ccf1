"""Local models, off the event loop: the embedders (and, with the full profile, the reader)."""

from chatwright.adapters.models.embedder import Embedder, ModelUnavailable, Vectors
from chatwright.adapters.models.local import LocalEmbedders, LocalModel, open_embedder

__all__ = ["Embedder", "LocalEmbedders", "LocalModel", "ModelUnavailable", "Vectors", "open_embedder"]
