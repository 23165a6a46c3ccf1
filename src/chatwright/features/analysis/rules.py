"""A reader by word lists and sentence shape. Pure, microseconds, English.

It gives labels, never probabilities: nothing has measured how often a rule is right, so `sentiment_score` and
`intent_confidence` stay None. Measured models take its place behind the same function.
"""

import re

from chatwright.domain.reading import Intent, Reading, Sentiment

_WORD = re.compile(r"[a-z']+")

_POSITIVE = frozenset(
    [
        "amazing",
        "awesome",
        "best",
        "brilliant",
        "excellent",
        "fantastic",
        "glad",
        "good",
        "great",
        "happy",
        "helpful",
        "impressed",
        "liked",
        "love",
        "loved",
        "lovely",
        "nice",
        "perfect",
        "pleased",
        "recommend",
        "satisfied",
        "superb",
        "thank",
        "thanks",
        "thrilled",
        "wonderful",
        "works",
    ]
)
_NEGATIVE = frozenset(
    [
        "angry",
        "annoyed",
        "annoying",
        "awful",
        "bad",
        "broken",
        "bug",
        "bugs",
        "complaint",
        "confused",
        "crash",
        "crashed",
        "crashes",
        "disappointed",
        "disappointing",
        "error",
        "fail",
        "failed",
        "fails",
        "frustrated",
        "frustrating",
        "garbage",
        "hate",
        "horrible",
        "issue",
        "lost",
        "mad",
        "never",
        "poor",
        "problem",
        "refund",
        "ridiculous",
        "rubbish",
        "sad",
        "scam",
        "slow",
        "stuck",
        "terrible",
        "unacceptable",
        "upset",
        "useless",
        "waste",
        "worst",
        "wrong",
    ]
)
_NEGATIONS = frozenset(
    [
        "no",
        "not",
        "never",
        "nothing",
        "can't",
        "cannot",
        "couldn't",
        "didn't",
        "doesn't",
        "don't",
        "isn't",
        "wasn't",
        "won't",
    ]
)

_INTENTS: tuple[tuple[Intent, re.Pattern[str]], ...] = (
    ("handoff", re.compile(r"\b(human|real person|live agent|representative|speak (to|with) (a|an|some)|operator)\b")),
    ("farewell", re.compile(r"^\W*(bye|goodbye|good ?bye|see (you|ya)|farewell|take care|have a (nice|good))\b")),
    ("thanks", re.compile(r"\b(thanks|thank you|thx|cheers|appreciate (it|that))\b")),
    ("greeting", re.compile(r"^\W*(hi|hello|hey|howdy|greetings|good (morning|afternoon|evening|day))\b(?!.*\?)")),
    (
        "explanation",
        re.compile(r"\b(how (do|does|can|to|would|should)|explain|what does .* mean|why (is|are|do|does))\b"),
    ),
    (
        "complaint",
        re.compile(r"\b(complain|complaint|unacceptable|ridiculous|refund|terrible|worst|broken|not work)\w*\b"),
    ),
    ("confirmation", re.compile(r"^\W*(yes|yeah|yep|sure|ok|okay|correct|right|exactly|of course|sounds good)\b")),
    ("negation", re.compile(r"^\W*(no|nope|nah|not really|never mind|negative)\b")),
    ("question", re.compile(r"\?|^\W*(who|what|when|where|which|why|how|is|are|can|could|does|do|did|will|would)\b")),
    (
        "request",
        re.compile(r"^\W*(please|send|show|give|tell|find|book|cancel|change|i (want|need|would like|'d like))\b"),
    ),
    ("small_talk", re.compile(r"\b(how are you|what's up|your name|are you (a )?(robot|bot|real)|joke|weather)\b")),
)

_INJECTION: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "override",
        re.compile(
            r"\b(ignore|disregard|forget)\b.{0,40}\b(previous|prior|above|all|your)\b.{0,30}\b(instruction|prompt|rule|message)s?"
        ),
    ),
    (
        "prompt_leak",
        re.compile(
            r"\b(reveal|show|print|repeat|output)\b.{0,40}\b(system prompt|instructions|initial prompt|hidden prompt)"
        ),
    ),
    (
        "role_play",
        re.compile(r"\b(you are now|pretend (to be|you are)|act as|developer mode|do anything now|jailbreak)\b"),
    ),
    ("delimiter", re.compile(r"(<\|im_start\|>|\[/?inst\]|<<sys>>|###\s*(system|instruction))")),
)


def read(text: str) -> Reading:
    """Label one text. An empty or wordless text is neutral and `other`."""
    lowered = text.lower()
    return Reading(sentiment=_sentiment(lowered), sentiment_score=None, intent=_intent(lowered), intent_confidence=None)


def injection_signals(text: str) -> list[str]:
    """Names of the rules that the text trips; empty for nearly all honest messages."""
    lowered = text.lower()
    return [name for name, pattern in _INJECTION if pattern.search(lowered)]


def _sentiment(lowered: str) -> Sentiment:
    score, negated = 0, 0
    for word in _WORD.findall(lowered):
        if word in _NEGATIONS:
            negated = 3  # reaches over the next words: "not very good"
            continue
        value = (word in _POSITIVE) - (word in _NEGATIVE)
        score += -value if negated else value
        negated = max(0, negated - 1)
    if score > 0:
        return "positive"
    return "negative" if score < 0 else "neutral"


def _intent(lowered: str) -> Intent:
    for intent, pattern in _INTENTS:
        if pattern.search(lowered):
            return intent
    return "other"
