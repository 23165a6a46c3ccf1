"""What other caches would have done with the same stream and the same vectors, in memory.

- Similarity, as GPTCache has it: the nearest cached question's answer is served above one fixed cosine. The threshold is
  chosen on the development fold.
- A threshold for each entry, in the manner of vCache: each cached answer learns from its own checked hits from which
  cosine on it is right, and is served only where that is sure enough; else the provider answers, which is the next check.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.cache.streams import Asked

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Served:
    """What became of one question: "hit", "check" (the provider was asked although there was an answer), "miss"; `right`:
    the cached answer's class was the question's."""

    kind: str
    right: bool


def by_similarity(asked: Sequence[Asked], vectors: Vectors, threshold: float) -> list[Served]:
    """Every question once; misses are cached."""
    kept = np.empty_like(vectors)
    labels: list[str] = []
    found: list[Served] = []
    for one, vector in zip(asked, vectors, strict=True):
        if labels:
            likeness = kept[: len(labels)] @ vector
            best = int(likeness.argmax())
            if likeness[best] >= threshold:
                found.append(Served("hit", labels[best] == one.label))
                continue
        kept[len(labels)] = vector
        labels.append(one.label)
        found.append(Served("miss", False))
    return found


def choose_threshold(asked: Sequence[Asked], vectors: Vectors, *, precision: float) -> float:
    """The lowest cosine at which the development fold's stream is served so precisely."""
    for threshold in np.arange(0.70, 1.0, 0.01):
        hits = [one for one in by_similarity(asked, vectors, float(threshold)) if one.kind == "hit"]
        if hits and np.mean([one.right for one in hits]) >= precision:
            return float(threshold)
    return 1.0


def by_entry(asked: Sequence[Asked], vectors: Vectors, *, max_error: float, seed: int) -> list[Served]:
    """A logistic curve for each entry over its (cosine, right) pairs, served where its lower bound is above 1 - max_error;
    otherwise explored with the probability that keeps the expected error under the bound."""
    random = np.random.default_rng(seed)
    kept = np.empty_like(vectors)
    labels: list[str] = []
    pairs: list[list[tuple[float, bool]]] = []
    found: list[Served] = []
    for one, vector in zip(asked, vectors, strict=True):
        best = -1
        if labels:
            likeness = kept[: len(labels)] @ vector
            best = int(likeness.argmax())
            sure = _sure(pairs[best], float(likeness[best]))
            # Served with this probability, the expected share of wrong answers is at most the bound.
            share = 1.0 if sure >= 1 - max_error else max_error / max(1e-9, 1 - sure)
            right = labels[best] == one.label
            if sure > 0 and random.random() < share:
                found.append(Served("hit", right))
                continue
            pairs[best].append((float(likeness[best]), right))
            if right:
                found.append(Served("check", True))
                continue
        kept[len(labels)] = vector
        labels.append(one.label)
        pairs.append([])
        found.append(Served("check" if best >= 0 and pairs[best] else "miss", False))
    return found


def _sure(pairs: Sequence[tuple[float, bool]], cosine: float) -> float:
    """A cautious estimate (posterior mean less one deviation) that the entry is right at this cosine; 0: not known yet.

    Of the pairs at or below it the right ones speak for it, of those at or above it the wrong ones against it.
    """
    good = sum(1 for at, right in pairs if right and at <= cosine + 0.02)
    bad = sum(1 for at, right in pairs if not right and at >= cosine - 0.02)
    if good + bad < 3:
        return 0.0
    mean = (good + 1) / (good + bad + 2)
    return max(0.0, mean - (mean * (1 - mean) / (good + bad + 3)) ** 0.5)
