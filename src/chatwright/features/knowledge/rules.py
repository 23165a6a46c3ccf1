"""From chunks that are near a question to sources that probably answer it. Pure; called by flows after `search`.

A cosine ranks meanings well and says little about answers. The evidence here is the cosine plus two shares of the
question's words, weighted by how rare they are among the candidates: found in the chunk, and found in its headings.
One logistic turns the sum into a probability; `training/fit_relevance.py` made its constants and prints how they do
on questions it has not seen.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chatwright.domain.ids import ChunkId, DocumentId
from chatwright.domain.language import content_words, sentence_spans, words
from chatwright.domain.providers import Source

CANDIDATES = 20
"""Hits to search for, whatever number of sources is wanted: rarity is measured over them."""
MAX_SOURCES = 5
MAX_QUOTE_CHARACTERS = 300

WORDS_WEIGHT = 0.4  # against a cosine's 1; 0.3 to 0.5 are equally good, 0 and 1 clearly worse
HEADING_WEIGHT = 0.3
SHRINK = 3.0  # added to the question's weight, so that one matching word out of one is no proof
# Relevance 0.7 is evidence 0.52. The fit moves between 0.52 and 0.56 with the documentation it reads; the lenient end is
# kept, because a wrong "I don't know" is worse than a weak source: what answers still judges each passage by itself.
INTERCEPT = -7.03
SLOPE = 15.17
KEYWORD_FLOOR = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk near a question. `cosine` is in -1..1, `relevance` in 0..1 (0.0 until `rank` has seen the question)."""

    chunk_id: ChunkId
    document_id: DocumentId
    title: str
    url: str | None
    ordinal: int
    heading: str
    anchor: str | None
    text: str
    cosine: float
    relevance: float = 0.0


def rank(question: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits with their relevance, best first: the probability that the hit answers the question."""
    asked = set(content_words(question))
    ranked = [
        replace(hit, relevance=_relevance(score, is_keyword=is_keyword))
        for hit, (score, is_keyword) in zip(hits, scores(asked, hits), strict=True)
    ]
    ranked.sort(key=lambda hit: (-hit.relevance, -hit.cosine, hit.chunk_id))
    return ranked


def scores(asked: set[str], hits: Sequence[Hit]) -> list[tuple[float, bool]]:
    """For each hit its evidence, and whether its title and headings name everything that was asked for.

    `asked` are the question's content words (stems).
    """
    headings = [set(content_words(f"{hit.title} {hit.heading}")) for hit in hits]
    bodies = [set(content_words(hit.text)) | heading for hit, heading in zip(hits, headings, strict=True)]
    frequency = Counter(word for body in bodies for word in body & asked)
    weight = {word: math.log(1 + CANDIDATES / (0.5 + frequency[word])) for word in asked}
    total = sum(weight.values()) + SHRINK
    return [
        (
            hit.cosine
            + WORDS_WEIGHT * sum(weight[word] for word in asked & body) / total
            + HEADING_WEIGHT * sum(weight[word] for word in asked & heading) / total,
            bool(asked) and asked <= heading,
        )
        for hit, body, heading in zip(hits, bodies, headings, strict=True)
    ]


def _relevance(score: float, *, is_keyword: bool) -> float:
    relevance = 1 / (1 + math.exp(-(INTERCEPT + SLOPE * score)))
    # "opening hours" or "how do I stop it": few words, so little evidence, but a heading says just that.
    return max(relevance, KEYWORD_FLOOR) if is_keyword else relevance


def choose_sources(
    question: str, hits: Sequence[Hit], *, threshold: float = 0.7, at_most: int = MAX_SOURCES
) -> list[Source]:
    """Sources for an answer, best first, numbered from 1; empty when no hit reaches `threshold`: then say so.

    Hits of equal text are one source. The address of a source points at the nearest heading.
    """
    chosen: list[Hit] = []
    seen: set[str] = set()
    for hit in rank(question, hits):
        if hit.relevance < threshold or len(chosen) == at_most:
            break
        if hit.text not in seen:
            seen.add(hit.text)
            chosen.append(hit)
    return [
        Source(
            n=number,
            document_id=hit.document_id,
            title=f"{hit.title} › {hit.heading}" if hit.heading else hit.title,
            url=_address(hit),
            score=round(hit.relevance, 4),
            quote=best_quote(question, hit.text),
            text=hit.text,
        )
        for number, hit in enumerate(_in_reading_order(chosen), start=1)
    ]


def _in_reading_order(hits: Sequence[Hit]) -> list[Hit]:
    """Hits of one section swap places among themselves, so that its beginning is read before its end."""
    sections: dict[tuple[str, str], list[Hit]] = {}
    for hit in sorted(hits, key=lambda hit: hit.ordinal):
        sections.setdefault((hit.document_id, hit.heading), []).append(hit)
    return [sections[hit.document_id, hit.heading].pop(0) for hit in hits]


def _address(hit: Hit) -> str | None:
    if not hit.url or not hit.anchor or "#" in hit.url:
        return hit.url
    return f"{hit.url}#{hit.anchor}"


def best_quote(question: str, text: str) -> str:
    """The sentence of `text` that shares most words with the question, and the next one if both are short.

    At most 300 characters; a longer sentence is cut at a word, with an ellipsis.
    """
    asked = set(content_words(question))
    best: tuple[float, str] = (-1.0, "")
    for paragraph in text.split("\n"):
        spans = sentence_spans(paragraph)
        for number, (start, end) in enumerate(spans):
            sentence = paragraph[start:end]
            if sentence.startswith("```") or set(sentence) <= set("|-: "):
                continue
            found = len(asked.intersection(content_words(sentence)))
            value = found / (1 + 0.02 * len(words(sentence)))
            if value > best[0]:
                following = spans[number + 1][1] if number + 1 < len(spans) else end
                best = (value, paragraph[start : following if following - start <= 160 else end])
    quote = " ".join(best[1].split())
    if len(quote) <= MAX_QUOTE_CHARACTERS:
        return quote
    return quote[: MAX_QUOTE_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"
