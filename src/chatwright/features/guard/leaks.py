"""Finds what must not get out of a prompt in an answer that is still being written: its own words, in order or nearly so,
its canary, what it calls secret, and keys. Pure.

A prompt holds two kinds of words. Facts are there to be told. Orders to the model are not: only a run of the prompt's
words that takes in some order counts, and none that also stands in what every visitor may read. A run goes on over
changed, dropped and added words, and is known turned round and in ROT13 too; `encoded.py` reads the rest. Called by `output.py`.
"""

import base64
import codecs
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from chatwright.features.guard.orders import can_be_read, order_spans
from chatwright.features.guard.terms import IGNORED, IGNORED_CLASS, Scanned, Span, TermMatcher, fold_text

LEAST_WORDS: Final = 8
"""So many words of a prompt in a row, an order among them, are a leak."""
_LEAST_WORDS_UNREAD = 16  # where the prompt's language gives no order away
_LEAST_ORDERS = 2
_DUMP_WORDS: Final = 40
"""So many words in a row are no fact that happens to be told, whatever they say."""
_LOOK_AHEAD = 3
_MAX_GAP = 2
_MAX_RUNS = 8
_SPACELESS = "\u0e00-\u0eff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3"
_MARKS = "'’*`~"
"""What may stand within a word, like what nobody sees, and is left out of it."""
_PLAIN_WORD = re.compile(r"[a-z0-9](?:['*`~]{0,8}[a-z0-9])*+")
_WORD = re.compile(
    f"[{_SPACELESS}]|(?![{_SPACELESS}])[^\\W_](?:[{_MARKS}{IGNORED_CLASS}]{{0,8}}(?![{_SPACELESS}])[^\\W_])*+"
)
_IS_SPACELESS = re.compile(f"[{_SPACELESS}]")
_PLAIN_OPEN = "abcdefghijklmnopqrstuvwxyz0123456789'*`~"
_MAX_WORD = 128
_SENTENCE = re.compile(r"(?<=[.!?:;。！？])\s+|\n+")
CANARY_CHARACTERS: Final = 14
_CANARY = re.compile(rf"\bmark ([a-z]{{{CANARY_CHARACTERS}}})\b")  # as the prompt says it (`features/prompting`)

_SECRECY = re.compile(
    r"(?<!\w)(?:secret|confidential|internal only|classified|not? (?:be )?(?:to )?(?:reveal|tell|share|disclose|mention|give|say|repeat|print)"
    r"|never (?:reveal|tell|share|disclose|mention|give|say|repeat|print|write|output)|don't (?:reveal|tell|share|disclose|mention|give|say)"
    r"|geheim|vertraulich|verrate|nicht (?:weiter|verraten|nennen)|secreto|confidencial|nunca (?:reveles|digas)|confidentiel|ne (?:révèle|dis|divulgue)"
    r"|segreto|segredo|geheime?|vertrouwelijk|секрет|никому|gizli)",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"(?<!\w)(?:pass ?(?:word|code|phrase)|(?:code|pin|secret|access|magic)[ -]?(?:word|code|phrase|key|number)?|token|api[ -]?key|key|flag|"
    r"passwort|kennwort|schlüssel|codewort|losung|contraseña|clave|mot de passe|senha|chiave|parola|wachtwoord|hasło|пароль|şifre)"
    r"(?: (?!is|ist|es|est)[\w'’-]+){0,4}?\s*(?:(?:[:=]|is|ist|lautet|est|es|é|è|jest|to)\s*[:=]?\s*|(?=[\"'“‘«`]))"
    r"(?:[\"'“‘«`](?P<quoted>[^\"'”’»`\n]{3,64})[\"'”’»`]|(?P<plain>[^\s\"'“‘«`,;]{4,64}))",
    re.IGNORECASE,
)
_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[\w-]{20}|cw_(?:sk|admin|vt)_[\w-]{12}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30}|gh[pousr]_[A-Za-z0-9]{30}"
    r"|github_pat_\w{20}|glpat-[\w-]{18}|xox[abeprs]-[\w-]{10}|gsk_[A-Za-z0-9]{20}|hf_[A-Za-z0-9]{20}|xai-[A-Za-z0-9]{20}|pplx-[A-Za-z0-9]{20}"
    r"|ya29\.[\w-]{20}|eyJ[\w-]{10}[\w-]{0,800}\.eyJ[\w-]{10}|-----BEGIN [A-Z ]{0,30}PRIVATE KEY)"
)
_KEY_OPEN = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Za-z0-9]{1,6}(?:[-_.][\w-]{0,1000}(?:\.[\w-]{0,20})?)?|(?:AKIA|ASIA|AIza)[\w-]{0,40}|eyJ[\w-]{0,1000}(?:\.[\w-]{0,20})?"
    r"|-{1,5}(?:B[A-Z ]{0,45})?)\Z"
)
_KEY_STARTS = (
    "sk-", "cw_sk_", "cw_admin_", "cw_vt_", "AKIA", "ASIA", "AIza", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxa-", "xoxb-",
    "xoxe-", "xoxp-", "xoxr-", "xoxs-", "gsk_", "hf_", "xai-", "pplx-", "ya29.", "eyJ", "-----BEGIN ",
)  # fmt: skip


