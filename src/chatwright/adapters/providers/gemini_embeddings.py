"""What Gemini and Vertex AI are asked for embeddings: which method, with which body, for which texts. Pure.

Called by `gemini.py`; `gemini_reading.py` reads the answers.
"""

from collections.abc import Sequence
from typing import Any

from chatwright.adapters.providers.base import EmbeddingTask

MAX_BATCH = 100
"""Texts of one embeddings request; what Gemini takes, and below Vertex AI's 250."""
_TASKS: dict[EmbeddingTask, str] = {"query": "RETRIEVAL_QUERY", "passage": "RETRIEVAL_DOCUMENT"}

EmbeddingCall = tuple[str, dict[str, Any], Sequence[str]]
"""Method, request body, and the texts that it holds."""


def embedding_calls(
    model: str,
    texts: Sequence[str],
    *,
    vertex: bool,
    dimensions: int | None = None,
    task: EmbeddingTask | None = None,
) -> list[EmbeddingCall]:
    """Each call that the texts need."""
    name = model.rpartition("/")[2]
    wish: dict[str, Any] = {}
    if task is not None:
        wish["taskType"] = _TASKS[task]
    if dimensions is not None:
        wish["outputDimensionality"] = dimensions
    if vertex and ("gemini" in name or "maas" in name):
        # These take one text a request.
        more = {"embedContentConfig": wish} if wish else {}
        return [("embedContent", {"content": _content(text), **more}, [text]) for text in texts]
    batches = [texts[start : start + MAX_BATCH] for start in range(0, len(texts), MAX_BATCH)]
    if vertex:
        each = {"task_type": _TASKS[task]} if task is not None else {}
        more = {"parameters": {"outputDimensionality": dimensions}} if dimensions is not None else {}
        return [
            ("predict", {"instances": [{"content": text, **each} for text in batch], **more}, batch)
            for batch in batches
        ]
    named = model if "/" in model else f"models/{model}"
    return [
        (
            "batchEmbedContents",
            {"requests": [{"model": named, "content": _content(text), **wish} for text in batch]},
            batch,
        )
        for batch in batches
    ]


def _content(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}
