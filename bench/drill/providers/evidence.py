"""What the judge of the provider drill sees: clients' notes, both simulators' logs, rows read as superuser. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.simulator.dialects import tagged

PRIMARY, SECONDARY = "primary", "secondary"
TAGS = {PRIMARY: "P:", SECONDARY: "S:"}
"""Each simulator writes its own before every word."""
PROVIDERS = {PRIMARY: "openai", SECONDARY: "anthropic"}

Way = Literal["queued", "stream"]
Ended = Literal["complete", "partial", "error", "broken", ""]
"""partial: told as broken off after some text; error: told as failed without any; broken: the connection just ended."""


@dataclass(slots=True, kw_only=True)
class Question:
    """One message as its client knows it. `echo` is what an answer says, without tags."""

    key: str
    way: Way
    echo: str
    text: str
    faulty: bool
    """Whether the primary was told to fail."""
    shown: str = ""
    ended: Ended = ""
    said: str = ""
    """The server's words of an error."""
    first_s: float | None = None
    """From sending to the first visible text."""
    took_s: float = 0.0
    """From sending to the end."""

    def whole(self, simulator: str) -> str:
        """The complete answer as this simulator gives it."""
        return tagged(self.echo, TAGS[simulator])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCall:
    """A call that reached a simulator. `text` is the visible text that it wrote."""

    simulator: str
    n: int
    call_id: str | None
    head: str
    ended: str
    text: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    id: str
    provider: str
    state: str
    message_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message of a conversation with its answer, if it has one."""

    text: str
    state: str
    answer: str | None
    partial: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of the run. `where` says when the primary's faults come: before its first visible text or after it."""

    name: str
    where: Literal["before", "after"]
    questions: Sequence[Question]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    phases: Sequence[Phase]
    calls: Sequence[ProviderCall]
    rows: Sequence[LedgerRow]
    messages: Sequence[StoredMessage]
    deadline_s: float
    least: int = 1
    """Questions that each phase must have had at least."""
    calls_share: float = 1.2
    complete_share: float = 0.999
    calls_limit: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSummary:
    """What a phase showed, for the table."""

    name: str
    questions: int
    faulty: int
    complete: int
    by_secondary: int
    partial: int
    errors: int
    calls: int
    to_primary: int
    slowest_s: float
    ended: dict[str, int] = field(default_factory=dict[str, int])
    """How the primary's calls ended, by its own log."""
