"""What OpenAI-compatible servers answer to a request for embeddings.

Pure, no connection. Vectors come as numbers, or as base64 where a host sends nothing else. Called by `openai_chat.py`.
"""

import sys
from array import array
from base64 import b64decode
from math import isfinite

import msgspec

from chatwright.adapters.providers.base import Embeddings, Unreadable
from chatwright.adapters.providers.openai_reading import WireUsage, normal_usage


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int | None = None


class _EmbeddingsAnswer(msgspec.Struct):
    data: list[_Vector]
    model: str | None = None
    usage: WireUsage | None = None


_LARGEST = 1e4
_embeddings_decoder = msgspec.json.Decoder(_EmbeddingsAnswer)


def read_embeddings(data: bytes, count: int) -> Embeddings:
    """The vectors in the order of the texts. Raises Unreadable unless there are `count` of them, of one size."""
    try:
        answer = _embeddings_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("not an embeddings answer") from error
    found = answer.data
    if all(vector.index is not None for vector in found):
        found = sorted(found, key=lambda vector: vector.index or 0)
    vectors = [_numbers(vector.embedding) for vector in found]
    if len(vectors) != count or len({len(vector) for vector in vectors}) > 1 or not all(vectors):
        raise Unreadable(f"{len(vectors)} vectors for {count} texts")
    return Embeddings(vectors=vectors, usage=normal_usage(answer.usage), model=answer.model)


def _numbers(vector: list[float] | str) -> list[float]:
    """One vector. As base64 it holds 32-bit floats (OpenAI), or bytes (Perplexity sends nothing else). Raises Unreadable.

    Which of the two is seen by the numbers: bytes read as floats are huge or none at all, floats of a vector are small.
    """
    if not isinstance(vector, str):
        return vector
    try:
        raw = b64decode(vector, validate=True)
    except ValueError as error:
        raise Unreadable("a vector that is neither numbers nor base64") from error
    if len(raw) % 4 == 0:
        floats = array("f", raw)
        if sys.byteorder == "big":
            floats.byteswap()
        if all(isfinite(number) and abs(number) < _LARGEST for number in floats):
            return floats.tolist()
    return [float(number) for number in array("b", raw)]
