"""Knowledge of any size, derived from real passages: their mixtures with noise as vectors, their sentences as texts.

Vectors: each document is a mixture of three real passages, each chunk of it lies around that mixture, moved along
differences between real passages, so that the noise has the shape of the real space and not that of a ball. Questions
are chunks moved by what lies between real questions and the passages that answer them. Texts are sentences of the same
passages; made-up names and codes, drawn by Zipf's law, stand for the rare words that a few hundred passages lack.
"""

import random
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.quality.articles import read_rows
from chatwright.adapters.models import LocalEmbedders
from chatwright.domain.language import split_sentences
from chatwright.domain.terms import index_terms, question_terms
from chatwright.features.knowledge import chunk_document
from chatwright.features.knowledge.keywords import K1, USUAL_TERMS, B, dimension_of, key_of
from chatwright.pipeline.demo import load_documentation

Matrix = NDArray[np.float32]

CHUNKS_PER_DOCUMENT = 20
SENTENCES = 6
LANGUAGE = "en"
QUESTIONS_EMBEDDED = 400
# Chosen so that two chunks of a document are as near as two paragraphs of one of XQuAD's articles (0.39 and 0.38).
ALIKE = 0.2  # share of a chunk that its whole document has
NOISE = 1.0  # length of the noise beside a mixture of length 1
NAMES = 300_000
_STARTS = [
    "ba",
    "be",
    "bo",
    "da",
    "de",
    "do",
    "fa",
    "fe",
    "ka",
    "ke",
    "ki",
    "ko",
    "la",
    "le",
    "li",
    "lo",
    "ma",
    "me",
    "mi",
    "mo",
    "na",
    "ne",
    "no",
    "pa",
    "pe",
    "po",
    "ra",
    "re",
    "ro",
    "sa",
    "se",
    "so",
    "ta",
    "te",
    "to",
    "va",
    "ve",
]
_ENDS = [
    "dor",
    "fen",
    "gal",
    "hym",
    "jun",
    "kos",
    "lex",
    "mar",
    "nix",
    "pol",
    "qua",
    "rin",
    "sta",
    "tur",
    "vin",
    "wex",
    "yar",
    "zed",
]
_COMMON = ("what", "is", "the", "how", "does", "of", "a", "to", "when", "which", "in")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Real passages: `vectors` (n, d); `offsets` (m, d): real questions minus the passages that answer them."""

    sentences: tuple[tuple[str, ...], ...]
    vectors: Matrix
    offsets: Matrix
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One chunk. `terms`: (dimension in the sparse vector, weight); `vector` as it is stored, half precision."""

    text: str
    vector: Matrix
    counts: Counter[str]


