"""Plain text as sentences and content words. Pure; shared by chunking, relevance and the extractive provider.

English first, with the German words that would otherwise break sentences; other languages get the general rules.
Every function is linear in the length of its text, whatever the text is.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from chatwright.domain.detection import detect_language
from chatwright.domain.terms import index_terms

__all__ = [
    "STOP_WORDS",
    "content_words",
    "detect_language",
    "index_terms",
    "sentence_spans",
    "split_sentences",
    "stem",
    "words",
]

_TERMINATOR = re.compile(
    # The look-behind keeps a run of a million dots linear: only its first dot starts a match.
    r"""(?<![.!?…])[.!?…]++["'»”’)\]*_`]*+(?=\s)|(?<![。！？])[。！？]++[”’」』）]*+"""
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_LAST_TOKEN = re.compile(r"\S{1,24}$")
_OPENERS = "\"'«“‘([*_`-–—#"


def _listed(text: str) -> frozenset[str]:
    """A set written as running text: word lists read best so."""
    return frozenset(text.split())


_ABBREVIATIONS = _listed("dr mr mrs ms prof st vs e.g i.e eg ie cf fig z.b d.h u.a s.o bzw ggf evtl usw vgl hr fr resp")
_ABBREVIATIONS_BEFORE_LOWER_OR_DIGIT = _listed(
    "no nr p pp v max min etc inc ltd co corp ca approx sec ch incl excl inkl exkl est al vol ed tel "
    "jan feb mar apr jun jul aug sep sept oct okt nov dec dez"
)
_VERDICTS = _listed("yes no ja nein")
# "am 3. Oktober" is no end of a sentence.
_GERMAN_MONTHS = (
    "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember",
)  # fmt: skip

_VOWELS = frozenset("aeiouy")
_STEMS = {"used": "use", "uses": "use", "using": "use", "embed": "embed"}
_VERB_ENDINGS = (("ation", 4), ("ingly", 3), ("edly", 3), ("ing", 3), ("ed", 3), ("ly", 4))
_ACTOR_ENDINGS = (("er", 4), ("or", 4))

STOP_WORDS = _listed(
    "a about above after again all also am an and any are as at be because been before being below between both but by "
    "can could did do does doing down during each few for from further get had has have having he her here hers him his "
    "how i if in into is it its itself just like may me more most my myself no nor not now of off on once only or other "
    "our ours out over own please same she should so some such tell than that the their theirs them then there these "
    "they this those through to too under until up us very want was we were what when where which while who whom why "
    "will with would you your yours don't doesn't isn't can't i'm it's that's what's there's i'd i'll i've you're let's "
    "der die das den dem des ein eine einer eines einem einen und oder aber ist sind war waren wird werden kann können "
    "wie was wer wo wann warum welche welcher welches ich du er sie es wir ihr mein dein nicht auch mit von zu zum zur "
    "im in auf für an am bei nach aus als so wenn dann man mich mir sich"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where the sentences of `text` stand: (start, end) pairs, ascending, without the white space between them."""
    return list(_spans(text))


def split_sentences(text: str) -> list[str]:
    """The sentences of one paragraph. Joined, they hold every character of `text` but white space between them."""
    return [text[start:end] for start, end in _spans(text)]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = _skip_space(text, 0)
    for match in _TERMINATOR.finditer(text):
        if match.end() <= start or not _ends_sentence(text, start, match):
            continue
        yield start, match.end()
        start = _skip_space(text, match.end())
    end = len(text.rstrip())
    if start < end:
        yield start, end


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    follow = _skip_space(text, match.end())
    if follow >= len(text):
        return True
    if not match[0].startswith("."):  # !, ?, … and the CJK stops
        pauses = match[0][0] == "…" or match[0][-1] not in "!?。！？"  # an ellipsis, or a mark inside quotes
        return not (pauses and text[follow].islower())
    token_match = _LAST_TOKEN.search(text, max(start, match.start() - 24), match.start())
    token = token_match[0].lstrip("\"'«“‘([*_`") if token_match else ""
    word = token.casefold()
    first = text[follow]
    if first in _OPENERS and follow + 1 < len(text):
        first = text[follow + 1]
    if word in _VERDICTS and match.start() - start == len(token):
        return True  # "Yes. chatwright does."
    if word in _ABBREVIATIONS or (len(token) == 1 and token.isupper()):
        return False
    if word.isdigit():
        if match.start() - start <= 12 and not text[start : match.start()].strip("#*-_ 0123456789"):
            return False  # "1. First item": the number belongs to what follows
        return len(word) > 2 or not text.startswith(_GERMAN_MONTHS, follow)
    if first.islower() or first.isdigit():
        if word in _ABBREVIATIONS_BEFORE_LOWER_OR_DIGIT:
            return False
        # A lower-case start is a name (`chatwright`) after a whole word, and a mere pause after a short one.
        return first.isdigit() or (len(word) >= 4 and word.isalpha()) or not word.isalpha()
    return True


def words(text: str) -> list[str]:
    """Every word of `text`, lower case, in order; names such as ``OPENAI_API_KEY`` fall into their parts."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def content_words(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order, stop words left out."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


# Each question weighs the words of twenty passages: the same few thousand words again and again.
@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """Cut the common English endings, so that "limits", "limited" and "limiting" meet. Not a linguist's stem."""
    word = word.replace("’", "'").removesuffix("'s")
    if word in _STEMS:
        return _STEMS[word]
    if len(word) <= 3 or not word.isascii():
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("sses"):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    # In two steps, because "answered" must meet "answer".
    for endings in (_VERB_ENDINGS, _ACTOR_ENDINGS):
        for ending, shortest in endings:
            rest = word.removesuffix(ending)
            if rest != word and len(rest) >= shortest and not rest.endswith("e") and not _VOWELS.isdisjoint(rest):
                word = rest
                if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                    word = word[:-1]
                break
    if word.endswith("y") and len(word) > 3:
        return word[:-1] + "i"  # "retry", "retried", "retries"
    return word[:-1] if word.endswith("e") and len(word) > 3 else word
