"""What is wrong with a chatbot's own instructions: keys that would go to a provider, secrets that a visitor may talk out of
it, sentences that take their own guard away, more words than its model reads. Pure.

Keys are refused, because a prompt is no place that keeps one; the rest is told. Called by `pipeline/prompt_checking.py`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_KEYS = re.compile(
    r"(?<![\w-])(?:"
    r"sk-[\w-]{20,}|cw_(?:sk|admin)_[\w-]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}(?!\w)|AIza[\w-]{35}(?!\w)"
    r"|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,}|glpat-[\w-]{20}|xox[abeprs]-[\w-]{10,}|gsk_[A-Za-z0-9]{40,}"
    r"|hf_[A-Za-z0-9]{30,}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{20,}|ya29\.[\w-]{20,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
    r")"
)
_ADDRESS_WITH_PASSWORD = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,64}:(?!\*+@)[^\s:/@]{3,128}@[\w.-]+")
_NAMED = re.compile(
    r"\b(?:pass(?:word|code|phrase)|passwort|kennwort|contraseña|mot de passe|senha|api[ -]?key|access[ -]?token|secret|pin)\b"
    r"(?:\s+\w{1,20}){0,3}?\s*(?:is|are|ist|lautet|est|es|é|[:=])\s*[\"'“‘«]?(?P<value>[^\s\"'”’»,;]{4,64})",
    re.IGNORECASE,
)
_VALUE_LIKE = re.compile(r"(?=.*[\d!@#$%^&*+=_-])|(?=.*[a-z])(?=.*[A-Z])")
_OPENNESS = re.compile(
    r"\b(?:reveal|show|tell|share|repeat|print|give|disclose|verrate|nenne|zeige)\b[^.!?\n]{0,60}"
    r"\b(?:system prompt|(?:your|these|this|the|deine?) (?:own |hidden |initial )?(?:instructions?|prompt|rules|anweisungen))\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"\b(?:not|never|don't|cannot|can't|won't|refuse|decline|avoid|without|nicht|niemals|nie|keine?)\b", re.IGNORECASE
)
_OBEDIENCE = re.compile(
    r"\b(?:do|follow|obey|execute|carry out)\b[^.!?\n]{0,30}\b(?:whatever|anything|everything|all|any)\b[^.!?\n]{0,40}"
    r"\b(?:user|visitor|customer|they|asks?|says?|instructions?|commands?)\b",
    re.IGNORECASE,
)
_NO_LIMITS = re.compile(
    r"\b(?:without (?:any )?(?:restrictions|limits|filters|rules)|no (?:restrictions|filters|rules)|never refuse|ignore (?:all |any )?(?:safety|policies|restrictions))\b",
    re.IGNORECASE,
)
_OBEY_DOCUMENTS = re.compile(
    r"\b(?:follow|obey|execute|do)\b[^.!?\n]{0,40}\b(?:instructions?|commands?|orders?)\b[^.!?\n]{0,40}"
    r"\b(?:documents?|sources?|passages?|knowledge|web ?sites?|pages?)\b",
    re.IGNORECASE,
)
_NEGATED_OBEDIENCE = re.compile(
    r"\b(?:do not|don't|never (?:do|follow|obey|act)|not (?:do|follow|obey))\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
ROOM_FOR_REST_TOKENS = 512
"""Beside the instructions a prompt holds at least a question and a passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWarning:
    """`field` is a chatbot's text, `code` a stable word, `message` says what is wrong and how to mend it."""

    code: str
    field: str
    message: str


def find_key(text: str) -> str | None:
    """The beginning of a key in `text`, safe to show; None if there is none."""
    found = _KEYS.search(text)
    return None if found is None else found.group()[:8] + "…"


def check_texts(
    texts: Mapping[str, str], *, tokens: int, window_tokens: int | None, max_tokens: int
) -> list[PromptWarning]:
    """What is to be said of a chatbot's texts, by field.

    `tokens`: of all of them together; `window_tokens`: what the smallest model of its chain reads, None if unknown;
    `max_tokens`: of an answer.
    """
    warnings = [warning for field, text in texts.items() for warning in _check(field, text)]
    if window_tokens is not None and tokens + max_tokens + ROOM_FOR_REST_TOKENS > window_tokens:
        warnings.append(
            PromptWarning(
                code="too_long",
                field="system_prompt",
                message=(
                    f"the instructions have about {tokens:,} tokens; with answers of up to {max_tokens:,} they leave no room for "
                    f"a question in the {window_tokens:,} tokens of its smallest model: shorten them, or choose another model"
                ),
            )
        )
    return warnings


def _check(field: str, text: str) -> Iterator[PromptWarning]:
    if _ADDRESS_WITH_PASSWORD.search(text):
        yield PromptWarning(
            code="secret",
            field=field,
            message="an address with a password stands in it; visitors may talk it out of the model: take it out",
        )
    elif any(_VALUE_LIKE.match(found["value"]) for found in _NAMED.finditer(text)):
        yield PromptWarning(
            code="secret",
            field=field,
            message=(
                "something that looks like a password stands in it; visitors may talk it out of the model, and it goes to the "
                "provider: take it out"
            ),
        )
    for sentence in _SENTENCE.findall(text):
        if _OPENNESS.search(sentence) and not _NEGATED.search(sentence):
            yield PromptWarning(
                code="asks_to_reveal",
                field=field,
                message=f"it asks the model to show its instructions, and the guard stops just that: {_short(sentence)}",
            )
        elif (_OBEDIENCE.search(sentence) or _NO_LIMITS.search(sentence)) and not _NEGATED_OBEDIENCE.search(sentence):
            yield PromptWarning(
                code="contradicts_guard",
                field=field,
                message=f"it takes away what keeps visitors from misusing the model: {_short(sentence)}",
            )
        elif _OBEY_DOCUMENTS.search(sentence) and not _NEGATED.search(sentence):
            yield PromptWarning(
                code="obeys_documents",
                field=field,
                message=f"passages are data to the model; a document could give it orders by this: {_short(sentence)}",
            )


def _short(sentence: str) -> str:
    flat = " ".join(sentence.split())
    return f"“{flat}”" if len(flat) <= 100 else f"“{flat[:99]}…”"
