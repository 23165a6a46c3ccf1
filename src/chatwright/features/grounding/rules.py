"""How much of an answer stands in its sources, and which hosts its links may lead to. Pure; called by the flows."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from chatwright.domain.language import STOP_WORDS, detect_language, index_terms, split_sentences
from chatwright.domain.providers import Source

_FEWEST_TERMS = 2  # "Yes, gladly." claims nothing
_CITATION = re.compile(r"\[(\d{1,2})\]")
_MARKUP = re.compile(r"```.*?(?:```|\Z)|https?://\S+|[*_#>|`]+", re.DOTALL)
_NUMBER_WEIGHT = 3.0
_URL = re.compile(r"https?://[^\s<>\"')\]]+")


def cited_numbers(text: str) -> frozenset[int]:
    """The sources that a text cites as ``[n]``."""
    return frozenset(int(number) for number in _CITATION.findall(text))


def known_hosts(
    addresses: Iterable[str | None], texts: Iterable[str] = (), named: Iterable[str] = ()
) -> frozenset[str]:
    """The hosts of `addresses`, of the addresses that stand in `texts`, and those `named` outright ("*.example.com")."""
    found = [address for address in addresses if address]
    for text in texts:
        found += _URL.findall(text)
    hosts = {_host_of(address) for address in found} | {name.strip().casefold().removeprefix("www.") for name in named}
    return frozenset(hosts - {""})


def _host_of(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").casefold().removeprefix("www.")
    except ValueError:
        return ""


def support(text: str, sources: Sequence[Source]) -> float | None:
    """The share of what an answer says that stands in its sources, 0..1; None where words cannot tell.

    Each sentence is held against the sources that it cites, or against all of them when it cites none; its terms count,
    numbers thrice, because a number that no source holds is the worst invention. None without sources, for an answer that
    says nothing, and for an answer in another language than all of its sources.
    """
    if not sources:
        return None
    language = detect_language(_MARKUP.sub(" ", text))
    languages = {detect_language(source.text or source.quote) for source in sources}
    if language is not None and languages and None not in languages and language not in languages:
        return None
    terms = {
        source.n: frozenset(_terms(f"{source.title} {source.text or source.quote}", language)) for source in sources
    }
    everything = frozenset[str]().union(*terms.values())
    found = total = 0.0
    for sentence in _sentences(text):
        cited = cited_numbers(sentence) & terms.keys()
        held = frozenset[str]().union(*(terms[number] for number in cited)) if cited else everything
        said = frozenset(_terms(_CITATION.sub(" ", sentence), language))
        if len(said) < _FEWEST_TERMS:
            continue
        for term in said:
            weight = _NUMBER_WEIGHT if any(character.isdigit() for character in term) else 1.0
            total += weight
            found += weight * (term in held)
    return round(found / total, 4) if total else None


def _sentences(text: str) -> list[str]:
    return [sentence for line in _MARKUP.sub(" ", text).split("\n") for sentence in split_sentences(line)]


def _terms(text: str, language: str | None) -> list[str]:
    stop = STOP_TERMS
    return [term for term in index_terms(text, language) if term not in stop]


STOP_TERMS = frozenset(term for word in STOP_WORDS for term in index_terms(word, "en"))
