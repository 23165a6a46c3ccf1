"""Rate limits as they are set, and how far they are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatwright.domain.ids import ApiKeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tenant, chatbot, visitor or key may do; 0 means that nothing is limited.

    `concurrency` counts answers under way at once, queued ones included.
    """

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrency: int = 0


def limits_in(fields: Mapping[str, Any]) -> Limits:
    """Limits as they are stored. What is no whole number above 0 limits nothing."""

    def number(name: str) -> int:
        value = fields.get(name)
        return value if isinstance(value, int) and value > 0 else 0

    return Limits(
        requests_per_minute=number("requests_per_minute"),
        tokens_per_minute=number("tokens_per_minute"),
        concurrency=number("concurrency"),
    )


@dataclass(frozen=True, slots=True)
class LimitedKey:
    """An API key that has limits of its own."""

    id: ApiKeyId
    limits: Limits


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit per minute: how much of it is left now, and the seconds until it is whole again."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The tightest limits that a request met; None where none is set."""

    requests: Allowance | None = None
    tokens: Allowance | None = None
