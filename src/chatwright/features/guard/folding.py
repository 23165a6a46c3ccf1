"""Letters that look like others, and how often words stand in ordinary English: what decoding and rules compare by. Pure.

Folding is for looking only. A text that is folded keeps its length, so a place in one is the same place in the other.
"""

import re
import unicodedata
from typing import Final

_SCRIPTS = {
    # Cyrillic
    "а": "a", "в": "b", "е": "e", "ё": "e", "з": "3", "і": "i", "ї": "i", "ј": "j", "к": "k", "м": "m", "н": "h", "о": "o",
    "р": "p", "с": "c", "т": "t", "у": "y", "х": "x", "ѕ": "s", "ԁ": "d", "ԛ": "q", "ԝ": "w", "һ": "h", "ь": "b", "г": "r",
    "п": "n", "и": "u", "ѵ": "v", "ց": "g", "ӏ": "l", "қ": "k", "ү": "y", "ґ": "r", "є": "e",
    # Greek
    "α": "a", "β": "b", "γ": "y", "ε": "e", "η": "n", "ι": "i", "κ": "k", "μ": "u", "ν": "v", "ο": "o", "ρ": "p", "σ": "o",
    "τ": "t", "υ": "u", "χ": "x", "ω": "w", "ϲ": "c", "ϳ": "j",
    # Armenian, Cherokee and Latin letters that are not marked forms of others
    "օ": "o", "ո": "n", "ս": "u", "հ": "h", "ѡ": "w", "ɡ": "g", "ı": "i", "ɩ": "i", "ɑ": "a", "ʀ": "r", "ʟ": "l", "ɴ": "n",
    "ɪ": "i", "ɢ": "g", "ʏ": "y", "ᴀ": "a", "ʙ": "b", "ᴄ": "c", "ᴅ": "d", "ᴇ": "e", "ꜰ": "f", "ʜ": "h", "ᴊ": "j", "ᴋ": "k",
    "ᴍ": "m", "ᴏ": "o", "ᴘ": "p", "ꜱ": "s", "ᴛ": "t", "ᴜ": "u", "ᴠ": "v", "ᴡ": "w", "ᴢ": "z", "ø": "o", "đ": "d", "ł": "l",
    "ħ": "h", "ŧ": "t", "ƅ": "b", "ɛ": "e", "ɯ": "w", "ʋ": "v", "ꓲ": "i", "ꓐ": "b", "ꓳ": "o", "ꓰ": "e", "ꓣ": "r",
}  # fmt: skip
_MARKED = ((0xC0, 0x250), (0x1E00, 0x1F00))
_STYLED = (
    (0x2100, 0x2150),
    (0x2460, 0x2500),
    (0xFF10, 0xFF5B),
    (0x1D400, 0x1D800),
    (0x1F130, 0x1F18A),
    (0x1F1E6, 0x1F200),
)
_LETTER_NAME = re.compile(r"(?:SQUARED|CIRCLED|SYMBOL) (?:LATIN CAPITAL )?LETTER ([A-Z])$")


def _plain(point: int) -> str:
    """The ASCII letter or digit that a character is a form of, in lower case, or nothing."""
    character = chr(point)
    first = unicodedata.normalize("NFKD", character)[:1]
    if not (first.isascii() and first.isalnum()):
        named = _LETTER_NAME.search(unicodedata.name(character, ""))
        first = named.group(1) if named else ""
    return first.lower()


def _of_ranges(ranges: tuple[tuple[int, int], ...]) -> dict[int, str]:
    points = (point for first, past in ranges for point in range(first, past))
    return {point: plain for point in points if (plain := _plain(point))}


_ACCENTS: Final = _of_ranges(_MARKED) | {ord("’"): "'", ord("ß"): "s"}
_LOOKS: Final = (
    _of_ranges(_STYLED)
    | {ord(letter): plain for letter, plain in _SCRIPTS.items()}
    | {ord(letter.upper()): plain for letter, plain in _SCRIPTS.items() if len(letter.upper()) == 1}
)
_STYLE: Final = re.compile("[" + "".join(f"{chr(first)}-{chr(past - 1)}" for first, past in _STYLED) + "ɑ-ʟᴀ-ᴢꜰꜱꓐ-ꓲ]")
_FOREIGN: Final = re.compile("[\u0370-\u058f\u13a0-\u13ff]")
_LATIN: Final = re.compile("[A-Za-z]")


def fold(text: str) -> str:
    """Lower case without accents, of the same length: what the rules' patterns are written for."""
    lowered = text.lower()
    if lowered.isascii():
        return lowered
    if len(lowered) != len(text):  # a capital I with a dot becomes two characters
        lowered = "".join(character.lower()[:1] for character in text)
    return lowered.translate(_ACCENTS)


def has_lookalikes(text: str) -> bool:
    """Letters in mathematical or other styles, or of other alphabets beside Latin ones."""
    if text.isascii():
        return False
    return _STYLE.search(text) is not None or (_FOREIGN.search(text) is not None and _LATIN.search(text) is not None)


def fold_lookalikes(text: str) -> str:
    """Every letter as the ASCII letter that it looks like, of the same length."""
    return fold(text.translate(_LOOKS))


COMMON_WORDS: Final = frozenset(
    [
        "the",
        "be",
        "to",
        "of",
        "and",
        "a",
        "in",
        "that",
        "have",
        "it",
        "for",
        "not",
        "on",
        "with",
        "he",
        "as",
        "you",
        "do",
        "at",
        "this",
        "but",
        "his",
        "by",
        "from",
        "they",
        "we",
        "say",
        "her",
        "she",
        "or",
        "an",
        "will",
        "my",
        "one",
        "all",
        "would",
        "there",
        "their",
        "what",
        "so",
        "up",
        "out",
        "if",
        "about",
        "who",
        "get",
        "which",
        "go",
        "me",
        "when",
        "make",
        "can",
        "like",
        "time",
        "no",
        "just",
        "him",
        "know",
        "take",
        "into",
        "your",
        "some",
        "could",
        "them",
        "see",
        "other",
        "than",
        "then",
        "now",
        "only",
        "come",
        "its",
        "over",
        "think",
        "also",
        "back",
        "after",
        "use",
        "two",
        "how",
        "our",
        "work",
        "first",
        "well",
        "way",
        "even",
        "new",
        "want",
        "because",
        "any",
        "these",
        "give",
        "us",
        "is",
        "are",
        "was",
        "were",
        "been",
        "has",
        "had",
        "did",
        "does",
        "am",
        "please",
        "tell",
        "ignore",
        "forget",
        "disregard",
        "previous",
        "prior",
        "above",
        "instructions",
        "instruction",
        "system",
        "prompt",
        "password",
        "secret",
        "reveal",
        "show",
        "print",
        "repeat",
        "rules",
        "every",
        "everything",
        "must",
        "should",
        "answer",
        "write",
        "output",
        "word",
        "words",
        "message",
        "following",
    ]
)
