"""The keyword half of a search as numbers: BM25 as one inner product of two sparse vectors. Pure.

A chunk's vector holds for each of its terms how much the term says about it (saturating with repeats, less in a long
chunk), a question's vector holds how rare its terms are in the knowledge base: their product is BM25. Written when a
chunk is stored, read by `search.py`.
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from chatwright.domain.terms import is_run, runs_of

DIMENSIONS = 1_000_000_000  # the most that pgvector's sparsevec takes; two terms share a number once in 10⁹ pairs

K1 = 1.2
B = 0.75
# The length that counts as usual. A constant, not the base's average: then no stored weight depends on other chunks, and
# chunks are of like length anyway, because all are packed up to the same bound.
USUAL_TERMS = 110
ENOUGH_RUNS = 0.5
MAX_TERMS = 8_000  # sparsevec stores 16,000 numbers; a chunk has some hundred


def keyword_text(*, title: str, heading: str, text: str) -> str:
    """What of a chunk is searched for words: its text under its title and headings."""
    return "\n".join(part for part in (title, heading, text) if part)


def keyword_vector(terms: Sequence[str]) -> str:
    """A chunk's terms (with repeats, of `index_terms`) as the text form of a sparsevec."""
    return _sparse(chunk_weights(terms))


def chunk_weights(terms: Sequence[str]) -> dict[int, float]:
    """What a chunk's terms say about it: BM25 without the rarity, by dimension."""
    length = sum(not is_run(term) for term in terms)
    shrink = K1 * (1 - B + B * length / USUAL_TERMS)
    counts: Counter[int] = Counter()
    for term, count in Counter(terms).most_common(MAX_TERMS):
        counts[dimension_of(term)] += count
    return {at: count * (K1 + 1) / (count + shrink) for at, count in counts.items()}


def rarity_of(documents: int, of: int) -> float:
    """BM25's inverse document frequency: of a term that stands in `documents` of `of` chunks. Never negative."""
    return math.log(1 + (max(0, of - documents) + 0.5) / (documents + 0.5))


def dimension_of(term: str) -> int:
    """The number of a term, 1 to 10⁹: stable for ever, it is stored."""
    return zlib.crc32(term.encode()) % DIMENSIONS + 1


def term_keys(knowledge_base_id: str, terms: Iterable[str]) -> list[int]:
    """Terms as the numbers of one knowledge base, ascending and distinct, in PostgreSQL's integer range.

    The same word has another number in every base, so an index over all bases finds chunks of one of them alone.
    """
    return sorted({key_of(knowledge_base_id, term) for term in terms})


def key_of(knowledge_base_id: str, term: str) -> int:
    return zlib.crc32(f"{knowledge_base_id}\0{term}".encode()) - 0x8000_0000


@dataclass(frozen=True, slots=True)
class Weighed:
    """A question's terms with what each says in the base: its weight in the question times how rare it is there."""

    values: Mapping[str, float]

    @property
    def total(self) -> float:
        """What BM25 gives a chunk of usual length that has each term once. Never 0."""
        return sum(self.values.values()) or 1.0

    def share(self, said: AbstractSet[str]) -> float:
        """How much of the question's words a chunk with the terms `said` has, 0..1.

        A word that is not there itself counts as far as its runs of letters are, from half of them on: "Frist" in
        "Rückgabefristen".
        """
        total = found = 0.0
        for term, value in self.values.items():
            if is_run(term):
                continue
            total += value
            if term in said:
                found += value
            elif (runs := runs_of(term)) and runs[0] in self.values:
                there = sum([run in said for run in runs]) / len(runs)
                found += value * there if there >= ENOUGH_RUNS else 0.0
        return found / (total or 1.0)


def _sparse(weights: Mapping[int, float]) -> str:
    return "{" + ",".join([f"{at}:{weights[at]:.4g}" for at in sorted(weights)]) + f"}}/{DIMENSIONS}"
