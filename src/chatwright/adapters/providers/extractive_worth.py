"""What a passage is worth as an answer to one question: words shared, heading, relevance, place, kind of answer. Pure.

Used by `quoting`. The weights were chosen on fold A of XQuAD (English and German) and on this project's documentation;
`bench/quality/extractive.py` prints what they come to on the rest.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from chatwright.adapters.providers.extractive_passages import Passage, asked_terms, terms_of
from chatwright.domain.providers import Source

MAX_CODE_WORDS = 40

_MONTH = (
    r"Jan(?:uary|uar)?|Feb(?:ruary|ruar)?|March|März|Apr(?:il)?|May|Mai|June?|Juni|July?|Juli|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Oktober|Nov(?:ember)?|De[cz](?:ember)?"
)
_DATE = re.compile(
    rf"\b(?:1\d|20)\d\ds?\b|\b(?:{_MONTH})\b|\b\d{{1,2}}(?:st|nd|rd|th|\.)?\s+(?:century|Jahrhundert)"
    r"|\d{1,2}:\d\d|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b|\b(?:Mon|Diens|Donners|Frei|Sams|Sonn)tags?\b|\bMittwochs?\b",
)
_NUMBER_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand|million"
    "|billion|half|third|quarter|dozen|once|twice|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|zwanzig|dreißig"
    "|vierzig|fünfzig|hundert|tausend|millionen?|milliarden?|hälfte|drittel|viertel|dutzend|einmal|zweimal"
)
_AMOUNT = re.compile(rf"\d|\b(?:{_NUMBER_WORDS})\b", re.IGNORECASE)
_NAME = re.compile(
    r"(?<=[^\s.!?:]\s)(?:[A-ZÀ-ÖØ-Þ][\w'’.-]*\s+){1,3}[A-ZÀ-ÖØ-Þ][\w'’-]+|(?<=[a-z,]\s)[A-ZÀ-ÖØ-Þ][\w'’-]+"
)

_WANTS: tuple[tuple[str, re.Pattern[str], re.Pattern[str]], ...] = (
    (
        "amount",
        re.compile(
            r"\bhow (?:many|much|long|fast|often|big|old|large|far|high|tall|deep|wide|heavy|hot|cold)\b"
            r"|\b(?:which|what) (?:port|version|percent\w*|number|amount|size|price|population)\b"
            r"|\b(?:wie ?viele?|wie (?:lange|hoch|groß|oft|alt|schnell|weit|tief|schwer|teuer))\b|\bwelcher? (?:prozent\w*|anteil|anzahl)\b",
            re.IGNORECASE,
        ),
        _AMOUNT,
    ),
    (
        "date",
        re.compile(
            r"^\W*(?:when|wann|seit wann|bis wann)\b|\b(?:what|which) (?:year|century|decade|date|day|month|time)\b"
            r"|\b(?:until|since) when\b|\b(?:welche[mnrs]?) (?:jahr\w*|datum|tag|monat)\b",
            re.IGNORECASE,
        ),
        _DATE,
    ),
    (
        "name",
        re.compile(
            r"^\W*(?:who|whom|whose)\b|\b(?:which|what) (?:person|man|woman|author|king|president|country|city|state|team)\b",
            re.IGNORECASE,
        ),
        _NAME,
    ),
)
_ASKS_HOW_TO = re.compile(r"\bhow (?:do|can|to|should|would)\b|\b(?:command|set up|install)\b", re.IGNORECASE)
_ASKS_WHAT_IS = re.compile(
    r"\s*(?:what(?:'s|’s| is| are| does)|who (?:is|are)|define|explain|was (?:ist|sind|bedeutet)|wer (?:ist|sind))\s+"
    r"(?:a |an |the |ein |eine |der |die |das )?(.{2,60}?)(?: mean)?[?.!\s]*",
    re.IGNORECASE,
)
ABOUT_THE_PAGE = re.compile(r"this (?:page|document|guide|section|tutorial|chapter|article)\b", re.IGNORECASE)

WEIGHTS: Mapping[str, float] = {
    "again": 0.3,
    "heading": 1.1,
    "relevance": 0.6,
    "amount": 0.4,
    "date": 0.25,
    "name": 0.2,
}


class Judge:
    """Weighs the passages of `sources` for one question, cut into terms by the rules of `language`."""

    def __init__(
        self,
        question: str,
        sources: Sequence[Source],
        per_source: Sequence[Sequence[Passage]],
        language: str | None,
        weights: Mapping[str, float] = WEIGHTS,
    ) -> None:
        everything = [passage for passages in per_source for passage in passages]
        asked = asked_terms(question, language)
        self.asked = frozenset(asked)
        self._language = language
        self._weights = weights
        frequency = Counter(term for passage in everything for term in passage.terms & self.asked)
        self._weight = {
            term: weight * math.log(1 + len(everything) / (0.5 + frequency[term])) for term, weight in asked.items()
        }
        self._total = math.fsum(self._weight.values()) or 1.0
        self._places = {id(source): at for at, source in enumerate(sources)}
        self.headings = [self._share(terms_of(last_heading(source), language)) for source in sources]
        # A source that goes on in the section of the one before has no start of its own.
        self._continues = [False] + [
            one.title == other.title and one.document_id == other.document_id
            for one, other in itertools.pairwise(sources)
        ]
        self._wants = [(name, shape) for name, asks, shape in _WANTS if asks.search(question)]
        self._said = frozenset(question.casefold().split())
        self._asks_how_to = _ASKS_HOW_TO.search(question) is not None
        subject = _ASKS_WHAT_IS.fullmatch(question)
        self._definition = (
            re.compile(
                rf"(?:(?:an?|the|eine?|der|die|das)\s+)?\W?{re.escape(subject[1])}s?\W?\s+"
                r"(?:is|are|means|ist|sind|bedeutet)\b(\s+(?:an?|the|one|eine?r?|der|die|das)\b)?",
                re.IGNORECASE,
            )
            if subject
            else None
        )

    def at(self, passage: Passage) -> int:
        """The place of a passage's source, from 0."""
        return self._places[id(passage.source)]

    def _share(self, terms: frozenset[str]) -> float:
        # `fsum`: the sum of a set must not depend on its order.
        return math.fsum(self._weight[term] for term in terms & self.asked) / self._total

    def worth(self, passage: Passage, covered: set[str]) -> float:
        """What a passage adds to an answer that covers some terms of the question already."""
        at, weights = self.at(passage), self._weights
        early = 0.0 if self._continues[at] else max(0.0, 1 - passage.order / 5)
        value = self._share(passage.terms - covered) + weights["again"] * self._share(passage.terms & covered)
        # Squared: a heading that says half of it says little, one that says it all is the question itself.
        value += weights["heading"] * self.headings[at] ** 2 * early
        value += weights["relevance"] * passage.source.score * (1 - 0.15 * at)
        if self._definition and (found := self._definition.match(passage.text)):
            value += 0.8 if found[1] else 0.4
        for name, shape in self._wants:
            if any(match[0].casefold() not in self._said for match in shape.finditer(passage.text)):
                value += weights[name]
        if self._asks_how_to:
            value += (
                0.25 if passage.kind == "code" else 0.15 if "`" in passage.text or passage.text.endswith(":") else 0
            )
        if passage.kind == "code":
            value -= 0.15 + (0.4 if passage.length > MAX_CODE_WORDS else 0)
        elif passage.words < 3:
            value -= 0.15
        if ABOUT_THE_PAGE.match(passage.text):
            value -= 0.3
        return value


def last_heading(source: Source) -> str:
    return source.title.rpartition("›")[2]
