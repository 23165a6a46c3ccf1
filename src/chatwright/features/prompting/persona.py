"""How a chatbot speaks: tone, reading level, emoji, language, greetings. Part of the prompt, never a rewrite of answers.

`check_persona` stands where a tenant writes it; `Persona.of` reads what is stored, for every answer. Its lines are the same
for every message of a chatbot, so that a provider's prompt cache can hold them. Pure.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from chatwright.domain.detection import detect_language
from chatwright.domain.errors import Unprocessable

TONES: Mapping[str, str] = {
    "neutral": "Write in a plain, even tone.",
    "friendly": "Write in a warm and friendly tone.",
    "professional": "Write in a courteous, professional tone.",
    "formal": "Write formally, and use the polite form of address where the language has one.",
    "casual": "Write casually, as to a friend.",
    "playful": "Write playfully, with light humour; be serious where the visitor is upset.",
    "empathetic": "Write with empathy: name the visitor's concern before you answer it.",
    "enthusiastic": "Write with enthusiasm.",
    "concise": "Write as briefly as the answer allows: no introduction, no repetition.",
}
READING_LEVELS: Mapping[str, str] = {
    "simple": "Use short sentences and everyday words that a twelve-year-old understands; explain what must be named.",
    "standard": "Use words that an adult without special knowledge understands.",
    "expert": "Write for experts: use the terms of the field without explaining them.",
}
EMOJI: Mapping[str, str] = {
    "none": "Use no emoji.",
    "some": "Use at most one emoji in an answer, and none where the visitor is upset.",
    "many": "Use emoji freely, but none where the visitor is upset.",
}
VISITORS = "visitor"
"""The language policy that answers in the language of the question."""
LANGUAGES: Mapping[str, str] = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "mr": "Marathi",
    "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sk": "Slovak", "sr": "Serbian", "sv": "Swedish", "ta": "Tamil", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
GREETING_AT_MOST = 500
_LANGUAGES_AT_MOST = 20
_CHOICES: Mapping[str, Mapping[str, str]] = {"tone": TONES, "reading_level": READING_LEVELS, "emoji": EMOJI}
_FIELDS = (*_CHOICES, "language", "greetings")
_ACCEPTED = re.compile(r"([A-Za-z]{2,3})(?:-[\w-]+)?\s*(?:;\s*q\s*=\s*(\d(?:\.\d{1,3})?))?\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """A chatbot's way of speaking. "" stands for nothing said.

    `languages`: () the visitor's; one: always that; several: the visitor's if it is among them, else the first.
    `lines` go into the system prompt.
    """

    tone: str = ""
    reading_level: str = ""
    emoji: str = ""
    languages: tuple[str, ...] = ()
    greetings: Mapping[str, str] = field(default_factory=dict[str, str])
    lines: str = ""

    @classmethod
    def of(cls, fields: "Mapping[str, Any] | Persona | None") -> "Persona":
        """Read a stored persona. What cannot be meant is left out: no answer fails over it."""
        if isinstance(fields, Persona):
            return fields
        if not fields:
            return NO_PERSONA
        known: dict[str, Any] = {name: value for name, value in fields.items() if _fault(name, value) is None}
        language = known.get("language", VISITORS)
        named = () if language == VISITORS else (language,) if isinstance(language, str) else tuple(language)
        chosen: dict[str, str] = {name: known[name] for name in _CHOICES if name in known}
        spoken = [_CHOICES[name][value] for name, value in chosen.items()]
        return cls(
            languages=named,
            greetings=known.get("greetings", {}),
            lines=" ".join((*spoken, _language_line(named))),
            **chosen,
        )

    def reply_language(self, question: str) -> str | None:
        """The language (ISO 639-1) in which `question` is answered; None where neither it nor the policy tells."""
        if len(self.languages) == 1:
            return self.languages[0]
        asked = detect_language(question)
        return asked if not self.languages or asked in self.languages else self.languages[0]

    def reminder(self, question: str) -> str:
        """The language of this very answer, for a prompt whose passages are in another one; "" without a persona, and where
        nothing tells."""
        if not self.lines:
            return ""
        name = LANGUAGES.get(self.reply_language(question) or "")
        return f"(Answer in {name}.)" if name else ""


NO_PERSONA = Persona()


def check_persona(fields: Mapping[str, Any]) -> None:
    """Raise Unprocessable, naming the field, for a persona that cannot be meant."""
    for name, value in fields.items():
        if (fault := _fault(name, value)) is not None:
            raise Unprocessable(fault[:300], param=f"persona.{name}"[:100])


def greeting(default: str, persona: Mapping[str, Any] | Persona | None, accept_language: str = "") -> str:
    """What a chatbot says before anybody wrote, in a language that the visitor's browser accepts (`Accept-Language`);
    `default` where none of its greetings is in one."""
    greetings = Persona.of(persona).greetings
    if not greetings:
        return default
    for language in accepted_languages(accept_language):
        if found := greetings.get(language):
            return found
    return default or next(iter(greetings.values()))


def accepted_languages(header: str) -> list[str]:
    """The languages of an `Accept-Language` header, the most wanted first (ISO 639, lower case). Never raises."""
    wanted: list[tuple[float, int, str]] = []
    for at, part in enumerate(header[:1_000].split(",")[:_LANGUAGES_AT_MOST]):
        match = _ACCEPTED.match(part.strip())
        quality = 0.0 if match is None else float(match[2] or 1)
        if match is not None and quality > 0:
            wanted.append((-min(1.0, quality), at, match[1].lower()))
    return list(dict.fromkeys(language for _, _, language in sorted(wanted)))


def _language_line(languages: Sequence[str]) -> str:
    if not languages:
        return "Answer in the language of the visitor's message, whatever language the passages are in."
    first = LANGUAGES[languages[0]]
    if len(languages) == 1:
        return f"Always answer in {first}, whatever language the visitor writes in."
    names = ", ".join(LANGUAGES[language] for language in languages)
    return (
        f"Answer in the language of the visitor's message if it is one of these: {names}. Otherwise answer in {first}."
    )


def _fault(name: str, value: Any) -> str | None:
    if name in _CHOICES:
        known = isinstance(value, str) and value in _CHOICES[name]
        return None if known else f"{name} is one of {', '.join(_CHOICES[name])}"
    if name == "language":
        return _language_fault(value)
    if name == "greetings":
        return _greetings_fault(value)
    return f"no such field: {name!r}; there are {', '.join(_FIELDS)}"


def _language_fault(value: Any) -> str | None:
    if value == VISITORS:
        return None
    named: Sequence[Any] = (
        [value] if isinstance(value, str) else cast("list[Any]", value) if isinstance(value, list) else []
    )
    if not 1 <= len(named) <= _LANGUAGES_AT_MOST or len({str(one) for one in named}) != len(named):
        return f'language is "{VISITORS}", a language, or a list of up to {_LANGUAGES_AT_MOST} different ones'
    unknown = [one for one in named if not isinstance(one, str) or one not in LANGUAGES]
    return f"no such language: {unknown[0]!r}; use a code such as en, de or pt" if unknown else None


def _greetings_fault(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return "greetings is an object: a text for each language"
    for language, text in cast("Mapping[str, Any]", value).items():
        if language not in LANGUAGES:
            return f"no such language: {language!r}; use a code such as en, de or pt"
        if not isinstance(text, str) or not 0 < len(text.strip()) <= GREETING_AT_MOST or "\x00" in text:
            return f"greetings.{language} is a text of 1 to {GREETING_AT_MOST} characters"
    return None
