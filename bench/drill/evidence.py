"""What the judge sees, and nothing else: the clients' own notes, the simulator's log, rows read as superuser."""

from dataclasses import dataclass, field

TERMINAL = frozenset({"answered", "merged_into", "refused", "cancelled", "failed", "handed_off"})
JOB_OPEN = frozenset({"waiting", "queued", "running"})


@dataclass(slots=True, kw_only=True)
class Sent:
    """One message as its client knows it. `key` is the client_message_id, `text` as sent, `echo` what an undisturbed
    answer must say. `acknowledged` are the message ids of all receipts (more than one is a fault)."""

    key: str
    tenant_id: str
    text: str
    echo: str
    tries: int = 0
    acknowledged: set[str] = field(default_factory=set[str])
    refused: str = ""
    """A 4xx answer: the client gave up for good."""
    ended: str = ""
    """State told by the terminal event on the client's stream; empty if it never came."""
    streamed: str | None = None
    """The text as the client had put it together when that event came."""
    told: str | None = None
    """The text that `stream_complete` or a final `message_replace` carried."""
    trace: list[str] = field(default_factory=list[str])
    """Events about this message in the order they came, for the report of a violation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    id: str
    tenant_id: str
    text: str
    state: str
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    id: str
    message_id: str
    text: str
    partial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """A row of the product's ledger for a call to the simulated provider."""

    id: str
    message_id: str | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCall:
    """A call that reached the simulator; `head` is the beginning of the question it got."""

    n: int
    call_id: str | None
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of one run, after it came to rest (or did not)."""

    wanted: int
    """Messages that should have been sent at least."""
    sent: list[Sent]
    messages: list[MessageRow]
    answers: list[AnswerRow]
    calls: list[CallRow]
    simulated: list[SimulatedCall]
    open_jobs: int
    queue_left: dict[str, int]
    """What is left in the queue's own structures, by queue."""
    doubled_events: int
    """Stream events that a client got twice."""
    faults_planned: int
    faults_hit: int
    """Faults that found their process."""
    settle_s: float | None
    """From the end of the last fault until every message was terminal; None: it never was."""
    settle_limit_s: float = 60.0
    calls_limit: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that does not hold, how often, and some of the places."""

    rule: str
    count: int
    examples: list[str]

    def __str__(self) -> str:
        return f"{self.rule}: {self.count} ({'; '.join(self.examples)})"
