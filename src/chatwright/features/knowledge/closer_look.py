"""How far a passage says a question's words, read from its text sentence by sentence. Pure; `ranking.py` looks so at the best hits.

The index knows which terms stand in a passage, not where, and takes two forms of a word for two words unless their stem
is one. Here words count as far as they begin alike ("restore" and "restoration"), and the best sentence counts for
itself: words of a question that stand together speak more for a passage than the same words scattered over it.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from chatwright.domain.language import sentence_spans
from chatwright.domain.terms import is_run, word_terms

_BEGINNING = 3
"""Letters that two words must share at their beginning to be compared."""
_SHORTEST = 4
ALIKE = 0.5
"""Shared beginning over the question's word, from which on a word of the passage counts, as far as that."""
_ENDING = 3
"""Letters of an ending that a longer word of the passage may have for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Shares of a question's words, 0..1, weighted by how rare they are: `passage` of those that the passage says, in any
    form, `sentence` of those that its best sentence says. Its title and headings belong to every sentence."""

    passage: float
    sentence: float


def look_closer(text: str, *, above: str, language: str | None, terms: Mapping[str, float]) -> Look:
    """Read one passage. `above`: its title and headings. `terms`: the question's with what each says in the base.

    CPU on the caller's thread: some 150 µs for a passage of 200 tokens.
    """
    wanted = [(term, value) for term, value in terms.items() if value > 0 and not is_run(term)]
    headline = frozenset(word_terms(above, language)) if above else frozenset[str]()
    sentences = [
        headline.union(word_terms(paragraph[start:end], language))
        for paragraph in text.split("\n")
        for start, end in sentence_spans(paragraph)
    ] or [headline]
    beginnings: dict[str, list[str]] = defaultdict(list)
    for said in frozenset[str]().union(*sentences):
        beginnings[said[:_BEGINNING]].append(said)
    passage, shares = 0.0, [0.0] * len(sentences)
    for term, value in wanted:
        alike = {
            said: likeness
            for said in beginnings.get(term[:_BEGINNING], ())
            if (likeness := alikeness(term, said)) >= ALIKE
        }
        if not alike:
            continue
        passage += value * max(alike.values())
        for at, sentence in enumerate(sentences):
            shares[at] += value * max([likeness for said, likeness in alike.items() if said in sentence], default=0.0)
    total = sum(value for _, value in wanted) or 1.0
    return Look(passage=min(1.0, passage / total), sentence=min(1.0, max(shares) / total))


@lru_cache(maxsize=65_536)
def alikeness(asked: str, said: str) -> float:
    """How alike two terms begin, 0..1: 1 for the same. Short words are the same or different."""
    if asked == said:
        return 1.0
    if len(asked) < _SHORTEST:
        return 0.0
    shared = 0
    for one, other in zip(asked, said, strict=False):
        if one != other:
            break
        shared += 1
    if shared < _SHORTEST and shared < min(len(asked), len(said)):
        return 0.0
    return shared / max(len(asked), min(len(said), len(asked) + _ENDING))
