"""What two questions must share before one's answer may be given to the other, whatever their vectors say. Pure.

An embedding hardly sees a number, a negation or which way money goes; these are read off the words here. `Guards.of` is
what one question states; `ClassGuards` is what the verified phrasings of a class show, made once when a class is
loaded. A question passes if one phrasing of the class is compatible with it in everything that the class depends on:
phrasings with several numbers (days, names, quotations) and one answer prove that the answer doesn't depend on them.

Called for each question that the router would serve. `Guards.of` takes 30 to 120 µs, a conflict 1 to 20 µs.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from chatwright.domain.detection import common_words, detect_language, script_of
from chatwright.features.cache.guard_words import (
    COMMON_CAPITALS,
    DATES,
    HARMLESS_NEGATIONS,
    NAMES,
    NEGATIONS,
    NUMBERS,
    SIDES,
    TROUBLES,
    UNITS,
    WHY_NOT,
)

Polarity = Literal["plain", "negated", "either"]

PROOF_OF_INDEPENDENCE = 3
"""Different values of one kind ("none" is one) among verified phrasings before a class is taken not to depend on it."""
_LONGEST = 2_000
_LONG_WORD = 4
"""Letters from which on a word is written large in a title."""
_LONG_WORDS = 20
"""In a longer text a negation is part of the story rather than of the question."""
_TOKEN = re.compile(
    r"""
      (?P<ago>(?<![\w.])(?:\d+|an?|two|three|four|five|six|a[ ]few|couple[ ]of)[ ](?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)[ ]ago(?!\w)
         |(?:\d+|two|three|four|five|several|many)[ ]times(?!\w)|vor[ ]\w+[ ](?:stunden?|tage?n?|wochen?|monate?n?)(?!\w))
    | (?P<date>(?<![\w.])(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|\d{1,2}[:h]\d\d
         |\d{1,2}[ ]?(?:am|pm|a\.m\.|p\.m\.)|(?:19|20)\d\d)(?!\w|[.,]\d))
    | (?P<number>\d[\d.,\u00a0']*\d|\d)(?:st|nd|rd|th)?(?!\w)
    | (?P<word>[^\W_]+(?:['-][^\W_]+)*)
    | (?P<sign>[$€£¥₹%])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_THOUSANDS = re.compile(r"[.,](?=\d{3}(?:\D|$))")
_QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»\n]{1,200})[\"“”„«»]|(?<!\w)['‘]([^'‘\n]{2,200})'(?!\w)|`([^`\n]{1,200})`")
_MARKS = "\"“”„«»'‘`"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_HARMLESS = re.compile(HARMLESS_NEGATIONS)
_WHY_NOT = re.compile(WHY_NOT)
_UNMARKED = frozenset(
    ["dont", "cant", "wont", "isnt", "doesnt", "didnt", "hasnt", "havent", "arent", "wasnt", "couldnt", "shouldnt"]
)
_ROUTE = re.compile(
    r"(?<!\w)(?:([^\W\d_][\w-]{1,30})\s+)?(from|to|into|von|nach|de|à|vers|a|hacia|da|para|van|naar|in)\s+"
    r"(?:the |my |an? |meine[mnr]? |de[rmn] )?(?=([^\W\d_][\w-]{1,30}))"
)
_SOURCES = frozenset(["from", "von", "de", "da", "van"])
_ROADS = frozenset(["from", "to", "into", "von", "nach"])
_TOWARDS = frozenset(["to", "into", "nach", "à", "vers", "a", "para", "naar"])
_SENTENCE_END = re.compile(r"[.!?:]\s*$|\n\s*$")
_SENTENCES = re.compile(r"[.!?]\s+\w")
_PAST = ("yesterday", "today", "last ", "this ")
_Set = frozenset[str]
_NONE: _Set = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What one question states. `languages`: those it may be in, empty where too little tells; `words`: all its words in
    small letters; `directions`: sides of opposites ("+open"); `routes`: from where to where ("from eur", "to usd").

    `polarity`: "negated" turns a question round; "either" reports a trouble, which is said with or without a negation.
    """

    script: str | None = None
    languages: _Set = _NONE
    numbers: _Set = _NONE
    units: _Set = _NONE
    dates: _Set = _NONE
    past: _Set = _NONE
    names: _Set = _NONE
    quoted: _Set = _NONE
    polarity: Polarity = "plain"
    directions: _Set = _NONE
    routes: _Set = _NONE
    words: _Set = _NONE

    @classmethod
    def of(cls, text: str, *, language: str | None = None) -> "Guards":
        """Read a question. `language` where the caller knows it. Linear in its length, of which 2,000 characters count."""
        text = text[:_LONGEST].replace("’", "'")
        folded = text.casefold()
        read = _Reading(text, capitals=_is_mixed(text))
        script = script_of(folded)
        quoted = _NONE
        if any(mark in text for mark in _MARKS):
            quoted = frozenset(" ".join(_WORD.findall("".join(found))) for found in _QUOTED.findall(folded))
        return cls(
            script=script,
            languages=_languages(script, read.words)
            or (frozenset([language]) if language and script != "latin" else _NONE),
            numbers=frozenset(read.numbers),
            units=frozenset(read.units),
            dates=frozenset(read.dates),
            past=frozenset(read.past),
            names=frozenset(read.names),
            quoted=quoted,
            polarity=_polarity(folded),
            directions=frozenset(read.directions),
            routes=frozenset(_routes(folded)),
            words=frozenset(read.words),
        )


class _Reading:
    """One pass over a question's tokens."""

    def __init__(self, text: str, *, capitals: bool) -> None:
        self.numbers: set[str] = set()
        self.units: set[str] = set()
        self.dates: set[str] = set()
        self.past: set[str] = set()
        self.names: set[str] = set()
        self.directions: set[str] = set()
        self.words: set[str] = set()
        before, number = "", ""
        end = 0
        for match in _TOKEN.finditer(text):
            kind, token = match.lastgroup, match[0]
            if kind == "word":
                number = self._word(token, before, number)
                if (
                    capitals
                    and end
                    and token[0].isupper()
                    and not _SENTENCE_END.search(text, max(0, end - 1), match.start())
                ):
                    self._capital(token)
                before = token.casefold()
            elif kind == "number":
                number, before = self._number(match["number"], before), ""
            elif kind == "date":
                self.dates.add(token.casefold().replace(" ", "").replace(".m.", "m"))
                before, number = "", ""
            elif kind == "sign":
                self._unit(number, token)
                before = token
            else:  # how long ago, how often: part of a story
                self.words.update(_WORD.findall(token.casefold()))
                before, number = "", ""
            end = match.end()

    def _number(self, token: str, before: str) -> str:
        # "1,000" and "1.000" are a thousand; "1.5" and "1,50" are not.
        value = _THOUSANDS.sub("", token.replace("\u00a0", "").replace("'", "")).replace(",", ".")
        if "." in value:
            value = value.rstrip("0").rstrip(".")
        value = value.lstrip("0") or "0"
        self.numbers.add(value)
        self.words.add(value)
        self._unit(value, before)
        return value

    def _unit(self, number: str, word: str) -> None:
        if number and (unit := UNITS.get(word)):
            self.units.add(f"{number} {unit}")

    def _word(self, token: str, before: str, number: str) -> str:
        """Take a word; returns the number that a unit behind it would belong to."""
        word = token.casefold()
        self.words.add(word)
        if number and word in UNITS:
            self._unit(number, word)
            return ""
        pair = f"{before} {word}"
        if side := SIDES.get(pair) or SIDES.get(word):
            self.directions.add(side)
        if day := DATES.get(pair) or DATES.get(word):
            (self.past if day.startswith(_PAST) else self.dates).add(day)
        if word in NAMES:
            self.names.add(word)
        if value := NUMBERS.get(word):
            self.numbers.add(value)
            self._unit(value, before)
            return value
        if not word.isalpha() and any(map(str.isdigit, word)):  # "x200", "iphone12", "10kg"
            digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
            unit = UNITS.get(word[len(digits) :])
            self.numbers.add(digits if unit else word)
            self._unit(digits if unit else "", word[len(digits) :])
        return ""

    def _capital(self, token: str) -> None:
        name = token.casefold().removesuffix("'s")
        if name not in COMMON_CAPITALS and "'" not in name and name not in DATES and name not in common_words("en"):
            self.names.add(name)


def _is_mixed(text: str) -> bool:
    """Whether capitals tell anything: not in a text that shouts, writes Each Word Large, or has capitals for nouns."""
    found = [word for word in text.split() if word[0].isalpha()]
    if not any(len(word) >= _LONG_WORD and word[0].islower() for word in found):
        return False
    return sum([word[0].isupper() for word in found]) <= 1 or detect_language(text) != "de"


_LATIN = (
    "en",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "sv",
    "da",
    "no",
    "fi",
    "pl",
    "cs",
    "sk",
    "ro",
    "hu",
    "tr",
    "id",
    "vi",
)


def _languages(script: str | None, words: Iterable[str]) -> _Set:
    """The languages that have most of the common words in a text. Two words that no language of a set lacks leave it
    open which it is: short texts are in several at once."""
    if script != "latin":
        return frozenset([script]) if script else _NONE
    said = frozenset(words)
    hits = {language: len(common_words(language) & said) for language in _LATIN}
    most = max(hits.values())
    return frozenset(language for language, count in hits.items() if count * 3 >= most * 2) if most >= 2 else _NONE


def _polarity(text: str) -> Polarity:
    """What a text's negations come to; `text` in small letters."""
    said = _WORD.findall(text)
    if NEGATIONS.isdisjoint(said) and "n't" not in text and _UNMARKED.isdisjoint(said):
        return "plain" if TROUBLES.isdisjoint(said) else "either"
    left = _WORD.findall(_HARMLESS.sub(" ", text))
    count = sum([word in NEGATIONS or word.endswith("n't") or word in _UNMARKED for word in left])
    if count and (len(said) > _LONG_WORDS or _SENTENCES.search(text) or _WHY_NOT.search(text)):
        return "either"
    if not TROUBLES.isdisjoint(said):
        return "either"
    return "negated" if count % 2 else "plain"


def _routes(text: str) -> Iterable[str]:
    for before, way, place in _ROUTE.findall(text):
        if place in NAMES or way in _ROADS:
            yield f"{'from' if way in _SOURCES else 'to'} {UNITS.get(place, place)}"
        if before in NAMES and way in _TOWARDS:  # "EUR to USD"
            yield f"from {UNITS.get(before, before)}"


# --- a class ------------------------------------------------------------------------------------------------------

_VALUES = ("numbers", "dates", "past", "names", "quoted")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassGuards:
    """What the verified phrasings of one class show together. `free`: kinds of values that its answer doesn't depend
    on; `vocabulary`: every word of theirs."""

    shapes: tuple[Guards, ...]
    free: _Set = _NONE
    vocabulary: _Set = field(default=_NONE, repr=False)

    @classmethod
    def of(cls, phrasings: Iterable[Guards]) -> "ClassGuards":
        """Phrasings that state the same are kept once, so that a class of hundreds is a handful of shapes."""
        every = tuple(phrasings)
        free = frozenset(
            kind for kind in _VALUES if len({getattr(one, kind) for one in every}) >= PROOF_OF_INDEPENDENCE
        )
        vocabulary = frozenset[str]().union(*[one.words for one in every]) if every else _NONE
        shapes = dict.fromkeys(
            Guards(
                script=one.script,
                languages=one.languages,
                numbers=_NONE if "numbers" in free else one.numbers,
                units=_NONE if "numbers" in free else one.units,
                dates=_NONE if "dates" in free else one.dates,
                past=_NONE if "past" in free else one.past,
                names=_NONE if "names" in free else one.names,
                quoted=_NONE if "quoted" in free else one.quoted,
                polarity=one.polarity,
                directions=one.directions,
                routes=one.routes,
            )
            for one in every
        )
        return cls(shapes=tuple(shapes), free=free, vocabulary=vocabulary)

    def conflict(self, asked: Guards) -> str | None:
        """Why no phrasing is compatible with a question; None if one is. The reason is that of the phrasing that came
        furthest, so it names what is really in the way."""
        best, why = -1, "empty"
        for shape in self.shapes:
            passed, reason = self._against(asked, shape)
            if reason is None:
                return None
            if passed > best:
                best, why = passed, reason
        return why

    def _against(self, asked: Guards, shape: Guards) -> tuple[int, str | None]:
        """How many tests a question passes against one phrasing, and the one that it fails."""
        if self._foreign(asked, shape):
            return 0, "language"
        if "numbers" not in self.free:
            if asked.numbers != shape.numbers:
                return 1, "numbers"
            if asked.units and shape.units and asked.units != shape.units:
                return 1, "units"
        if "dates" not in self.free and asked.dates != shape.dates:
            return 2, "dates"
        if "past" not in self.free and asked.past and shape.past and asked.past != shape.past:
            return 2, "dates"
        if "quoted" not in self.free and not self._quotes_alike(asked, shape):
            return 3, "quoted"
        if "names" not in self.free and not (shape.names <= asked.words and asked.names <= self.vocabulary):
            return 4, "names"
        if asked.polarity != shape.polarity and "either" not in (asked.polarity, shape.polarity):
            return 5, "negation"
        if _opposed(asked.directions, shape.directions):
            return 6, "direction"
        if _swapped(asked.routes, shape.routes):
            return 7, "route"
        return 8, None

    def _foreign(self, asked: Guards, shape: Guards) -> bool:
        if asked.script is None or shape.script is None:
            return False
        if asked.script != shape.script:
            return True
        if asked.languages and shape.languages:
            return asked.languages.isdisjoint(shape.languages)
        # One is too short to be known: then a word of the class must stand in it.
        return bool(asked.languages or shape.languages) and asked.words.isdisjoint(self.vocabulary)

    def _quotes_alike(self, asked: Guards, shape: Guards) -> bool:
        """What is quoted on one side stands without marks on the other."""
        if asked.quoted == shape.quoted:
            return True
        if asked.quoted and shape.quoted:
            return False
        return all(self.vocabulary.issuperset(quote.split()) for quote in asked.quoted) and all(
            asked.words.issuperset(quote.split()) for quote in shape.quoted
        )


def conflict(asked: Guards, phrasings: Sequence[Guards]) -> str | None:
    """Why none of a class's verified phrasings is compatible with a question; None if one is. A class that is asked
    often is kept as `ClassGuards`."""
    return ClassGuards.of(phrasings).conflict(asked)


def _opposed(left: _Set, right: _Set) -> bool:
    """Whether two texts stand on opposite sides of an axis; one that names both sides stands on neither."""
    for side in left:
        other = ("-" if side[0] == "+" else "+") + side[1:]
        if other in right and side not in right and other not in left:
            return True
    return False


def _swapped(left: _Set, right: _Set) -> bool:
    """Whether one text leads to where the other comes from."""
    for end in left:
        way, _, place = end.partition(" ")
        turned = f"{'to' if way == 'from' else 'from'} {place}"
        if turned in right and end not in right and turned not in left:
            return True
    return False
