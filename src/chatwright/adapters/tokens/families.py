"""How models count a prompt: by which vocabulary, and what is added around the caller's words. Pure.

OpenAI's models count by published vocabularies. The others keep theirs to themselves, or have many: their counts are
estimated from o200k's, with weights measured on recorded usages and on public vocabularies of their like
(`python -m bench.tokens`, docs/reference/token-counting.md). Used by `counts.py` only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

Vocabulary = Literal["o200k_base", "cl100k_base"]

DIGITS = b"0123456789"
_HIGH = bytes(range(0x80, 0x100))
# First bytes of UTF-8 sequences by script, roughly: what a vocabulary lacks costs it about a token a byte there.
_LEADS = {
    "latin": range(0xC2, 0xCE),
    "cyrillic": range(0xCE, 0xD5),
    "semitic": range(0xD5, 0xE0),
    "indic": range(0xE0, 0xE2),
    "symbols": (0xE2, *range(0xEE, 0xF8)),
    "cjk": range(0xE3, 0xEA),
    "hangul": range(0xEA, 0xEE),
}
_NOT = {name: bytes(set(range(256)) - set(leads)) for name, leads in _LEADS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Tokens of a text: `token` for each of o200k's, and more for each digit and each character of these scripts."""

    token: float
    digit: float = 0.0
    latin: float = 0.0
    cyrillic: float = 0.0
    semitic: float = 0.0
    indic: float = 0.0
    symbols: float = 0.0
    cjk: float = 0.0
    hangul: float = 0.0

    def apply(self, tokens: int, content: "Content") -> float:
        """The estimate for a text of `tokens` o200k tokens."""
        found = self.token * tokens + self.digit * content.digits
        if content.foreign:
            for name, characters in content.scripts:
                found += getattr(self, name) * characters
        return found


class Content:
    """What a text is made of. `size` in bytes of UTF-8: no vocabulary makes more tokens of it than that."""

    __slots__ = ("digits", "foreign", "scripts", "size")

    def __init__(self, texts: Sequence[str]) -> None:
        raw = "\n".join(texts).encode("utf-8", "replace")
        self.size = len(raw)
        self.digits = self.size - len(raw.translate(None, DIGITS))
        self.foreign = not raw.isascii()
        self.scripts = (
            [(name, len(raw.translate(None, others))) for name, others in _NOT.items()] if self.foreign else []
        )


