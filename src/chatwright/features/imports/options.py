"""What is done with an import's messages beside storing them, and what may be spent on it. Pure."""

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from chatwright.domain.errors import Unprocessable

Enrichment = Literal["sentiment", "intent", "summary"]
Personal = Literal["email", "phone", "card", "iban"]
ENRICHMENTS: tuple[Enrichment, ...] = get_args(Enrichment)
PERSONAL: tuple[Personal, ...] = get_args(Personal)
_ALL = frozenset({"true", "all", "yes", "1", "on"})
_NONE = frozenset({"", "false", "none", "no", "0", "off"})


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`sentiment` of every message, `intent` of every visitor's, both by the local model. `summary`: of every conversation,
    by the chatbot's cheap model (`model`) or of sentences that were said (`local`). `redact`: what is taken out of texts
    before they are stored. `limit_nano`: what the import may cost, nanodollars; None: no bound of its own."""

    sentiment: bool = True
    intent: bool = True
    summary: Literal["none", "local", "model"] = "local"
    redact: tuple[Personal, ...] = ()
    limit_nano: int | None = None

    @property
    def is_reading(self) -> bool:
        return self.sentiment or self.intent


def read_enrichment(text: str | None, *, summaries: str | None = None) -> Options:
    """`text`: all, none, or words of ENRICHMENTS joined by commas (a JSON list will do); None: everything that costs
    nothing. `summaries`: by the `model` or `local`; None: by the model where they were asked for. Raises Unprocessable."""
    if summaries not in (None, "local", "model"):
        raise Unprocessable("summaries are made local or by the model", param="summaries")
    if text is None:
        return Options(summary="model" if summaries == "model" else "local")
    words = [word.strip(" []\"'").lower() for word in text.split(",")]
    words = [word for word in words if word] or [""]
    if len(words) == 1 and words[0] in _ALL:
        words = list(ENRICHMENTS)
    elif len(words) == 1 and words[0] in _NONE:
        words = []
    unknown = [word for word in words if word not in ENRICHMENTS]
    if unknown:
        raise Unprocessable(
            f"no enrichment {unknown[0][:40]!r}; there are {', '.join(ENRICHMENTS)}, all and none", param="enrich"
        )
    kind = summaries or "model"
    return Options(
        sentiment="sentiment" in words, intent="intent" in words, summary=kind if "summary" in words else "none"
    )


def read_personal(text: str | None) -> tuple[Personal, ...]:
    """Kinds of personal data, joined by commas, or all. Raises Unprocessable."""
    words = [word.strip(" []\"'").lower() for word in (text or "").split(",")]
    words = [word for word in words if word and word not in _NONE]
    if len(words) == 1 and words[0] in _ALL:
        return PERSONAL
    unknown: Sequence[str] = [word for word in words if word not in PERSONAL]
    if unknown:
        raise Unprocessable(
            f"no kind of personal data {unknown[0][:40]!r}; there are {', '.join(PERSONAL)}, all and none",
            param="redact",
        )
    return tuple(one for one in PERSONAL if one in words)
