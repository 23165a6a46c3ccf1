"""A question's words and letters as a short dense vector: what an embedding blurs ("top up" or "top-up limit"). Pure.

Word uni- and bigrams and character n-grams are weighed by TF-IDF and folded by signed hashing, so the inner product of
two vectors is about the cosine of their n-grams. Used by `router.py`.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint32]

WIDTH = 128
"""Dimensions of each of the two halves."""
BUCKETS = 1 << 14
"""Of the document frequencies: n-grams that share one share its weight."""
LONGEST = 400
"""Characters that are read of a question."""
_WORD = re.compile(r"\w+")


class Grams:
    """Document frequencies of n-grams, learned from questions; turns questions into vectors of `2 * WIDTH` floats."""

    def __init__(self, idf: Floats) -> None:
        """`idf`: shape (2, BUCKETS), for words and for letters."""
        self.idf = idf

    @classmethod
    def learn(cls, hashed: "Sequence[tuple[Hashes, Hashes]]") -> "Grams":
        """`hashed`: what `hashes` gave for each question."""
        seen = np.zeros((2, BUCKETS), np.float32)
        for halves in hashed:
            for row, half in enumerate(halves):
                seen[row, np.unique(half % BUCKETS)] += 1
        return cls((np.log((1 + len(hashed)) / (1 + seen)) + 1).astype(np.float32))

    def vector(self, halves: tuple[Hashes, Hashes]) -> Floats:
        """Shape (2 * WIDTH,); each half has length 1, or 0 where there is nothing to read."""
        out = np.zeros(2 * WIDTH, np.float32)
        for row, half in enumerate(halves):
            if not len(half):
                continue
            grams, counts = np.unique(half, return_counts=True)
            weights = (1 + np.log(counts)) * self.idf[row, grams % BUCKETS]
            signed = np.where(grams & 0x80000000, -weights, weights)
            folded = np.bincount((grams >> 14) % WIDTH, weights=signed, minlength=WIDTH)
            out[row * WIDTH : (row + 1) * WIDTH] = folded / (np.linalg.norm(folded) or 1.0)
        return out


def hashes(text: str) -> tuple[Hashes, Hashes]:
    """The n-grams of a question's words and of its letters, with repeats."""
    words = _WORD.findall(text[:LONGEST].casefold())
    pairs = [f"{left} {right}" for left, right in pairwise(words)]
    letters = [
        padded[at : at + size]
        for padded in (f" {word} " for word in words)
        for size in (3, 4, 5)
        for at in range(max(1, len(padded) - size + 1))
    ]
    return _hashed([*words, *pairs]), _hashed(letters)


def _hashed(grams: Sequence[str]) -> Hashes:
    found: list[Any] = [crc32(gram.encode("utf-8", "replace")) for gram in grams]
    return np.array(found, np.uint32)