async def plant(embedder: LocalEmbedders, data: Path) -> Seeds:
    """Embed our own documentation and, where `data` has them, the passages and questions of XQuAD (English)."""
    passages: list[str] = []
    questions: list[tuple[str, int]] = []
    source = "our own documentation"
    if (data / "xquad_retrieval").is_dir():
        source += " and XQuAD's English passages"
        passages = [row["text"] for row in read_rows(data / "xquad_retrieval", "corpus.en")]
        rows = read_rows(data / "xquad_retrieval", "queries.en")
        questions = [(row["query"], row["doc"]) for row in rows[:: max(1, len(rows) // QUESTIONS_EMBEDDED)]]
    asked_headings = not questions
    for page in load_documentation():
        for chunk in chunk_document(page.text, "text/markdown", embedder.count_tokens, title=page.title):
            if asked_headings and chunk.heading.endswith("?"):
                questions.append((chunk.heading, len(passages)))
            passages.append(chunk.text)
    vectors = await embedder.embed(passages)
    asked = await embedder.embed_queries([text for text, _ in questions])
    return Seeds(
        sentences=tuple(
            tuple(part for line in passage.split("\n") for part in split_sentences(line)) or (passage,)
            for passage in passages
        ),
        vectors=vectors,
        offsets=asked - vectors[[at for _, at in questions]],
        source=source,
    )


class Corpus:
    """Makes chunks and questions, the same ones for the same `seed`."""

    def __init__(self, seeds: Seeds, *, seed: int) -> None:
        self._seeds = seeds
        self._random = np.random.default_rng(seed)
        self._choice = random.Random(seed)
        self._share = list(accumulate(1 / (rank + 10) for rank in range(NAMES)))

    def chunks(self, count: int) -> Iterator[Made]:
        """`count` chunks, document by document."""
        made = 0
        while made < count:
            batch = min(count - made, 100 * CHUNKS_PER_DOCUMENT)
            yield from self._batch(batch)
            made += batch

    def _batch(self, count: int) -> Iterator[Made]:
        seeds, rng = self._seeds, self._random
        documents = -(-count // CHUNKS_PER_DOCUMENT)
        parents = rng.integers(len(seeds.sentences), size=(documents, 3)).repeat(CHUNKS_PER_DOCUMENT, axis=0)[:count]
        alike = rng.dirichlet((1.0, 1.0, 1.0), size=documents).repeat(CHUNKS_PER_DOCUMENT, axis=0)[:count]
        weights = ALIKE * alike + (1 - ALIKE) * rng.dirichlet((0.7, 0.7, 0.7), size=count)
        mixed = np.einsum("nk,nkd->nd", weights.astype(np.float32), seeds.vectors[parents])
        vectors = _unit(_unit(mixed) + NOISE * self._noise(count))
        for at in range(count):
            yield self._worded(parents[at], weights[at], vectors[at])

    def _noise(self, count: int) -> Matrix:
        """Unit vectors along sums of differences between real passages: shape (count, d)."""
        rng, vectors = self._random, self._seeds.vectors
        ends = rng.integers(len(vectors), size=(2, 6, count))
        return _unit((vectors[ends[0]] - vectors[ends[1]]).sum(axis=0))

    def _worded(self, parents: NDArray[np.int64], weights: NDArray[np.float64], vector: Matrix) -> Made:
        choice, sentences = self._choice, self._seeds.sentences
        picked = [
            choice.choice(sentences[parent])
            for parent in choice.choices(parents.tolist(), weights.tolist(), k=SENTENCES)
        ]
        names = [_name(number) for number in choice.choices(range(NAMES), cum_weights=self._share, k=3)]
        picked.append(f"See {names[0]}, {names[1]} and {names[2]}.")
        counts: Counter[str] = Counter()
        for sentence in picked:
            counts.update(_terms(sentence))
        return Made(text=" ".join(picked), vector=vector, counts=counts)

    def question(self, made: Made) -> tuple[Matrix, dict[str, float]]:
        """A question that `made` answers: its vector (d,) and the terms of `question_terms`; one in five has a rare name."""
        choice = self._choice
        offset = self._seeds.offsets[choice.randrange(len(self._seeds.offsets))]
        words = made.text.split()
        names = words[-4:]
        inner = choice.choice(made.text.split(". ")[:-1] or [made.text]).split()
        start = choice.randrange(max(1, len(inner) - 5))
        asked = [*choice.sample(_COMMON, 3), *inner[start : start + 5]]
        if choice.random() < 0.2:
            asked.append(names[choice.randrange(2)])
        return _unit(made.vector + offset), question_terms(" ".join(asked), LANGUAGE)


def weigh(counts: Counter[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A chunk's sparse vector: its dimensions, ascending, and their weights; as `keywords.chunk_weights`."""
    by_dimension: dict[int, int] = {}
    for term, count in counts.items():
        at = _dimension(term)
        by_dimension[at] = by_dimension.get(at, 0) + count
    length = counts.total()
    shrink = K1 * (1 - B + B * length / USUAL_TERMS)
    at = np.fromiter(by_dimension, np.int64, len(by_dimension))
    count = np.fromiter(by_dimension.values(), np.float64, len(by_dimension))
    order = at.argsort()
    return at[order], (count * (K1 + 1) / (count + shrink))[order]


class Keys:
    """Terms as the numbers of one knowledge base, and in how many of its chunks each stands."""

    def __init__(self, knowledge_base_id: str) -> None:
        self._base = knowledge_base_id
        self._keys: dict[str, int] = {}
        self.documents: Counter[int] = Counter()

    def of(self, counts: Counter[str]) -> list[int]:
        keys = self._keys
        found: set[int] = set()
        for term in counts:
            key = keys.get(term)
            if key is None:
                key = keys[term] = key_of(self._base, term)
            found.add(key)
        self.documents.update(found)
        return sorted(found)


def halfvec(vector: NDArray[np.float16]) -> bytes:
    """A vector as PostgreSQL's COPY takes it, in binary."""
    return struct.pack("!hh", len(vector), 0) + vector.astype(">f2").tobytes()


def sparsevec(at: NDArray[np.int64], weights: NDArray[np.float64], dimensions: int) -> bytes:
    return (
        struct.pack("!iii", dimensions, len(at), 0) + (at - 1).astype(">i4").tobytes() + weights.astype(">f4").tobytes()
    )


def integers(values: Sequence[int]) -> bytes:
    head = struct.pack("!iiiii", 1, 0, 23, len(values), 1)
    pairs = np.empty((len(values), 2), ">i4")
    pairs[:, 0] = 4
    pairs[:, 1] = values
    return head + pairs.tobytes()


@lru_cache(maxsize=50_000)
def _terms(sentence: str) -> tuple[str, ...]:
    return tuple(index_terms(sentence, LANGUAGE))


@lru_cache(maxsize=500_000)
def _dimension(term: str) -> int:
    return dimension_of(term)


def _name(number: int) -> str:
    """A made-up name; the frequent ones are short. Every fifth is a code with digits."""
    starts, ends = len(_STARTS), len(_ENDS)
    if number % 5 == 4:
        return f"{_ENDS[number % ends].upper()}-{number:05d}"
    return (
        _STARTS[number % starts] + _STARTS[number // starts % starts] + _ENDS[number // starts**2 % ends]
    ).title() + (_STARTS[number // (starts**2 * ends)] if number >= starts**2 * ends else "")


def _unit(vectors: NDArray[np.floating[Any]]) -> Matrix:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