def canary_of(key: bytes, chatbot_id: str) -> str:
    """The mark of a chatbot's prompts: letters that stand nowhere else. The same for all its answers, so that a provider's
    prompt cache holds; `key` is this installation's own secret."""
    number = int.from_bytes(hmac.digest(key, b"canary\0" + chatbot_id.encode(), hashlib.sha256))
    letters: list[str] = []
    for _ in range(CANARY_CHARACTERS):
        number, place = divmod(number, 26)
        letters.append("abcdefghijklmnopqrstuvwxyz"[place])
    return "".join(letters)


def canary_in(prompt: str) -> str:
    """The canary that stands in a prompt, "" if none does."""
    match = _CANARY.search(prompt)
    return match[1] if match else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """A prompt as it is looked for. `words` in order with `orders` marking those that make a run a leak; `trigrams` says
    where three words follow on one another; `secrets` are values that it calls so."""

    words: tuple[str, ...]
    orders: tuple[bool, ...]
    trigrams: dict[tuple[str, str, str], tuple[int, ...]]
    pairs: frozenset[tuple[str, str]]
    least: int
    secrets: tuple[str, ...]


@lru_cache(maxsize=32)  # 0.3 MB for a prompt of 500 words
def protected_of(prompt: str) -> Protected:
    """Read a prompt once: 2 µs a word. A chatbot's changes with its revision."""
    words: list[str] = []
    orders: list[bool] = []
    for sentence in _SENTENCE.split(prompt):
        folded, spans = fold_text(sentence), order_spans(sentence)
        for match in _pattern_for(folded).finditer(folded):
            words.append(_bare(match[0]))
            orders.append(any(start < match.end() and match.start() < end for start, end in spans))
    least = LEAST_WORDS
    if not any(orders):
        # Facts alone may be told; a language that is not read may hide orders.
        least, orders = _LEAST_WORDS_UNREAD, [not can_be_read(prompt)] * len(words)
    rotated, backwards = [codecs.encode(word, "rot13") for word in words], [word[::-1] for word in reversed(words)]
    trigrams: dict[tuple[str, str, str], list[int]] = {}
    for begin, spelt in ((0, words), (len(words), rotated), (2 * len(words), backwards)):
        for at, run in enumerate(zip(spelt, spelt[1:], spelt[2:], strict=False)):
            trigrams.setdefault(run, []).append(begin + at)
    return Protected(
        words=(*words, *rotated, *backwards),
        orders=(*orders, *orders, *reversed(orders)),
        trigrams={run: tuple(places[:4]) for run, places in trigrams.items()},
        pairs=frozenset(run[:2] for run in trigrams),
        least=least,
        secrets=_secrets(prompt),
    )


def words_of(folded: str) -> list[str]:
    return [_bare(match[0]) for match in _pattern_for(folded).finditer(folded)]


def _pattern_for(folded: str) -> re.Pattern[str]:
    return _PLAIN_WORD if folded.isascii() else _WORD


def _bare(word: str) -> str:
    return word if word.isalnum() else "".join(filter(str.isalnum, word))


def _secrets(prompt: str) -> tuple[str, ...]:
    """Values that stand near a word of secrecy: passwords, codes."""
    # The canary's own words speak of secrecy, and make nothing secret beside them.
    sentences = _SENTENCE.split(re.sub(rf"[^.\n]*{_CANARY.pattern}[^\n]*", "", prompt))
    found: list[str] = []
    for at, sentence in enumerate(sentences):
        if not any(_SECRECY.search(near) for near in sentences[max(0, at - 2) : at + 3]):
            continue
        for match in _VALUE.finditer(sentence):
            value = (match["quoted"] or match["plain"]).strip(" .!?)(*")
            plain_word = match["quoted"] is None and value.isalpha() and value[1:].islower()
            if len(value) >= 3 and not plain_word:
                found.append(value)
    return tuple(dict.fromkeys(found[:16]))


@lru_cache(maxsize=128)
def secret_matcher(values: tuple[tuple[str, str], ...]) -> TermMatcher:
    """Looks for secrets, given as (rule, value), as they are and in simple disguises. The same for all of a chatbot's
    answers, and built once."""
    return TermMatcher([(rule, _spellings(value)) for rule, value in values])


def _spellings(value: str) -> list[str]:
    if len(value) < 6:
        return [value]
    raw = value.encode()
    hexed = raw.hex()
    spelt = [value, value[::-1], codecs.encode(value, "rot13"), hexed, " ".join(re.findall("..", hexed))]
    if not value.isalnum():
        spelt += ("".join(filter(str.isalnum, value)), re.sub(r"[\W_]+", " ", value).strip())
    for lead in range(3):
        # The characters of base64 that hang on this value alone, wherever in the encoded text it begins.
        text = base64.b64encode(b"\0" * lead + raw).decode()
        text = text[(0, 2, 3)[lead] : len(text) - (0 if (lead + len(raw)) % 3 == 0 else 4 - (lead + len(raw)) % 3)]
        spelt.append(text.rstrip("="))
    spelt.append(base64.b32encode(raw).decode().rstrip("="))
    return [f"*{one}*" for one in dict.fromkeys(spelt)]


