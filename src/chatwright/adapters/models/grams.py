"""Hashed n-grams of words and characters: what a text says on its surface, as sparse rows for linear heads.

Owns how a text is folded, cut into grams, hashed into buckets and weighed. The same code runs while training
(`training/`) and while reading: a head fits only the grams it was trained on, so a change here asks for new heads.
Called by the reader, the intents and the guard's model. CPU only: some 0.1 ms for a chat message.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import cast

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.embedder import Vectors

BUCKETS = 1 << 18
MAX_CHARACTERS = 2_000
"""Of each text's beginning: a head's cost grows with the text, its insight does not."""
_CHARACTER_GRAMS = (2, 3, 4, 5)
_LINK = re.compile(r"(?:https?://|www\.)\S+")
_MENTION = re.compile(r"(?<!\w)@\w+")
_DIGITS = re.compile(r"\d")
_RUN = re.compile(r"(.)\1{2,}")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[\w'’]+|[^\w\s]")
_MULTIPLIER = np.uint32(0x01000193)
_MIX = np.uint32(0x9E3779B1)
_SHIFT = np.uint32(32 - 18)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grams:
    """Sparse rows, one a text: row i holds `buckets[offsets[i]:offsets[i + 1]]`, each with its weight.

    `buckets`: int32 in 0..BUCKETS-1; `weights`: float32, the words' and the characters' part of a row of length 1 each;
    `offsets`: int64, shape (n + 1,).
    """

    buckets: NDArray[np.int32]
    weights: Vectors
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> "Grams":
        start, stop, _ = rows.indices(len(self))
        first, last = self.offsets[start], self.offsets[max(start, stop)]
        return Grams(
            buckets=self.buckets[first:last],
            weights=self.weights[first:last],
            offsets=self.offsets[start : max(start, stop) + 1] - first,
        )

    def times(self, table: NDArray[np.int8]) -> Vectors:
        """Each row times `table`, shape (BUCKETS, columns): shape (n, columns), in the table's units."""
        found = table[self.buckets] * self.weights[:, None]
        sums = np.zeros((len(self), table.shape[1]), np.float32)
        filled = np.flatnonzero(np.diff(self.offsets))
        if len(filled):
            sums[filled] = np.add.reduceat(found, self.offsets[filled], axis=0)
        return sums


def hash_grams(texts: Sequence[str]) -> Grams:
    """Cut, hash and weigh. A text without a letter still has its signs; an empty one gives an empty row."""
    weighing = _load_weighing()
    rows = [_row(text, weighing) for text in texts]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(buckets) for buckets, _ in rows], out=offsets[1:])
    if not rows:
        return Grams(buckets=np.zeros(0, np.int32), weights=np.zeros(0, np.float32), offsets=offsets)
    return Grams(
        buckets=np.concatenate([buckets for buckets, _ in rows]),
        weights=np.concatenate([weights for _, weights in rows]),
        offsets=offsets,
    )


def fold_text(text: str) -> str:
    """Lower case, one space, no more than two of a character in a row; links, mentions and digits each become one sign."""
    text = _LINK.sub(" ~ ", text[:MAX_CHARACTERS].casefold())
    text = _DIGITS.sub("0", _MENTION.sub(" @ ", text))
    return _SPACE.sub(" ", _RUN.sub(r"\1\1", text)).strip()


def split_words(folded: str) -> list[str]:
    """Words and single signs of a folded text, in order."""
    return _WORD.findall(folded)


def raw_buckets(text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The buckets of a text's word grams and of its character grams, repeated as they occur: what weighing is made of."""
    folded = fold_text(text)
    if not folded:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    words = np.fromiter(
        (zlib.crc32(word.encode("utf-8", "replace")) for word in ("", *split_words(folded), "")), np.uint32
    )
    word_grams = np.concatenate([words[1:-1] ^ np.uint32(1), words[:-1] * _MULTIPLIER + words[1:]])
    points = np.frombuffer(f" {folded} ".encode("utf-32-le", "replace"), np.uint32)
    character_grams: list[NDArray[np.uint32]] = []
    rolling = points * _MIX
    for size in range(2, _CHARACTER_GRAMS[-1] + 1):
        rolling = rolling[: len(points) - size + 1] * _MULTIPLIER + points[size - 1 :]
        if size in _CHARACTER_GRAMS:
            character_grams.append(rolling ^ np.uint32(size << 24))
    return _bucket(word_grams), _bucket(np.concatenate(character_grams))


def _row(text: str, weighing: Vectors) -> tuple[NDArray[np.int32], Vectors]:
    parts = [_weigh(raw, weighing) for raw in raw_buckets(text)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _weigh(raw: NDArray[np.int32], weighing: Vectors) -> tuple[NDArray[np.int32], Vectors]:
    if not len(raw):
        return raw, np.zeros(0, np.float32)
    buckets, counts = np.unique(raw, return_counts=True)
    weights = (1.0 + np.log(counts.astype(np.float32))) * weighing[buckets]
    return buckets, (weights / np.sqrt(weights @ weights)).astype(np.float32)


def _bucket(hashes: NDArray[np.uint32]) -> NDArray[np.int32]:
    mixed = (hashes ^ (hashes >> np.uint32(15))) * _MIX
    return (mixed >> _SHIFT).astype(np.int32)


@lru_cache(maxsize=1)
def _load_weighing() -> Vectors:
    """What a gram weighs by how rare it is, shape (BUCKETS,). In the file in sixteenths: written by `training/grams.py`."""
    with (resources.files("chatwright.adapters.models") / "data" / "gram_weights.npz").open("rb") as file:
        sixteenths = cast("NDArray[np.uint8]", np.load(file, allow_pickle=False)["sixteenths"])
    return sixteenths.astype(np.float32) / np.float32(16)
