"""What a visitor said that is worth remembering word for word: found, weighed, and kept within a bound. Pure.

A language model that writes a summary of a summary forgets; a list of quotes does not. So names, numbers, wishes and
decisions are kept as they were said, beside whatever prose a summary has. Called by `rules.py`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from chatwright.domain.language import STOP_WORDS, split_sentences, words

Count = Callable[[str], int]
"""A text's tokens."""
Suspect = Callable[[str], bool]
"""Whether a sentence reads like an order to the model: it is never kept."""

FACT_CHARS = 240
"""A fact is a sentence; of a longer one the part around what makes it a fact."""
WORTH = 3
"""What a sentence weighs at least to be kept."""
_STANDING_SHARE = 0.7
"""Of the room: for the heaviest facts, the older of two equals first. The rest is for the latest."""
_REPEATED_AT_MOST = 2
_SENTENCES_AT_MOST = 200
_SENTENCE_CHARS = 4_000

_ASKED_TO = re.compile(
    r"\b(?:remember|don'?t forget|keep in mind|note that|for the record|merk(?:e)? dir|vergiss nicht|bitte beachte|"
    r"rappelle[- ]toi|n'oublie|notez que|recuerda|no olvides|ricorda|lembre|onthoud)\b|记住|请注意|覚えて",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"\b(?:my (?:first |last |full )?name(?:'s| is)|call me|i(?:'m| am) called|mein name ist|ich hei(?:ß|ss)e|nenn mich|"
    r"je m'appelle|mon nom est|me llamo|mi nombre es|mi chiamo|il mio nome|meu nome|me chamo|ik heet|mijn naam)\b"
    r"|我叫|我的名字|私の名前|と申します",
    re.IGNORECASE,
)
_PRESENTED = re.compile(r"\b(?:I'm|I am|[Ii]ch bin|[Jj]e suis|[Ss]oy|[Ss]ono|[Ss]ou)\s+(?:[A-ZÀ-Þ][\w'-]+)")
_BOUND = re.compile(
    r"\b(?:allerg\w+|vegan\w*|vegetar\w+|intoleran\w+|diabet\w+|pregnan\w+|wheelchair|deadline|budget|at most|at least|"
    r"no more than|must not|mustn'?t|cannot|can'?t|never|always|only|höchstens|mindestens|nie(?:mals)?|immer|jamais|"
    r"toujours|nunca|siempre|mai|sempre)\b|过敏|アレルギー",
    re.IGNORECASE,
)
_WISH = re.compile(
    r"\b(?:prefer\w*|favou?rite|rather|i (?:really )?(?:like|love|hate|dislike|want|need)|i'?d like|looking for|"
    r"interested in|ich (?:möchte|will|brauche|mag|suche|hätte gern)|lieber|je (?:veux|voudrais|préfère|cherche)|"
    r"quiero|prefiero|necesito|busco|vorrei|preferisco|cerco|quero|prefiro|preciso|ik wil|liever)\b|我想|我需要|喜欢",
    re.IGNORECASE,
)
_OWN = re.compile(
    r"\b(?:my|our|mine|her|his|their|mein\w*|unser\w*|mon|ma|mes|notre|mi|mis|nuestr\w+|mio|mia|nostr\w+|meu|minha|mijn|ons|onze)\b"
    r"|我的|我们的|私の",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"\b(?:is|are|was|were|am|has|have|had|means|lautet|ist|sind|war|habe|hat|est|sont|ai|es|son|tengo|tiene|è|sono|"
    r"ho|ha|é|são|tenho|heeft|zijn|heb)\b|'s\b|=|:|是|です",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(
    r"\b(?:i|i'm|i've|i'd|i'll|we|we're|we've|me|us|he|she|they|ich|wir|mich|mir|uns|je|j'\w+|nous|yo|nosotros|io|noi|eu|nós|ik|wij)\b"
    r"|我|私",
    re.IGNORECASE,
)
_DECIDED = re.compile(
    r"\b(?:let'?s (?:go|take|do|use)|i'?ll take|we'?ll take|go with|decided|agreed?|chose|chosen|confirm(?:ed)?|booked|"
    r"ordered|bought|paid|returned|cancel?led|signed up|moved|born|live[sd]? (?:in|at)|work(?:s|ed)? (?:at|for|as)|"
    r"entschieden|bestellt|gekauft|gebucht|bezahlt|wohne|arbeite|commandé|acheté|payé|habite|pedido|comprado|pagado|"
    r"vivo en|ordinato|comprato|abito|comprei|moro)\b|决定|订购|购买",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"\d")
_CODE = re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[\w-]{4,}\b|\b\d{4,}\b|[\w.+-]+@[\w-]+\.\w+|#\s?\d+")
_PROPER = re.compile(r"(?<=[a-zà-ÿ,;:] )[A-ZÀ-Þ][a-zà-ÿ]{2,}")
_REQUEST = re.compile(
    r"^\W*(?:(?:and|but|also|so|ok(?:ay)?|thanks?|und|et|y|e)\b[\s,]*)*(?:please\b|i(?:'m| am| was) wondering|i'd like to know|"
    r"what about|how about|can i|can you|could you|would you|will you|tell me|show me|give me|send me|explain|list|what|how|why|"
    r"when|where|which|who|do you|does|is there|are there|bitte|kannst|können|was|wie|warum|wann|wo|welche|wer|gibt es|"
    r"peux|pouvez|quel|comment|pourquoi|quand|puedes|qué|cómo|cuándo|dónde|puoi|come|quando|dove|pode|qual)\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[?？]\s*$")
_SMALL_TALK = re.compile(
    r"^\W*(?:(?:hi|hello|hey|good (?:morning|afternoon|evening)|thanks?|thank you|thx|great|ok(?:ay)?|cool|nice|perfect|"
    r"yes|no|yep|nope|sure|fine|bye|goodbye|lol|hallo|danke|gut|ja|nein|merci|bonjour|oui|non|gracias|hola|sí|vale|"
    r"grazie|ciao|obrigad[oa]|olá)\b[\s,.!]*(?:you|so much|a lot|there|very much|again|schön|beaucoup|mucho)?[\s,.!]*)+$",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"^\W*(?:thanks?|thank you|thx|danke|merci|gracias|grazie|obrigad[oa])\b(?:\W+\w+){0,6}\W*$", re.IGNORECASE
)
_PROMISED = re.compile(
    r"\b(?:your|you(?:'ve| have)?|ihre?n?|dein\w*|votre|tu|su|vostr\w+|seu|sua|uw)\b.*"
    r"\b(?:is|are|booked|reserved|refund\w*|confirm\w*|scheduled|arriv\w*|shipped|cancel?led|due|approved|gebucht|bestätigt|"
    r"erstattet|versandt|confirmé\w*|remboursé\w*|confirmad\w*|enviad\w*)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One sentence as it was said. `ordinal`: of the message it stands in; `said`: how often it was said."""

    ordinal: int
    score: int
    said: int
    text: str


def is_small_talk(sentence: str) -> bool:
    """Whether a sentence is a greeting, thanks or a bare yes."""
    return bool(_SMALL_TALK.match(sentence) or (_THANKS.match(sentence) and not _FIGURE.search(sentence)))


def sentences_of(text: str) -> list[str]:
    """The sentences of a message, lines apart; the first ones of a very long message."""
    found: list[str] = []
    for line in text.splitlines():
        for sentence in split_sentences(line[:_SENTENCE_CHARS]):
            found.append(sentence.strip())
            if len(found) >= _SENTENCES_AT_MOST:
                return found
    return [sentence for sentence in found if sentence]


def find_facts(ordinal: int, said: str, answered: str | None, suspect: Suspect) -> list[Fact]:
    """The facts of one message and its answer, in their order. A question nobody answered is one, too."""
    found: list[Fact] = []
    asked = ""
    for sentence in sentences_of(said):
        score = weigh(sentence)
        if score < WORTH:
            asked = asked or (sentence if _QUESTION.search(sentence) else "")
        elif not suspect(sentence):
            found.append(Fact(ordinal, score, 1, clip(sentence)))
    if not answered and asked and not suspect(asked):
        found.append(Fact(ordinal, WORTH + 1, 1, f"(not answered) {clip(asked)}"))
    # An answer's facts stand in the knowledge base; what it told this visitor of their own affairs does not.
    promised = [
        Fact(ordinal, WORTH, 1, f"(assistant) {clip(sentence)}")
        for sentence in sentences_of(answered or "")
        if _PROMISED.search(sentence) and _FIGURE.search(sentence) and not suspect(sentence)
    ]
    return found + promised


def weigh(sentence: str) -> int:
    """How much a visitor's sentence is worth remembering; from `WORTH` on it is kept while there is room."""
    if is_small_talk(sentence):
        return 0
    asks = bool(_QUESTION.search(sentence) or _REQUEST.match(sentence))
    own = bool(_OWN.search(sentence))
    score = 0 if asks else 1
    if _ASKED_TO.search(sentence):
        score += 6
    if _NAMED.search(sentence) or (not asks and _PRESENTED.search(sentence)):
        score += 6
    if own and _STATES.search(sentence) and not asks:
        score += 4
    if not asks and (own or _FIRST_PERSON.search(sentence)):
        score += 1
        score += (
            3 * bool(_BOUND.search(sentence)) + 3 * bool(_WISH.search(sentence)) + 3 * bool(_DECIDED.search(sentence))
        )
    elif asks and own:
        score += 1
    if _CODE.search(sentence):
        score += 2
    elif _FIGURE.search(sentence):
        score += 1
    score += bool(_PROPER.search(sentence))
    return score - 2 if asks else score


def merge(kept: Sequence[Fact], new: Iterable[Fact]) -> list[Fact]:
    """`kept` and `new` in one list, oldest first. What was said before keeps its place and weighs a little more; of
    sentences that differ in nothing but their figures the first and the latest stay."""
    facts = list(kept)
    keys = [_key(fact.text) for fact in facts]
    for fact in new:
        key = _key(fact.text)
        same = next((at for at, other in enumerate(keys) if _alike(key, other)), None)
        if same is not None:
            before = facts[same]
            facts[same] = replace(before, said=before.said + 1, score=max(before.score, fact.score))
            continue
        like = [at for at, other in enumerate(keys) if key[1] and other[1] == key[1]]
        if len(like) >= _REPEATED_AT_MOST:
            del facts[like[-1]], keys[like[-1]]
        facts.append(fact)
        keys.append(key)
    return facts


def bound(facts: Sequence[Fact], room_tokens: int, count: Count) -> list[Fact]:
    """Those of `facts` that fit into `room_tokens`, in their order. The heaviest go first, the older of two equals, and
    the latest fill what is left: a fact keeps its place until there is no room for it."""
    costs = {at: count(line(fact)) + 1 for at, fact in enumerate(facts)}
    kept: set[int] = set()
    room = int(room_tokens * _STANDING_SHARE)
    for at in sorted(costs, key=lambda at: (-_weight(facts[at]), facts[at].ordinal, at)):
        if costs[at] <= room:
            room -= costs[at]
            kept.add(at)
    room += room_tokens - int(room_tokens * _STANDING_SHARE)
    for at in sorted(costs, key=lambda at: (-facts[at].ordinal, at)):
        if at not in kept and costs[at] <= room:
            room -= costs[at]
            kept.add(at)
    return [fact for at, fact in enumerate(facts) if at in kept]


def line(fact: Fact) -> str:
    """A fact as it is shown."""
    return f"- {fact.text}"


def clip(sentence: str, chars: int = FACT_CHARS) -> str:
    """A sentence in one line, cut to `chars` around its first figure or name."""
    sentence = " ".join(sentence.split())
    if len(sentence) <= chars:
        return sentence
    found = _NAMED.search(sentence) or _CODE.search(sentence) or _FIGURE.search(sentence) or _OWN.search(sentence)
    at = found.start() if found else 0
    start = 0 if at < chars * 3 // 4 else min(at - chars // 4, len(sentence) - chars)
    piece = sentence[start : start + chars].strip()
    return f"{'…' if start else ''}{piece}{'…' if start + chars < len(sentence) else ''}"


def _weight(fact: Fact) -> int:
    return fact.score + min(fact.said - 1, 2)


_Key = tuple[frozenset[str], str]


def _key(text: str) -> _Key:
    """(words that carry meaning, the sentence with its figures blotted out where it has any)."""
    said = words(text)
    carrying = frozenset(word for word in said if word not in STOP_WORDS)
    blotted = " ".join("#" if _FIGURE.search(word) else word for word in said)
    return carrying or frozenset(said), blotted if "#" in blotted else ""


def _alike(one: _Key, other: _Key) -> bool:
    """Whether two sentences say the same: nearly the same words, and the same figures."""
    a, b = one[0], other[0]
    if a == b:
        return True
    if len(a & b) < 0.8 * len(a | b):
        return False
    return {word for word in a if _FIGURE.search(word)} == {word for word in b if _FIGURE.search(word)}
