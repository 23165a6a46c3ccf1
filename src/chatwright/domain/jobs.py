"""Units of queued work."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chatwright.domain.ids import ConversationId, JobId, MessageId
from chatwright.domain.scope import Scope


class JobType(StrEnum):
    CHAT_RESPONSE = "chat_response"
    SENTIMENT_ANALYSIS = "sentiment_analysis"
    INTENT_CLASSIFICATION = "intent_classification"
    KNOWLEDGE_SEARCH = "knowledge_search"
    ANIMATION_SELECTION = "animation_selection"
    CONVERSATION_SUMMARY = "conversation_summary"
    DOCUMENT_INDEX = "document_index"
    KNOWLEDGE_REEMBED = "knowledge_reembed"
    SITE_CRAWL = "site_crawl"
    CSV_IMPORT_BATCH = "csv_import_batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the jobs table, as one attempt of a worker sees it.

    `attempt` is the fencing token: whoever holds a lower one than the row changes nothing. `failures` counts attempts
    that ended in an error of ours (a stall is none). Times are Unix seconds.
    """

    id: JobId
    scope: Scope
    type: JobType
    queue: str
    priority: int
    attempt: int
    failures: int = 0
    generation: int = 1
    message_id: MessageId | None = None
    conversation_id: ConversationId | None = None
    payload: dict[str, Any] = field(default_factory=dict[str, Any])
    created_at_s: float = 0.0
    started_at_s: float = 0.0
    deadline_at_s: float | None = None
