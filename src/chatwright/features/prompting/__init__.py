"""Turn and knowledge -> prompt, within a token budget."""

from chatwright.features.prompting.rules import (
    DEFAULT_NO_ANSWER,
    build,
    estimate_tokens,
    framed,
    knowledge_rules,
    no_answer,
)

__all__ = ["DEFAULT_NO_ANSWER", "build", "estimate_tokens", "framed", "knowledge_rules", "no_answer"]
