"""From the hits of both halves of a search to one order, and to the probability that a hit answers. Pure.

The halves are not fused by their ranks: where one half fails, its ranks are noise and pull the good half down. Their
scores are added, and the vector's is weighed by whether its embedder reads the question's and the passage's language.
One logistic turns the evidence into a probability; `training/fit_relevance.py` makes its constants and prints how they do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chatwright.domain.detection import script_of
from chatwright.domain.language import content_words
from chatwright.features.knowledge.hit import Cosines, Evidence, Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Of one embedder, or of none: a logistic over a hit's evidence."""

    intercept: float
    cosine: float
    keywords: float
    words: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What an embedder's cosine is worth where it reads the language. `vector_weight`: against the keyword share's 1."""

    vector_weight: float
    calibration: Calibration


_MINILM = Calibration(intercept=-5.55, cosine=7.51, keywords=0.0, words=5.96)
_E5 = Calibration(intercept=-26.97, cosine=30.37, keywords=0.0, words=5.07)
# Where the vector is not trusted: the words alone.
KEYWORDS_ONLY = Calibration(intercept=-2.83, cosine=0.0, keywords=3.26, words=6.65)

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
) -> list[Hit]:
    """The hits with evidence and relevance, best first.

    `language`: the question's. `embedder_languages`: those that the embedder reads, None for many. `cosines`: what is usual
    between the question and the base's chunks. CPU on the caller's thread: well under a millisecond.
    """
    trust = trust_of(embedder)
    is_known = any(embedder.startswith(name) for name in TRUST)
    usual = _MINILM_COSINES if is_known or cosines is None or cosines.spread < _NO_SPREAD else cosines
    script = script_of(question)
    asked = frozenset(content_words(question))
    ranked: list[Hit] = []
    for hit in hits:
        weight = _vector_weight(language, script, hit, trust, embedder_languages)
        cosine = _moved(hit.cosine, usual)
        evidence = Evidence(vector_weight=weight, score=weight * cosine + hit.keyword_score)
        relevance = probability(
            trust.calibration if weight >= trust.vector_weight else KEYWORDS_ONLY, cosine, hit.keyword_score, hit.words
        )
        # "opening hours" or "how do I stop it": few words, so little evidence, but a heading says just that.
        if asked and relevance < KEYWORD_FLOOR and asked <= set(content_words(f"{hit.title} {hit.heading}")):
            relevance = KEYWORD_FLOOR
        ranked.append(replace(hit, evidence=evidence, relevance=relevance))
    ranked.sort(key=lambda hit: (-hit.relevance, -hit.evidence.score if hit.evidence else 0.0, hit.chunk_id))
    return ranked


def probability(calibration: Calibration, cosine: float, keywords: float, words: float) -> float:
    """That a hit answers, from what speaks for it."""
    logit = (
        calibration.intercept
        + calibration.cosine * cosine
        + calibration.keywords * keywords
        + calibration.words * words
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