_LARGE = Weights(
    token=1.5, digit=0.8, latin=0.5, cyrillic=0.6, semitic=1.7, indic=2.3, symbols=3.0, cjk=0.2, hangul=0.3
)
"""Above what vocabularies of 100,000 tokens and more make of a text: Llama 3, Qwen, DeepSeek, Mistral's Tekken."""
_ANY = Weights(token=2.1, digit=0.8, latin=0.5, cyrillic=0.7, semitic=1.7, indic=2.7, symbols=3.0, cjk=0.2, hangul=0.3)
"""Above what any vocabulary was seen to make of a text; those of 32,000 tokens, and Claude's, need it."""
_MORE = Weights(token=2.8, digit=1.1, latin=0.7, cyrillic=1.0, semitic=2.3, indic=3.4, symbols=4.0, cjk=0.3, hangul=0.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that count alike. Tokens: `start` a prompt, `turn` a message, `tools` and `schema` once where there are any.

    `ratio` is the expected number of tokens for one of o200k's, `most` what a text has at most; both are without
    meaning where `vocabulary` is the models' own. `unasked` is what some of their servers add besides (to tools, where the
    vocabulary is known): it belongs to the bound only. `image` is the most that a picture takes.
    """

    models: tuple[str, ...]
    vocabulary: Vocabulary | None = None
    ratio: float = 1.2
    most: Weights = _ANY
    start: int = 10
    unasked: int = 0
    turn: int = 4
    tools: int = 250
    schema: int = 20
    image: int = 16_384


_GPT = Family(models=("gpt-*",), vocabulary="o200k_base", start=3, tools=50, unasked=90)
# The first that fits a name counts. Names are in lower case, without the maker's and with dashes for dots.
FAMILIES = (
    Family(models=("gpt-oss*",), vocabulary="o200k_base", start=72, turn=6, tools=60, schema=30),
    Family(models=("gpt-4o-mini*",), vocabulary="o200k_base", start=3, tools=12, image=48_200),
    Family(models=("gpt-4o*", "chatgpt-4o*", "gpt-4-1", "gpt-4-1-2*", "gpt-4-5*"), vocabulary="o200k_base", start=3,
           tools=12, image=1_450),
    Family(models=("gpt-4-1-mini*", "gpt-4-1-nano*", "o1*", "o3*", "o4*"), vocabulary="o200k_base", start=3, tools=20,
           image=4_000),
    Family(models=("gpt-4*", "gpt-3-5*", "gpt-35*", "text-embedding*"), vocabulary="cl100k_base", start=3, turn=5,
           tools=20, image=1_450),
    _GPT,
    Family(models=("claude-3-*",), ratio=1.1, start=8, turn=1, tools=530, schema=150, image=1_650),
    # Their new vocabulary makes up to a third more of the same text, as their maker states.
    Family(models=("claude-opus-4-7*", "claude-opus-4-8*", "claude-opus-5*", "claude-sonnet-5*", "claude-haiku-5*",
                   "claude-fable-5*"),
           ratio=1.35, most=_MORE, start=8, turn=1, tools=700, schema=180, image=5_000),
    Family(models=("claude-*",), ratio=1.1, start=8, turn=1, tools=560, schema=150, image=1_650),
    Family(models=("gemini-*", "gemma-*", "learnlm-*"), ratio=1.05, most=_LARGE, start=2, turn=3, tools=30, schema=10,
           image=3_100),
    Family(models=("deepseek-*",), ratio=1.05, most=_LARGE, start=5, unasked=80, turn=5, tools=290),
    Family(models=("grok-4", "grok-4-0*"), ratio=1.1, start=690, turn=5, tools=150, image=2_048),
    Family(models=("grok-*",), ratio=1.1, start=10, turn=5, tools=150, image=2_048),
    Family(models=("llama*", "meta-llama*"), ratio=1.05, most=_LARGE, start=30, turn=5, tools=130, image=8_192),
    Family(models=("qwen*", "qwq*", "qvq*"), ratio=1.05, most=_LARGE, start=15, turn=5, tools=250),
    Family(models=("mistral*", "ministral*", "magistral*", "codestral*", "pixtral*", "devstral*", "open-mi*"),
           ratio=1.1, start=8, tools=60, schema=10, image=4_200),
    Family(models=("kimi*", "glm*", "moonshot*", "minimax*"), ratio=1.1, most=_LARGE, start=12),
)  # fmt: skip
UNKNOWN = Family(models=(), start=70, turn=6, tools=300, schema=150)
_OPENAI = ("openai", "azure")
_PATTERNS = tuple((re.compile("|".join(translate(name) for name in family.models)), family) for family in FAMILIES)


@lru_cache(maxsize=4096)
def family_of(provider: str, model: str) -> Family:
    """How a model counts, by its name; one of OpenAI's that no pattern fits counts like their latest."""
    name = model.lower().removeprefix("ft:").rpartition("/")[2].replace(".", "-")
    for pattern, family in _PATTERNS:
        if pattern.match(name):
            return family
    return _GPT if provider in _OPENAI else UNKNOWN


@lru_cache(maxsize=1024)
def is_official(base_url: str) -> bool:
    """Whether OpenAI's own servers, or Azure's, stand behind an address (none: it is not known, so no)."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    return host == "api.openai.com" or host.endswith((".openai.azure.com", ".services.ai.azure.com"))
