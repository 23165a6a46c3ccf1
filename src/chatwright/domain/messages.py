"""What visitors write and what they get."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chatwright.domain.ids import AnswerId, ChatbotId, ConversationId, JobId, MessageId
from chatwright.domain.limits import LimitedKey, Standing
from chatwright.domain.providers import Source, Usage


class MessageState(StrEnum):
    """`accepted` is the only state that is not terminal."""

    ACCEPTED = "accepted"
    ANSWERED = "answered"
    MERGED_INTO = "merged_into"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    HANDED_OFF = "handed_off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A visitor's message before it is accepted.

    `chatbot` (id or slug) is asked for only when `conversation_id` is None: then a conversation is created.
    `visitor_id` binds the draft to one visitor's own conversations; None means the tenant itself speaks and may write
    into any of its conversations. `priority` is 1..10, 10 most urgent.
    """

    text: str
    conversation_id: ConversationId | None = None
    chatbot_id: ChatbotId | None = None
    visitor_id: str | None = None
    client_message_id: str | None = None
    priority: int = 5
    key: LimitedKey | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The receipt: committed in PostgreSQL. `replayed` is True when the same key had been accepted before.

    `seq` is the number of the `message_accepted` event, None when it could not be told (Valkey away) or was before.
    `standing` is how far the rate limits it met are used, None if it met none.
    """

    message_id: MessageId
    conversation_id: ConversationId
    job_id: JobId
    ordinal: int
    replayed: bool = False
    seq: int | None = None
    standing: Standing | None = None

    @property
    def stream_id(self) -> str:
        """One stream per message, the same one over all attempts."""
        return self.message_id


LOW_GROUNDING = 0.55
"""An answer below this is marked as not grounded. Measured: `docs/reference/quality.md`."""


def is_grounded(grounding: float | None) -> bool | None:
    """Whether enough of an answer stands in its sources; None where nothing measured it."""
    return None if grounding is None else grounding >= LOW_GROUNDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A finished answer. `cost_nano` is None when no price is known.

    `grounding` is the share of what it says that stands in its sources, 0..1; `confidence` the lesser of that and of its
    best source's relevance. Both are None where nothing measured them.
    """

    id: AnswerId
    message_id: MessageId
    conversation_id: ConversationId
    text: str
    provider: str
    model: str
    sources: tuple[Source, ...] = ()
    animation: str | None = None
    suggested_actions: tuple[dict[str, Any], ...] = ()
    confidence: float | None = None
    grounding: float | None = None
    usage: Usage = field(default_factory=Usage)
    cost_nano: int | None = None
    cached: str = "miss"
    partial: bool = False
    chunk_count: int = 0
    processing_ms: int = 0