@dataclass(slots=True)
class _Run:
    """A stretch of the answer that follows the prompt: `at` is the prompt's next word, `cut` where the answer may be shown
    up to. It is held for `_DUMP_WORDS` words at most: then it is a leak, or something else was said."""

    first: int
    at: int
    cut: int
    matched: int
    orders: int
    misses: int = 0
    gap: int = 0


@dataclass(slots=True)
class PromptWatch:
    """Follows one answer word by word. `told` gives what every visitor may read; it is asked for at a leak only."""

    protected: Protected
    told: Callable[[], Sequence[str]]
    open_at: int = 0
    """Up to here the answer so far is no part of a run. Positions count from the answer's beginning."""
    leak_at: int | None = None
    leak_end: int = 0
    _runs: list[_Run] = field(default_factory=list[_Run])
    _recent: tuple[str, str] = ("", "")
    _tail: str = ""
    _tail_at: int = 0
    _told_words: str | None = None

    def feed(self, folded: str, *, last: bool = False) -> None:
        """Take new text, folded. A word counts once something follows it."""
        text = self._tail + folded
        begin, end = self._tail_at, len(text) if last else _last_word_begins(text)
        for match in _pattern_for(text).finditer(text, 0, end):
            if self.leak_at is None:
                self._word(_bare(match[0]), begin + match.start(), begin + match.end())
        self._tail, self._tail_at = text[end:], begin + end
        self.open_at = begin + len(text)
        if last or self.leak_at is not None:
            return
        for run in self._runs:
            self.open_at = min(self.open_at, run.cut)
        if self._tail and self._recent in self.protected.pairs:
            self.open_at = min(self.open_at, self._tail_at)  # the third word of a run must not be seen in part

    def _word(self, word: str, start: int, end: int) -> None:
        kept: list[_Run] = []
        for run in self._runs:
            self._advance(run, word)
            if run.gap <= _MAX_GAP and run.misses <= 1 + run.matched // 3:
                if self._is_leak(run) and not self._is_told(run):
                    if self.leak_at is None or run.cut < self.leak_at:
                        self.leak_at, self.leak_end = run.cut, end
                    return
                kept.append(run)
        one, two = self._recent
        following = {run.at for run in kept}
        for place in self.protected.trigrams.get((one, two, word), ()):
            if place + 3 not in following and len(kept) < _MAX_RUNS:
                kept.append(_Run(place, place + 3, start, 3, sum(self.protected.orders[place : place + 3])))
        self._runs = kept
        self._recent = (two, word)

    def _advance(self, run: _Run, word: str) -> None:
        words = self.protected.words
        for at in range(run.at, min(run.at + _LOOK_AHEAD, len(words))):
            if words[at] == word:
                run.misses += at > run.at and not run.gap  # a changed word is one miss, not two
                run.at, run.gap = at + 1, 0
                run.matched += 1
                run.orders += self.protected.orders[at]
                return
        run.gap += 1
        run.misses += 1

    def _is_leak(self, run: _Run) -> bool:
        """One word of an order may stand in an honest sentence, too."""
        least = self.protected.least
        needed = least if run.orders >= _LEAST_ORDERS else least * 3 // 2 if run.orders else _DUMP_WORDS
        return run.matched >= needed

    def _is_told(self, run: _Run) -> bool:
        if self._told_words is None:
            self._told_words = f" {' '.join(words_of(fold_text(' . '.join(self.told()))))} "
        return f" {' '.join(self.protected.words[run.first : run.at])} " in self._told_words


def _last_word_begins(text: str) -> int:
    """Where the word begins that may go on in what follows; the end of `text` if none does."""
    if text.isascii():
        begins = len(text.rstrip(_PLAIN_OPEN))
    else:
        begins = len(text)
        while begins and ((last := text[begins - 1]).isalnum() or last in _MARKS or last in IGNORED):
            if _IS_SPACELESS.match(last):
                break
            begins -= 1
    return begins if len(text) - begins <= _MAX_WORD else len(text)


def scan_keys(text: str, begin: int, *, last: bool) -> Scanned:
    """Find keys of providers and of this service, and private keys; as `TermMatcher.scan`, on the text as it is."""
    spans = [
        Span(match.start(), match.end(), "key") for match in _KEYS.finditer(text, begin) if not _is_example(match[0])
    ]
    open_at = len(text)
    waits = None if last else _KEY_OPEN.search(text, max(begin, len(text) - 1_100))
    while waits is not None:
        token = waits[0]
        if any(start.startswith(token) or token.startswith(start) for start in _KEY_STARTS):
            open_at = waits.start()
            break
        waits = _KEY_OPEN.search(text, waits.start() + 1)
    return Scanned(spans, open_at)


def _is_example(key: str) -> bool:
    """Whether a key is one of a manual: it says so, or repeats a few characters."""
    lowered = key.lower()
    return any(word in lowered for word in ("example", "your", "xxxx", "placeholder")) or (
        not key.startswith("-----") and len(set(key[8:])) < 6
    )
