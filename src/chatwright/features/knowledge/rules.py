"""From ranked hits to the sources of an answer: which of them, in which order, with which words. Pure; called by flows
after `rank`."""

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.domain.language import content_words, sentence_spans, words
from chatwright.domain.providers import Source
from chatwright.features.knowledge.hit import Hit

CANDIDATES = 20
"""Hits of each half to search for, whatever number of sources is wanted."""
MAX_SOURCES = 5
MAX_QUOTE_CHARACTERS = 300

SAME = 0.8
"""Shared words over all words of two passages, from which on they say the same."""
WITHIN = 0.95
"""Shared words over the shorter passage's, from which on it stands in the longer one."""
FEWEST_WORDS = 8  # shorter passages are within others by chance
DIVERSITY = 0.2
"""What a passage's likeness to those before it costs, in relevance: among near equals the one that adds something wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A hit and what became of it: source number `n`, or why it is none."""

    hit: Hit
    n: int | None = None
    why_not: str | None = None


def choose(hits: Sequence[Hit], *, threshold: float = 0.7, at_most: int = MAX_SOURCES) -> list[Choice]:
    """What becomes of each hit, in the order given (of `rank`). Sources are numbered in reading order, from 1."""
    passing = [hit for hit in hits if hit.relevance >= threshold]
    bags: dict[str, frozenset[str]] = {hit.chunk_id: frozenset(words(hit.text)) for hit in passing}
    reasons: dict[str, str] = {}
    chosen: list[Hit] = []
    left = passing
    while left and len(chosen) < at_most:
        likeness = {hit.chunk_id: max((_likeness(bags, hit, other) for other in chosen), default=0.0) for hit in left}
        for hit in left:
            if likeness[hit.chunk_id] >= SAME:
                reasons[hit.chunk_id] = "says the same as another source"
        left = [hit for hit in left if hit.chunk_id not in reasons]
        if not left:
            break
        # `max` keeps the first of equals, so the rank decides where nothing is alike.
        best = max(left, key=lambda hit: hit.relevance - DIVERSITY * likeness[hit.chunk_id])
        chosen.append(best)
        left = [hit for hit in left if hit is not best]
    numbers = {hit.chunk_id: n for n, hit in enumerate(_in_reading_order(chosen), start=1)}
    return [
        Choice(
            hit=hit,
            n=numbers.get(hit.chunk_id),
            why_not=None
            if hit.chunk_id in numbers
            else reasons.get(hit.chunk_id)
            or (
                f"beyond the {at_most} best" if hit.relevance >= threshold else f"below the threshold of {threshold:g}"
            ),
        )
        for hit in hits
    ]


def choose_sources(
    question: str, hits: Sequence[Hit], *, threshold: float = 0.7, at_most: int = MAX_SOURCES
) -> list[Source]:
    """Sources for an answer out of ranked hits, best first, numbered from 1; empty when no hit reaches `threshold`: then
    say so. Hits that say the same are one source. The address of a source points at the nearest heading or page."""
    sources = [choice for choice in choose(hits, threshold=threshold, at_most=at_most) if choice.n is not None]
    sources.sort(key=lambda choice: choice.n or 0)
    return [
        Source(
            n=choice.n or 0,
            document_id=choice.hit.document_id,
            title=f"{choice.hit.title} › {choice.hit.heading}" if choice.hit.heading else choice.hit.title,
            url=_address(choice.hit),
            score=round(choice.hit.relevance, 4),
            quote=best_quote(question, choice.hit.text),
            text=choice.hit.text,
            suspicious=choice.hit.suspicion is not None,
        )
        for choice in sources
    ]


def _likeness(bags: dict[str, frozenset[str]], hit: Hit, other: Hit) -> float:
    """0..1; 1 also for a passage that stands in the other one."""
    mine, theirs = bags[hit.chunk_id], bags[other.chunk_id]
    shared, fewer = len(mine & theirs), min(len(mine), len(theirs))
    if hit.text == other.text or (fewer >= FEWEST_WORDS and shared >= WITHIN * fewer):
        return 1.0
    return shared / (len(mine | theirs) or 1)


def _in_reading_order(hits: Sequence[Hit]) -> list[Hit]:
    """Hits of one section swap places among themselves, so that its beginning is read before its end."""
    sections: dict[tuple[str, str], list[Hit]] = {}
    for hit in sorted(hits, key=lambda hit: hit.ordinal):
        sections.setdefault((hit.document_id, hit.heading), []).append(hit)
    return [sections[hit.document_id, hit.heading].pop(0) for hit in hits]


def _address(hit: Hit) -> str | None:
    if not hit.url or "#" in hit.url:
        return hit.url
    if hit.anchor:
        return f"{hit.url}#{hit.anchor}"
    # What browsers understand of a PDF's address.
    return f"{hit.url}#page={hit.page}" if hit.page is not None and hit.url.lower().endswith(".pdf") else hit.url


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
