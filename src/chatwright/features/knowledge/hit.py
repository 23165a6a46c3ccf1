"""A chunk that a search found, and what speaks for it. Values only."""

from dataclasses import dataclass

from chatwright.domain.ids import ChunkId, DocumentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why a hit stands where it stands. `vector_weight`: what the cosine counted against the keywords' 1. `score`: both
    halves together, by which hits are sorted that are equally relevant."""

    vector_weight: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosines:
    """How near any passage is to a question by an embedder: the mean of the cosines and their standard deviation."""

    mean: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk near a question.

    `cosine` is in -1..1, `keyword_score` is BM25 as a share of what a chunk with each of the question's words once would
    have (0 to about 2), `words` the share of the question's words that stand in it, its title and headings, weighted by how
    rare they are in the base. `told` is that share for its best sentence, `alike` for all of it where words count that begin
    alike; both are 0.0 until `rank` has looked. `relevance` is in 0..1: the probability that the hit answers, 0.0 until `rank` has seen the
    question; `evidence` is None until then. `page` is counted from 1, where the document has pages. `question` is that
    of an FAQ pair. `suspicion` (0..1, None: none) is how sure the guard is that it speaks to a model instead of to readers.
    """

    chunk_id: ChunkId
    document_id: DocumentId
    title: str
    url: str | None
    ordinal: int
    heading: str
    anchor: str | None
    text: str
    cosine: float
    keyword_score: float = 0.0
    words: float = 0.0
    told: float = 0.0
    alike: float = 0.0
    page: int | None = None
    language: str | None = None
    question: str | None = None
    suspicion: float | None = None
    relevance: float = 0.0
    evidence: Evidence | None = None
