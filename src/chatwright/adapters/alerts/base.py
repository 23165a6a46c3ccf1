"""The port of delivery: a letter to a place, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

ERROR_AT_MOST = 200
"""Characters kept of what a receiver said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One alert as it is told. `id` is the same in every attempt, `type` the alert's kind, `created_at` RFC 3339 in UTC.

    `tenant_id` None: the platform's own.
    """

    id: str
    type: str
    level: str
    message: str
    subject: str
    period: str
    tenant_id: str | None
    detail: Mapping[str, Any]
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to: a URL or a mail address. `secret` signs; `guarded`: a tenant chose the URL, so not into our network."""

    target: str = field(repr=False)
    secret: str = field(default="", repr=False)
    guarded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one attempt. `status`: the receiver's HTTP or SMTP status, None when none came.

    `gone`: it asked never to be told again. `retry_after_s`: it asked for so long a wait.
    """

    ok: bool
    status: int | None = None
    error: str = ""
    gone: bool = False
    retry_after_s: float | None = None


class Courier(Protocol):
    """Delivers letters of one kind. Knows nothing of retries and rows."""

    async def send(self, letter: Letter, place: Place) -> Outcome:
        """Try once, within a bounded time. Raises nothing but CancelledError: a failure is an outcome."""
        ...


def shortened(text: str) -> str:
    """One line of at most ERROR_AT_MOST printable characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= ERROR_AT_MOST else line[: ERROR_AT_MOST - 1] + "…"
