"""Questions that lean on what was said before ("and how long does that take?"), and what they lean on. Pure; used by
`pipeline/knowledge.py` before a search.

By rules: a short question with a word that points back, one that goes on with "and", or one without a word of its own is
searched together with the visitor's question before it. What came before counts less than what is asked now.
"""

import re
from collections.abc import Sequence

from chatwright.domain.detection import common_words
from chatwright.domain.language import words
from chatwright.domain.providers import Turn
from chatwright.domain.terms import question_terms

EARLIER_WEIGHT = 0.4
MAX_OWN_WORDS = 4
"""A longer question says what it is about, whatever it points at."""
MAX_EARLIER = 2
MAX_EARLIER_CHARACTERS = 400

# Not the words that are articles too, nor the "es" of "gibt es": they stand in every question.
_POINTING = {
    "en": "it its that this those these they them their theirs he him his she her hers then former latter",
    "de": "dies diese dieser dieses diesen diesem sie ihn ihm ihr ihre deren dessen er da dabei damit davon dafür dazu darin "
    "darauf daran darüber dagegen dahin solche derselbe dieselbe",
    "fr": "il elle ils elles lui leur cela ça ce cette ces celui celle ceux celles",
    "es": "él ella ellos ellas eso esto esa ese esos esas aquello allí ahí",
    "it": "lui lei loro questo questa questi queste quello quella esso essa",
    "pt": "ele ela eles elas isso isto aquilo esse essa este lá",
    "nl": "dit deze zij ze hij hem haar hun daar ervan ermee erover daarvoor",
    "ru": "он она оно они его её их ему ей им это этот эта эти тот там",
    "tr": "o onu bunu şunu ona buna onun bunun onlar bunlar onlara orada",
    "ar": "هو هي هم هذا هذه ذلك تلك هناك",
    "hi": "यह वह ये वे उसे इसे इसका उसका इसकी उसकी इनका उनका वहाँ",
}
_POINTS = {language: frozenset(text.split()) for language, text in _POINTING.items()}
_POINTS_UNSPACED = re.compile("它|他|她|这|那|此|其|これ|それ|あれ|その|この|彼|彼女|그것|이것|저것")
_GOES_ON = re.compile(
    r"\s*(?:and|but|or|also|so|then|what about|how about|und|aber|oder|auch|was ist mit|wie ist es mit|et|mais|ou|y|pero|e|ma|"
    r"en|maar|а|и|но|ve|peki|ama|و|और|那|那么|では|じゃあ|그럼|그리고)(?=[\s,،、，]|$|[\u3040-\u9fff])",
    re.IGNORECASE,
)


def earlier_question(question: str, history: Sequence[Turn], language: str | None) -> str:
    """The visitor's words before `question` that it leans on, the latest last; "" for a question that stands alone.

    `history`: the turns before it, oldest first.
    """
    asked = [turn.content for turn in history if turn.role == "user" and turn.content.strip()]
    found: list[str] = []
    while asked and len(found) < MAX_EARLIER and leans_back(question, language):
        question = asked.pop()
        found.append(question[:MAX_EARLIER_CHARACTERS])
    return " ".join(reversed(found))


def leans_back(question: str, language: str | None) -> bool:
    """Whether a question cannot be understood alone."""
    said = words(question)
    if not said:
        return False
    common = common_words(language)
    points = _POINTS.get(language or "", frozenset[str]())
    own = [word for word in said if word not in common and word not in points]
    if not own:
        return True
    if len(own) > MAX_OWN_WORDS:
        return False
    return (
        bool(_GOES_ON.match(question))
        or not points.isdisjoint(said)
        or (len(question) <= 20 and bool(_POINTS_UNSPACED.search(question)))
    )


def weighed_terms(question: str, earlier: str, language: str | None) -> dict[str, float]:
    """`question_terms` of both, the earlier words at a lower weight."""
    terms = question_terms(question, language)
    for term, weight in question_terms(earlier, language).items() if earlier else ():
        terms.setdefault(term, EARLIER_WEIGHT * weight)
    return terms
