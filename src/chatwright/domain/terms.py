"""Text as the terms of a keyword index: what the keyword half of a search compares. Pure; called by indexing and search.

Both sides must cut text alike, so a change here asks for a new index of everything. A term is a folded stem: `Rückgaben`,
`rückgabe` and `RÜCKGABE` are one. Scripts without spaces give overlapping pairs of characters. Long words of languages
that compound or inflect much also give runs of five letters (`~fris` of "Rückgabefristen"), so that "Frist" finds them.
Stop words are kept: their rarity, not a list, makes them worthless.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from threading import Lock
from typing import Any, cast

import snowballstemmer

from chatwright.domain.detection import common_words

MAX_TERM_CHARACTERS = 64  # longer "words" are noise: keys, encoded data

# On XQuAD hybrid search gains 0.002 by it in English and loses 0.001 in German. It is there for conversation, which XQuAD
# is not: "do I" and "my" are rare in documents, and every visitor says them.
COMMON_WEIGHT = 0.2
_RUN = 5
_RUN_MARK = "~"
# Measured: +0.016 nDCG@10 in German, +0.02 in Russian and Turkish; nothing in English, a loss in Spanish.
_WITH_RUNS = frozenset(
    [
        "bg",
        "cs",
        "da",
        "de",
        "el",
        "et",
        "eu",
        "fi",
        "hr",
        "hu",
        "hy",
        "ka",
        "kk",
        "lt",
        "lv",
        "mk",
        "nl",
        "no",
        "pl",
        "ru",
        "sk",
        "sl",
        "sr",
        "sv",
        "tr",
        "uk",
    ]
)

_SNOWBALL = {
    "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish", "et": "estonian",
    "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch", "no": "norwegian",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil",
    "tr": "turkish", "yi": "yiddish",
}  # fmt: skip

# Scripts written without spaces, as runs: Han, kana and Hangul in pairs; Thai, Lao, Myanmar and Khmer in threes.
_PAIRS = "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af"
_THREES = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0eff\u1000-\u1049\u1780-\u17d3"
# Indic vowel signs are no word characters for `re`, but part of the word.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff"
)
_TOKEN = re.compile(
    rf"([{_PAIRS}]+)|([{_THREES}]+)|((?:(?![{_PAIRS}{_THREES}])[\w{_MARKS}])+(?:[-.,/:@&+'’‘](?:(?![{_PAIRS}{_THREES}])[\w{_MARKS}])+)*)"
)
_PART = re.compile(rf"[^\W_{_MARKS}]?[^\W_]*(?:[^\W_]|[{_MARKS}])+")
_LETTERS_OR_DIGITS = re.compile(r"\d+|\D+")
_IGNORED: dict[int, str | None] = dict.fromkeys(
    (0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x0640)
)  # joiners, soft hyphens, tatweel

_ARABIC = str.maketrans({
    "أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ی": "ي", "ې": "ي", "ئ": "ي", "ؤ": "و", "ة": "ه", "ۀ": "ه", "ہ": "ه",
    "ھ": "ه", "ک": "ك", "ڪ": "ك",
})  # fmt: skip
_LETTERS = str.maketrans(
    {"ı": "i", "ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "ß": "ss", "þ": "th", "ð": "d", "ё": "е", "ς": "σ"}
)
_ARABIC_PREFIXES = ("وال", "بال", "كال", "فال", "لل", "ال")
_ARABIC_SUFFIXES = ("ها", "ان", "ات", "ون", "ين", "يه", "ه", "ي")


def index_terms(text: str, language: str | None) -> list[str]:
    """The terms of `text` in order, with repeats; `language` (ISO 639-1) chooses the stemmer, None leaves words whole.

    Numbers, codes and names of several parts ("AB-12/7", "OPENAI_API_KEY", "3,000") stand as their parts and whole,
    without the marks between them. Runs of letters start with "~" and follow their word. CPU on the caller's thread:
    about 1 µs per known word.
    """
    found = word_terms(text, language)
    return [each for term in found for each in (term, *runs_of(term))] if language in _WITH_RUNS else found


def question_terms(text: str, language: str | None) -> dict[str, float]:
    """The distinct terms of a question and how much each counts: a word 1, all its runs of letters together 1.

    The commonest words of the language count less; runs of them not at all.
    """
    weights: dict[str, float] = {}
    common = _common_terms(language)
    for term in word_terms(text, language):
        if term in weights:
            continue
        weights[term] = COMMON_WEIGHT if term in common else 1.0
        if language in _WITH_RUNS and term not in common:
            runs = runs_of(term)
            for run in runs:
                weights[run] = weights.get(run, 0.0) + 1 / len(runs)
    return weights


@lru_cache(maxsize=64)
def _common_terms(language: str | None) -> frozenset[str]:
    return frozenset(term for word in common_words(language) for term in word_terms(word, language))


def word_terms(text: str, language: str | None) -> list[str]:
    """`index_terms` without the runs of letters."""
    return [term for term in _terms(unicodedata.normalize("NFKC", text).translate(_IGNORED).lower(), language) if term]


@lru_cache(maxsize=65_536)
def runs_of(term: str) -> tuple[str, ...]:
    """The runs of five letters in a word of six or more; none of what is no word."""
    if len(term) < _RUN + 1 or not term.isalpha():
        return ()
    return tuple(_RUN_MARK + term[at : at + _RUN] for at in range(len(term) - _RUN + 1))


def is_run(term: str) -> bool:
    return term.startswith(_RUN_MARK)


def _terms(text: str, language: str | None) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        pairs, threes, word = match.groups()
        if pairs:
            yield from _grams(pairs, 2)
        elif threes:
            yield from _grams(threes, 3)
        elif word.isalpha() and word.isascii():
            if len(word) <= MAX_TERM_CHARACTERS:
                yield term_of(word, language)
        else:
            yield from _word(word, language)


def _grams(run: str, size: int) -> Iterator[str]:
    if len(run) < size:
        yield run
    for at in range(len(run) - size + 1):
        yield run[at : at + size]


def _word(word: str, language: str | None) -> Iterator[str]:
    """A word with marks inside: its parts, and all of it as one."""
    word = _without_elision(word)
    parts = [part for part in _PART.findall(word) if len(part) <= MAX_TERM_CHARACTERS]
    for part in parts:
        yield term_of(part, language)
    if len(parts) > 1:
        whole = fold("".join(parts))
        if len(whole) <= MAX_TERM_CHARACTERS:
            yield whole
    elif parts and not parts[0].isalpha():
        pieces = _LETTERS_OR_DIGITS.findall(parts[0])
        if 1 < len(pieces) <= 4:  # "iphone15", "b2b"
            yield from (fold(piece) for piece in pieces)


def _without_elision(word: str) -> str:
    """The word in `l'école` and `Newton's`."""
    if "'" not in word and "’" not in word and "‘" not in word:
        return word
    head, _, tail = word.replace("’", "'").replace("‘", "'").partition("'")
    if len(head) <= 2 and len(tail) > 2:
        return tail
    return head if tail in ("s", "t", "re", "ve", "ll", "d", "m") or len(tail) <= 1 else f"{head}'{tail}"


# Words of one language come again and again: the same few ten thousand.
@lru_cache(maxsize=65_536)
def term_of(word: str, language: str | None) -> str:
    """One lower-case word as a term: stemmed, then folded."""
    if language in ("ar", "fa") or "\u0600" <= word[0] <= "\u06ff":
        return _arabic(fold(word))
    stem = _stemmer(language) if language else None
    return fold(stem(word)) if stem is not None and not word.isdigit() else fold(word)


def fold(word: str) -> str:
    """Case, accents and variants of letters folded: what people leave out when they type."""
    if word.isascii():
        return word
    word = word.casefold().translate(_ARABIC).translate(_LETTERS)
    bare = [character for character in unicodedata.normalize("NFD", word) if not _is_accent(character)]
    return "".join(
        str(unicodedata.digit(character)) if character.isdigit() and not character.isascii() else character
        for character in unicodedata.normalize("NFC", "".join(bare))
    )


def _is_accent(character: str) -> bool:
    """Marks that may be left out: of Latin, Greek, Cyrillic, Hebrew and Arabic; Devanagari's dot. Vowel signs stay."""
    return (
        "\u0300" <= character <= "\u036f"
        or "\u0591" <= character <= "\u05c7"
        or "\u064b" <= character <= "\u065f"
        or character in "\u0670\u093c"
    )


def _arabic(word: str) -> str:
    """Light stemming: the article with what is written onto it, and the commonest endings."""
    if len(word) > 3 and word[0] == "و" and not word.startswith("وال"):
        word = word[1:]
    for prefix in _ARABIC_PREFIXES:
        if word.startswith(prefix) and len(word) - len(prefix) >= 2:
            word = word[len(prefix) :]
            break
    for suffix in _ARABIC_SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 2:
            word = word[: -len(suffix)]
    return word


@lru_cache(maxsize=64)
def _stemmer(language: str) -> Callable[[str], str] | None:
    name = _SNOWBALL.get(language)
    if name is None:
        return None
    stemmer, lock = cast("Any", snowballstemmer).stemmer(name), Lock()

    def stem(word: str) -> str:
        with lock:  # a stemmer keeps the word it works on in itself, and documents are indexed on several threads
            return stemmer.stemWord(word)

    return stem
