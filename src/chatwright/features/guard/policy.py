"""What a chatbot's `guard_policy` may say: of what visitors write, and of what they are told. Pure.

`check_policy` stands at the edge, where a tenant writes it; `GuardPolicy.of` reads what is stored, for every message.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from chatwright.domain.errors import Unprocessable

InputAction = Literal["off", "flag", "advise", "block"]
OutputAction = Literal["off", "flag", "mask", "stop"]
AfterStop = Literal["replace", "keep"]
Category = Literal["profanity", "sexual", "slurs", "insults"]
Redaction = Literal["email", "phone", "card", "iban"]

CATEGORIES: tuple[Category, ...] = get_args(Category)
REDACTIONS: tuple[Redaction, ...] = get_args(Redaction)
MAX_TERMS = 1_000
MAX_TERM_CHARACTERS = 100
_HOST = re.compile(r"\*|(?:\*\.)?[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}(?::\d{1,5})?")
_LETTERS = re.compile(r"[^\W_]")

_REFUSALS = {
    "ar": "لا يمكنني متابعة هذه الإجابة. هل يمكنني مساعدتك في شيء آخر؟",
    "cs": "V této odpovědi nemohu pokračovat. Mohu vám pomoci s něčím jiným?",
    "da": "Jeg kan ikke fortsætte dette svar. Kan jeg hjælpe med noget andet?",
    "de": "Diese Antwort kann ich nicht fortsetzen. Kann ich Ihnen bei etwas anderem helfen?",
    "en": "I can't go on with this answer. Is there something else I can help you with?",
    "es": "No puedo continuar con esta respuesta. ¿Puedo ayudarle con otra cosa?",
    "fr": "Je ne peux pas poursuivre cette réponse. Puis-je vous aider pour autre chose ?",
    "hi": "मैं यह उत्तर जारी नहीं रख सकता। क्या मैं किसी और बात में मदद करूँ?",
    "it": "Non posso proseguire con questa risposta. Posso aiutarla in altro?",
    "ja": "この回答は続けられません。ほかにお手伝いできることはありますか？",
    "nl": "Ik kan met dit antwoord niet verdergaan. Kan ik u ergens anders mee helpen?",
    "pl": "Nie mogę kontynuować tej odpowiedzi. Czy mogę pomóc w czymś innym?",
    "pt": "Não posso continuar esta resposta. Posso ajudar em outra coisa?",
    "ru": "Я не могу продолжить этот ответ. Могу ли я помочь с чем-то другим?",
    "sv": "Jag kan inte fortsätta det här svaret. Kan jag hjälpa till med något annat?",
    "tr": "Bu yanıta devam edemiyorum. Başka bir konuda yardımcı olabilir miyim?",
    "uk": "Я не можу продовжити цю відповідь. Чи можу я допомогти з чимось іншим?",
    "zh": "我无法继续这个回答。还有其他需要帮忙的吗？",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardPolicy:
    """A chatbot's guard.

    `input` is what becomes of a message that looks like an attack, `threshold` (0..1) how probable that must be; None: the
    model's own. `output` is what becomes of an answer with a banned term; what leaks ends it under `mask` as well.
    `after_stop`: whether the text that was shown before makes way for the refusal, or stays with the refusal behind it.
    `redact` names what is masked in answers whatever `output` says, unless visitors are told it on purpose.
    """

    input: InputAction = "advise"
    threshold: float | None = None
    refusal_text: str = ""
    output: OutputAction = "stop"
    after_stop: AfterStop = "replace"
    banned_terms: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    spaced_letters: bool = True
    redact: tuple[Redaction, ...] = ()
    leaks: bool = True
    scan_metadata: bool = True
    scan_documents: bool = True
    link_hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "GuardPolicy":
        """Read a stored policy. What cannot be meant is left at its default: no answer fails over it."""
        if not fields:
            return _DEFAULT
        known: dict[str, Any] = {}
        for name, value in fields.items():
            if name in _LISTS and isinstance(value, list):
                allowed, listed = _LISTS[name], cast("list[object]", value)
                known[name] = tuple(one for one in listed if isinstance(one, str) and (not allowed or one in allowed))
            elif name in _CHECKS and name not in _LISTS and _CHECKS[name](value) is None:
                known[name] = value
        return cls(**known)

    def refusal(self, language: str | None) -> str:
        """What a visitor reads in the place of what was not to be said: the chatbot's own words, else a sentence in
        `language` (ISO 639-1), else in English."""
        return self.refusal_text.strip() or _REFUSALS.get(language or "en", _REFUSALS["en"])


_DEFAULT = GuardPolicy()


def check_policy(fields: Mapping[str, Any]) -> None:
    """Raise Unprocessable, naming the field, for a policy that cannot be meant."""
    for name, value in fields.items():
        check = _CHECKS.get(name)
        fault = f"no such field: {name!r}; there are {', '.join(_CHECKS)}" if check is None else check(value)
        if fault is not None:
            raise Unprocessable(fault[:300], param=f"guard_policy.{name}"[:100])


def check_terms(value: object) -> str | None:
    """What is wrong with a list of banned terms, None if nothing is. For tenant-wide lists, too."""
    if not isinstance(value, list):
        return "banned terms are a list of texts"
    terms = cast("list[object]", value)
    if len(terms) > MAX_TERMS:
        return f"at most {MAX_TERMS:,} banned terms"
    for term in terms:
        if not isinstance(term, str) or not 1 <= len(term.strip()) <= MAX_TERM_CHARACTERS:
            return f"a banned term is a text of 1 to {MAX_TERM_CHARACTERS} characters"
        bare = term.strip().removeprefix("*").removesuffix("*")
        if not _LETTERS.search(bare):
            return f"a banned term has a letter or a digit: {term!r}"
        if "*" in bare:
            return f"a star stands at the beginning or the end of a banned term only: {term!r}"
        # "*a*" would mask every other word.
        if bare != term.strip() and bare.isascii() and len(_LETTERS.findall(bare)) < 3:
            return f"beside a star stand at least three letters: {term!r}"
    return None


def _one_of(*words: str) -> Callable[[object], str | None]:
    return lambda value: None if isinstance(value, str) and value in words else f"one of {', '.join(words)}"


def _some_of(*words: str) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        listed = isinstance(value, list) and all(word in words for word in cast("list[object]", value))
        return None if listed else f"a list of any of {', '.join(words)}"

    return check


def _text(value: object) -> str | None:
    return None if isinstance(value, str) and len(value) <= 1_000 else "a text of at most 1,000 characters"


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _share(value: object) -> str | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1
    return None if value is None or number else "a number between 0 and 1, or null for the model's own"


def _hosts(value: object) -> str | None:
    hosts = cast("list[object]", value) if isinstance(value, list) else None
    if hosts is None or len(hosts) > 100 or not all(isinstance(host, str) and _HOST.fullmatch(host) for host in hosts):
        return 'a list of at most 100 hosts such as "pay.example.com" or "*.example.org"'
    return None


_CHECKS: Mapping[str, Callable[[object], str | None]] = {
    "input": _one_of(*get_args(InputAction)),
    "threshold": _share,
    "refusal_text": _text,
    "output": _one_of(*get_args(OutputAction)),
    "after_stop": _one_of(*get_args(AfterStop)),
    "banned_terms": check_terms,
    "categories": _some_of(*CATEGORIES),
    "spaced_letters": _flag,
    "redact": _some_of(*REDACTIONS),
    "leaks": _flag,
    "scan_metadata": _flag,
    "scan_documents": _flag,
    "link_hosts": _hosts,
}
_LISTS: Mapping[str, tuple[str, ...]] = {
    "banned_terms": (),
    "categories": CATEGORIES,
    "redact": REDACTIONS,
    "link_hosts": (),
}
"""The fields that are lists, each with what may stand in it; empty: any text."""
