"""A chunk in the form in which it is stored: with the numbers of its keywords. Pure; called by `pipeline/index.py`.

`INDEX_FORM` counts the changes of that form. Documents whose chunks were written in an older one are indexed anew in the
background, with the vectors they have.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.domain.language import detect_language, index_terms
from chatwright.features.knowledge.chunking import Chunk
from chatwright.features.knowledge.keywords import keyword_text, keyword_vector, term_keys

INDEX_FORM = 1
"""Raise it with every change of chunking, `index_terms` or `keywords` after which stored chunks find less than new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedChunk:
    """`keywords` is a sparsevec's text form; `term_count` counts terms with repeats, `term_keys` are distinct. `suspicion` in
    0..1: how sure the guard is that it speaks to a model instead of to readers; None: it does not."""

    chunk: Chunk
    keywords: str
    term_keys: tuple[int, ...]
    term_count: int
    suspicion: float | None = None


def prepare_chunks(knowledge_base_id: str, title: str, chunks: Sequence[Chunk]) -> list[IndexedChunk]:
    """The chunks of a document with what the keyword half of a search needs. About 0.5 ms each: use a thread."""
    prepared: list[IndexedChunk] = []
    for chunk in chunks:
        text = keyword_text(title=title, heading=chunk.heading, text=chunk.text)
        terms = index_terms(text, chunk.language or detect_language(chunk.text))
        prepared.append(
            IndexedChunk(
                chunk=chunk,
                keywords=keyword_vector(terms),
                term_keys=tuple(term_keys(knowledge_base_id, terms)),
                term_count=len(terms),
            )
        )
    return prepared


def index_hash(title: str, chunks: Sequence[IndexedChunk]) -> bytes:
    """SHA-256 of all that a document's chunks say and are found by: if it is the stored one, nothing is to be done."""
    digest = hashlib.sha256(f"{INDEX_FORM}\0{title}".encode("utf-8", "replace"))
    for each in chunks:
        chunk = each.chunk
        parts = (chunk.heading, chunk.anchor, chunk.text, chunk.page, chunk.language, chunk.question, each.keywords)
        digest.update(b"\0" + chunk.content_hash + repr(parts).encode("utf-8", "replace"))
        if each.suspicion is not None:
            digest.update(b"\0suspicion %.2f" % each.suspicion)
    return digest.digest()
