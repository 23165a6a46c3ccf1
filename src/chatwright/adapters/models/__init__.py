"""Local ONNX models, off the event loop: the embedder (and, with the full profile, the reader)."""

from chatwright.adapters.models.embedder import Embedder, Vectors, open_embedder

__all__ = ["Embedder", "Vectors", "open_embedder"]
