"""From the hits of both halves of a search to one order, and to the probability that a hit answers. Pure.

The halves are not fused by their ranks: where one half fails, its ranks are noise and pull the good half down. Their
scores are added, and the vector's is weighed by whether its embedder reads the question's and the passage's language.
One logistic turns the evidence into a probability; `training/fit_relevance.py` makes its constants and prints how they do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chatwright.domain.detection import script_of
from chatwright.domain.ids import ChunkId
from chatwright.domain.language import content_words
from chatwright.features.knowledge.closer_look import Look, look_closer
from chatwright.features.knowledge.hit import Cosines, Evidence, Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Of one embedder, or of none: a logistic over a hit's evidence."""

    intercept: float
    cosine: float
    keywords: float
    words: float
    told: float = 0.0
    alike: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What an embedder's cosine is worth where it reads the language. `vector_weight`: against the keyword share's 1."""

    vector_weight: float
    calibration: Calibration


_MINILM = Calibration(intercept=-6.34, cosine=8.11, keywords=0.0, words=3.69, told=3.77)
_E5 = Calibration(intercept=-32.65, cosine=36.94, keywords=0.0, words=3.05, told=2.64)
# Where the vector is not trusted: the words alone.
KEYWORDS_ONLY = Calibration(intercept=-3.11, cosine=0.0, keywords=2.31, words=2.32, told=2.24, alike=3.63)

TRUST = {
    "minilm": Trust(vector_weight=1.67, calibration=_MINILM),
    "multilingual-e5": Trust(vector_weight=10.0, calibration=_E5),
}
"""By the beginning of the embedder's name."""
_MINILM_COSINES = Cosines(mean=0.032, spread=0.097)
"""The cosines of an embedder that is not in TRUST are moved to where MiniLM's lie. E5 read so, as if nobody knew it, kept
0.91 of XQuAD's English questions and abstained on 0.88 of those without their passage. No provider's was measured."""

OTHER_LANGUAGE = 0.5
"""Vector weight for a language in the embedder's letters that it was not trained on: names and loan words still tell."""
OTHER_SCRIPT = 0.01
"""… and for letters that it cannot read: only what no keyword decides."""
KEYWORD_FLOOR = 0.75
READ_HITS = 8
"""Hits that are read sentence by sentence, the most promising ones."""
_NO_SPREAD = 1e-6


def trust_of(embedder: str) -> Trust:
    return next((trust for name, trust in TRUST.items() if embedder.startswith(name)), TRUST["minilm"])


def rank(
    question: str,
    hits: Sequence[Hit],
    *,
    language: str | None,
    embedder: str,
    embedder_languages: frozenset[str] | None = None,
    cosines: Cosines | None = None,
    terms: Mapping[str, float] | None = None,
) -> list[Hit]:
    """The hits with evidence and relevance, best first.

    `language`: the question's. `embedder_languages`: those that the embedder reads, None for many. `cosines`: what is usual
    between the question and the base's chunks. `terms`: the question's with what each says in the base (of `Retrieved`); the
    best hits are then read sentence by sentence. CPU on the caller's thread: a millisecond.
    """
    trust = trust_of(embedder)
    is_known = any(embedder.startswith(name) for name in TRUST)
    usual = _MINILM_COSINES if is_known or cosines is None or cosines.spread < _NO_SPREAD else cosines
    script = script_of(question)
    asked = frozenset(content_words(question))
    weighed: list[tuple[Hit, float, float, Calibration]] = []
    for hit in hits:
        weight = _vector_weight(language, script, hit, trust, embedder_languages)
        weighed.append(
            (
                hit,
                weight,
                _moved(hit.cosine, usual),
                trust.calibration if weight >= trust.vector_weight else KEYWORDS_ONLY,
            )
        )
    looks = _looks(weighed, terms or {})
    ranked: list[Hit] = []
    for hit, weight, cosine, calibration in weighed:
        look = looks.get(hit.chunk_id) or Look(passage=hit.words, sentence=hit.words)
        evidence = Evidence(vector_weight=weight, score=weight * cosine + hit.keyword_score)
        seen = replace(hit, evidence=evidence, told=look.sentence, alike=look.passage)
        relevance = probability(calibration, cosine, seen.keyword_score, seen.words, seen.told, seen.alike)
        # "opening hours" or "how do I stop it": few words, so little evidence, but a heading says just that.
        if asked and relevance < KEYWORD_FLOOR and asked <= set(content_words(f"{hit.title} {hit.heading}")):
            relevance = KEYWORD_FLOOR
        ranked.append(replace(seen, relevance=relevance))
    ranked.sort(key=lambda hit: (-hit.relevance, -hit.evidence.score if hit.evidence else 0.0, hit.chunk_id))
    return ranked


def _looks(weighed: Sequence[tuple[Hit, float, float, Calibration]], terms: Mapping[str, float]) -> dict[ChunkId, Look]:
    """What the best hits say of the question's words, by chunk. Of the others it is supposed that their best sentence says
    no more than that of any hit that was read."""
    if not terms:
        return {}

    def promise(one: tuple[Hit, float, float, Calibration]) -> tuple[float, str]:
        hit, _, cosine, calibration = one
        return -probability(calibration, cosine, hit.keyword_score, hit.words, hit.words, hit.words), hit.chunk_id

    hits = [hit for hit, *_ in sorted(weighed, key=promise)]
    looks = {
        hit.chunk_id: look_closer(hit.text, above=f"{hit.title}\n{hit.heading}", language=hit.language, terms=terms)
        for hit in hits[:READ_HITS]
    }
    told = min((look.sentence for look in looks.values()), default=0.0)
    return looks | {hit.chunk_id: Look(passage=hit.words, sentence=min(told, hit.words)) for hit in hits[READ_HITS:]}


def probability(
    calibration: Calibration, cosine: float, keywords: float, words: float, told: float, alike: float
) -> float:
    """That a hit answers, from what speaks for it."""
    logit = (
        calibration.intercept
        + calibration.cosine * cosine
        + calibration.keywords * keywords
        + calibration.words * words
        + calibration.told * told
        + calibration.alike * alike
    )
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


def _vector_weight(
    language: str | None, script: str | None, hit: Hit, trust: Trust, languages: frozenset[str] | None
) -> float:
    if languages is None or ((language is None or language in languages) and (hit.language or "en") in languages):
        return trust.vector_weight
    # All small models with few languages are made for Latin letters.
    readable = script in (None, "latin") and (hit.language is None or script_of(hit.text[:200]) == "latin")
    return OTHER_LANGUAGE if readable else OTHER_SCRIPT


def _moved(cosine: float, usual: Cosines) -> float:
    """A cosine as MiniLM would have it; unchanged where `usual` is MiniLM's."""
    return _MINILM_COSINES.mean + (cosine - usual.mean) / usual.spread * _MINILM_COSINES.spread
