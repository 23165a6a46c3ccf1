"""What a text reveals of its writer: sentiment and intent. Probabilities are None where nothing measured them."""

from dataclasses import dataclass
from typing import Literal

Sentiment = Literal["positive", "neutral", "negative"]
Intent = Literal[
    "greeting",
    "farewell",
    "thanks",
    "question",
    "explanation",
    "complaint",
    "request",
    "confirmation",
    "negation",
    "handoff",
    "small_talk",
    "other",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`sentiment_score` is the probability of the label, `intent_confidence` likewise, both in 0..1 or None."""

    sentiment: Sentiment
    sentiment_score: float | None
    intent: Intent
    intent_confidence: float | None
