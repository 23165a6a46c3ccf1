"""A reader by word lists and sentence shape. Pure, microseconds, English first.

`read` is what remains where the local model cannot be had. It gives labels, never probabilities: nothing has measured
how often a rule is right, so its scores stay None. `weigh` counts the same words for the trained head (`sentiment.py`).
"""

import re
from dataclasses import dataclass

from chatwright.domain.reading import Intent, Reading, Sentiment
from chatwright.features.analysis import lexicon

MAX_CHARACTERS = 4_000
"""Of a text's beginning: what is read of it."""
SURFACES = 20
"""Numbers that `Surface.row` gives."""

_TOKEN = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*|[:;=][-']?[)(\[\]dDpPsS/\\|]|<3|</3|\^\^|[.!?]+|\d+|[^\w\s]")
_ENDINGS = (("s", ""), ("es", ""), ("ed", ""), ("d", ""), ("ing", ""), ("ing", "e"), ("ly", ""), ("er", ""), ("est", ""), ("ies", "y"), ("ied", "y"))  # fmt: skip
_SMALLEST_STEM = 3
_REACH = 3
"""Words that a negation reaches over: "not a very good"."""
_CLEAR = 0.5
_QUESTION = re.compile(
    r"^\W*(?:who|what|when|where|which|why|how|is|are|can|could|does|do|did|will|would|should|may|am|was|have|has)\b"
)


@dataclass(frozen=True, slots=True)
class Surface:
    """What a text's words and signs come to: sums of weights, counts, shares in 0..1.

    `row` has SURFACES numbers, each roughly in -3..3; `balance` is above 0 for a text of good words.
    """

    row: tuple[float, ...]
    balance: float


def weigh(text: str) -> Surface:
    """Count the good and bad words, negation and emphasis included. Empty text: zeros. Linear in the text's length."""
    text = text[:MAX_CHARACTERS].replace("’", "'")
    tokens = _TOKEN.findall(text)
    good = bad = last_good = last_bad = 0.0
    largest = smallest = 0.0
    negated, negations, strength, signs, turned = 0, 0, 1.0, 0.0, 0
    words = shouted = foreign = 0
    for token in tokens:
        word = token.casefold()
        if (sign := _weigh_sign(word)) != 0:
            signs += sign
            continue
        if not word[0].isalpha():
            if word[0] in ".!?,;":
                negated = 0
            continue
        words += 1
        shouted += len(token) > 1 and token.isupper()
        foreign += not word.isascii()
        if word in lexicon.NEGATIONS:
            negated, negations = _REACH + 1, negations + 1
        elif word in lexicon.TURNS:
            turned, negated, last_good, last_bad = turned + 1, 0, 0.0, 0.0
        value = _weigh_word(word) * strength
        if value:
            value *= 1.2 if shouted and token.isupper() else 1.0
            value *= -0.7 if negated and word not in lexicon.NEGATIONS else 1.0
            good, bad = good + max(value, 0.0), bad + max(-value, 0.0)
            last_good, last_bad = last_good + max(value, 0.0), last_bad + max(-value, 0.0)
            largest, smallest = max(largest, value), min(smallest, value)
        strength = 1.4 if word in lexicon.STRENGTHENING else 0.6 if word in lexicon.WEAKENING else 1.0
        negated = max(0, negated - 1)
    balance = good - bad + signs + 0.5 * (last_good - last_bad if turned else 0.0)
    exclamations, questions = min(text.count("!"), 4), min(text.count("?"), 4)
    length = max(words, 1)
    return Surface(
        (
            _squash(good), _squash(bad), _squash(last_good), _squash(last_bad), _squash(balance), largest, smallest,
            _squash(max(signs, 0.0)), _squash(max(-signs, 0.0)), float(min(negations, 3)), float(turned > 0),
            exclamations / 2, questions / 2, float(bool(_QUESTION.match(text.casefold()))), shouted / length,
            foreign / length, min(words, 60) / 20, (good - bad) / length * 4, float("..." in text or "…" in text),
            float(good == bad == signs == 0.0),
        ),
        balance,
    )  # fmt: skip


def _squash(value: float) -> float:
    """-1..1, steep near 0: the fourth good word says less than the first."""
    return value / (abs(value) + 1.5)


def _weigh_sign(word: str) -> float:
    if word in lexicon.POSITIVE_SIGNS or word in lexicon.POSITIVE_FACES:
        return 1.0
    if word in lexicon.NEGATIVE_SIGNS or word in lexicon.NEGATIVE_FACES:
        return -1.0
    return 0.0


def _weigh_word(word: str) -> float:
    """-2..2. A word that no list holds is looked for without its ending."""
    if found := _look_up(word):
        return found
    for ending, instead in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= _SMALLEST_STEM and (found := _look_up(stem + instead)):
            return found
    return 0.0


def _look_up(word: str) -> float:
    if word in lexicon.LITTLE:
        return 0.3 if word in lexicon.POSITIVE else -0.3 if word in lexicon.NEGATIVE else 0.0
    if word in lexicon.POSITIVE:
        return 1.0
    if word in lexicon.NEGATIVE:
        return -1.0
    return 2.0 if word in lexicon.STRONG_POSITIVE else -2.0 if word in lexicon.STRONG_NEGATIVE else 0.0


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


def read(text: str) -> Reading:
    """Label one text. An empty or wordless text is neutral and `other`."""
    lowered = text.lower()
    return Reading(sentiment=_sentiment(text), sentiment_score=None, intent=_intent(lowered), intent_confidence=None)


def _sentiment(text: str) -> Sentiment:
    balance = weigh(text).balance
    if balance >= _CLEAR:
        return "positive"
    return "negative" if balance <= -_CLEAR else "neutral"


def _intent(lowered: str) -> Intent:
    for intent, pattern in _INTENTS:
        if pattern.search(lowered):
            return intent
    return "other"
