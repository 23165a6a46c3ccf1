"""What a text reveals of its writer: sentiment, emotion and intent. Probabilities are None where nothing measured them."""

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


Emotion = Literal["anger", "joy", "optimism", "sadness", "none"]
Reader = Literal["rules", "local", "llm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Each score is the probability of its label, in 0..1, or None. `by` is who read: word rules where the model cannot be
    had, the local model, a language model.

    `custom_intent` is one of the chatbot's own, None where none fits or it has none.
    """

    sentiment: Sentiment
    sentiment_score: float | None
    intent: Intent
    intent_confidence: float | None
    emotion: Emotion | None = None
    emotion_score: float | None = None
    custom_intent: str | None = None
    custom_intent_confidence: float | None = None
    by: Reader = "rules"
