"""Turn and knowledge -> prompt, within a token budget."""

from chatwright.features.prompting.persona import (
    NO_PERSONA,
    Persona,
    accepted_languages,
    check_persona,
    greeting,
)
from chatwright.features.prompting.rules import (
    DEFAULT_NO_ANSWER,
    build,
    estimate_tokens,
    framed,
    knowledge_rules,
    no_answer,
    says_no_answer,
)

__all__ = [
    "DEFAULT_NO_ANSWER",
    "NO_PERSONA",
    "Persona",
    "accepted_languages",
    "build",
    "check_persona",
    "estimate_tokens",
    "framed",
    "greeting",
    "knowledge_rules",
    "no_answer",
    "says_no_answer",
]
