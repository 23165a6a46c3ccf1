"""Words that an answer is not to have, by category and language, from lists that others keep.

`glin_profanity` has swear words of 24 languages, `terlik` has those of four by what they are and how bad. Only their data files
are read, none of their code runs. Words that are harmless in a shop, a surgery or another language are left out here: what a
filter takes away from honest answers is worse than a mild word that passes. Called by `output.py`, once for a chatbot's languages.
"""

from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from chatwright.domain.detection import common_words
from chatwright.features.guard.policy import Category
from chatwright.features.guard.terms import fold_text, is_spaceless

_GLIN = {
    "ar": "arabic", "cs": "czech", "da": "danish", "de": "german", "en": "english", "eo": "esperanto", "es": "spanish", "fa": "persian",
    "fi": "finnish", "fr": "french", "hi": "hindi", "hu": "hungarian", "it": "italian", "ja": "japanese", "ko": "korean", "nl": "dutch",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ru": "russian", "sv": "swedish", "th": "thai", "zh": "chinese",
}  # fmt: skip
_TERLIK = ("de", "en", "es", "tr")
_KINDS: dict[Category, str] = {"sexual": "sexual", "slurs": "slur", "insults": "insult"}
_SEVERE: dict[Category, tuple[str, ...]] = {"profanity": ("high",)}
_LEAST_LETTERS = 3
_NEIGHBOURS_TEXT = "en de fr es it pt nl sv da no fi pl cs sk ro hu tr id vi ru uk bg sr ar fa ur hi mr ne"
"""Languages whose commonest words no list takes away."""

# Common in another of these languages.
_ELSEWHERE_TEXT = (
    "bite bitte con balle bander péter fan fing hård nicht pot maal mama am got göt gotten top it iti mal meme bok öl sie fica pau saco "
    "rola pila cazzuola din pic skim edit cm"
)
# Found in questions of customers and in texts of an encyclopedia: bodies, clothes, law, tools. In "profanity" they are not meant.
_HARMLESS_TEXT = (
    # English
    "anus anal breasts breast dominatrix domination erotic erotica eunuch fecal genitals grope hardcore hoe intercourse kinky lolita "
    "lovemaking mf nazi negro nipple nipples nude nudity orgasm panties panty penis playboy pubes sadism semen sex sexual sexuality "
    "sexy snatch sperm spunk strip swastika topless undressing vagina vibrator virgin voyeur vulva xx xxx escort barenaked "
    # German
    "bonze fratze ische kimme lümmel möpse mufti nackt nippel poppen rosette vögeln latte schwanz "
    # Spanish, Portuguese, Italian
    "asesinato asno bastardo caca concha drogas fiesta heroína infierno maciza martillo nazi orina pezón pinche pis racista semen sexo "
    "trio trío vulva chupada pinto grelo bernarda figa frocio fava topa uccello pirla pesce "
    # French
    "baiser bosser bourré bourrée cailler drague folle gerbe gerber gueule jouir meuf pédale pipi pisser "
    "suce tanche teuf veuve zizi "
)


@lru_cache(maxsize=256)
def category_terms(category: Category, languages: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a category in `languages` (ISO 639-1) and in English, which models fall back into. Empty where no list
    has the language."""
    chosen = dict.fromkeys(("en", *(language.lower().partition("-")[0] for language in languages)))
    found = (word for language in chosen for word in _words(category, language))
    harmless = _harmless(category == "profanity")
    return tuple(dict.fromkeys(word for word in found if _is_fit(word) and fold_text(word) not in harmless))


def _words(category: Category, language: str) -> Iterator[str]:
    if category == "profanity" and language in _GLIN:
        yield from _read("glin_profanity", f"data/dictionaries/{_GLIN[language]}.json")["words"]
    if language in _TERLIK:
        kind, severe = _KINDS.get(category), _SEVERE.get(category, ("high", "medium"))
        for entry in _read("terlik", f"lang/{language}/dictionary.json")["entries"]:
            if kind in (None, entry["category"]) and entry["severity"] in severe:
                yield from (entry["root"], *entry["variants"])


def _is_fit(word: str) -> bool:
    letters = [character for character in word if character.isalpha()]
    least = 2 if letters and is_spaceless(letters[0]) else _LEAST_LETTERS
    return len(letters) >= least and "*" not in word


@lru_cache(maxsize=2)
def _harmless(all_of_them: bool) -> frozenset[str]:  # noqa: FBT001 - a cache's key
    words = {word for language in _NEIGHBOURS_TEXT.split() for word in common_words(language)}
    words.update(_ELSEWHERE_TEXT.split(), _HARMLESS_TEXT.split() if all_of_them else ())
    return frozenset(map(fold_text, words))


def _read(package: str, name: str) -> Any:
    """A package's data file, without importing the package."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package}, whose word lists are needed, is not installed")
    return msgspec.json.decode(Path(spec.submodule_search_locations[0], name).read_bytes())
