"""SQL of conversations and visitors' messages: accepting one, loading a turn, reading a transcript."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from chatwright.adapters.postgres.pool import Connection, Database, Row
from chatwright.domain.ids import ChatbotId, ConversationId, JobId, MessageId
from chatwright.domain.messages import is_grounded
from chatwright.domain.providers import Turn
from chatwright.domain.scope import Scope

_NO_SUCH_CONVERSATION = "CW404"

CREATE = """
INSERT INTO conversations (id, tenant_id, chatbot_id, visitor_id, metadata) VALUES ($1, $2, $3, $4, $5)
RETURNING created_at
"""

REMEMBER_KEY = """
-- 24 h of exactly-once: a second sender waits here for the first one's commit, then gets no row.
INSERT INTO idempotency_keys (tenant_id, key, body_hash, response) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, key) DO NOTHING
RETURNING key
"""

RECALL_KEY = """
SELECT body_hash, status, response FROM idempotency_keys WHERE tenant_id = $1 AND key = $2
"""

ACCEPT = """
-- migrations/0020_bursts.sql. $1 tenant_id = the caller's
SELECT * FROM accept_message($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""

ASK_CANCEL = """
-- The conversation's row first, then the message's: an ending takes them in this order, and the other one deadlocks.
WITH conversation AS (
    SELECT c.id FROM conversations c JOIN messages m ON m.tenant_id = c.tenant_id AND m.conversation_id = c.id
     WHERE m.tenant_id = $1 AND m.id = $2 AND ($3::text IS NULL OR c.visitor_id = $3)
       FOR NO KEY UPDATE OF c
)
UPDATE messages SET cancel_asked_at = coalesce(cancel_asked_at, now())
  FROM conversation
 WHERE messages.tenant_id = $1 AND messages.id = $2 AND messages.state = 'accepted'
   AND messages.conversation_id = conversation.id
RETURNING messages.conversation_id
"""

MESSAGE_STATE = """
SELECT m.state, m.conversation_id FROM messages m
  JOIN conversations c ON c.tenant_id = m.tenant_id AND c.id = m.conversation_id
 WHERE m.tenant_id = $1 AND m.id = $2 AND ($3::text IS NULL OR c.visitor_id = $3)
"""

LOAD_TURN = """
-- A replay starts a new count of calls: only those since its first attempt belong to it. Messages that were merged into
-- this one are part of its text, not of its history. What the guard refused, of a burst all of it, keeps its place only.
SELECT m.text, m.ordinal, c.metadata || m.metadata AS metadata, m.cancel_asked_at IS NOT NULL AS cancel_asked,
       c.visitor_id, m.conversation_id, c.forgotten_upto, c.summarised_upto,
       (SELECT count(*) FROM calls k WHERE k.tenant_id = $1 AND k.message_id = $2 AND k.kind = 'call'
           AND k.provider <> 'extractive'
           AND k.opened_at >= coalesce((SELECT min(j.started_at) FROM jobs j WHERE j.tenant_id = $1 AND j.message_id = $2),
                                       '-infinity')) AS calls_made,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(h.text, h.answer, h.animation) ORDER BY h.ordinal), '[]')
          FROM (SELECT e.ordinal, a.text AS answer, a.animation,
                       CASE WHEN e.state = 'refused' OR (e.merged_into IS NOT NULL AND EXISTS (
                                SELECT FROM messages r WHERE r.tenant_id = $1 AND r.id = e.merged_into AND r.state = 'refused'))
                            THEN '' ELSE e.text END AS text
                  FROM messages e
                  LEFT JOIN answers a ON a.tenant_id = $1 AND a.message_id = e.id
                 WHERE e.tenant_id = $1 AND e.conversation_id = m.conversation_id AND e.ordinal < m.ordinal
                   AND e.ordinal > greatest(c.forgotten_upto, c.summarised_upto)
                   AND e.merged_into IS DISTINCT FROM m.id
                 ORDER BY e.ordinal DESC LIMIT $3) h) AS history,
       (SELECT coalesce(jsonb_agg(e.text ORDER BY e.ordinal), '[]') FROM messages e
         WHERE e.tenant_id = $1 AND e.merged_into = $2) AS merged
  FROM messages m JOIN conversations c ON c.tenant_id = m.tenant_id AND c.id = m.conversation_id
 WHERE m.tenant_id = $1 AND m.id = $2
"""

GET = """
SELECT id, chatbot_id, visitor_id, metadata, created_at, updated_at, last_seq FROM conversations
 WHERE tenant_id = $1 AND id = $2 AND ($3::uuid IS NULL OR chatbot_id = $3) AND ($4::text IS NULL OR visitor_id = $4)
"""

LIST = """
SELECT id, chatbot_id, visitor_id, metadata, created_at, updated_at, last_seq FROM conversations
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR chatbot_id = $2) AND ($3::text IS NULL OR visitor_id = $3)
   AND ($4::uuid IS NULL OR id < $4)
 ORDER BY id DESC LIMIT $5
"""

TRANSCRIPT = """
SELECT m.id AS message_id, m.ordinal, m.text, m.state, m.merged_into, m.error_code, m.error_message, m.reading, m.metadata,
       m.created_at, a.id AS answer_id, a.text AS answer_text, a.sources, a.animation, a.suggested_actions,
       a.confidence, a.grounding, a.provider, a.model, a.input_tokens, a.cached_tokens, a.output_tokens, a.cost_nano,
       a.cached, a.partial, a.chunk_count, a.processing_ms, a.reading AS answer_reading, a.created_at AS answered_at,
       (SELECT f.rating FROM feedback f WHERE f.tenant_id = $1 AND f.message_id = m.id LIMIT 1) AS rating
  FROM messages m LEFT JOIN answers a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
 WHERE m.tenant_id = $1 AND m.conversation_id = $2 AND m.ordinal > $3
 ORDER BY m.ordinal LIMIT $4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    id: ConversationId
    chatbot_id: ChatbotId
    visitor_id: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    last_seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentReceipt:
    """What an earlier request under the same key left. `body_hash` tells whether it was the same request."""

    body_hash: bytes
    status: int | None
    response: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """A message that a later one took over, and its job. `running`: a worker was at it."""

    message_id: MessageId
    job_id: JobId
    running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """`weight` is the tenant's fair share. `next_base_seq`: where the event log goes on should it be gone, beyond every number given out before.
    `taken_over`: the messages that were merged into this one, latest first."""

    job_state: str
    chatbot_id: ChatbotId
    ordinal: int
    next_base_seq: int
    weight: float = 1.0
    taken_over: tuple[TakenOver, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTurn:
    """One message with its history: earlier texts and answers as turns, oldest first.

    The history begins after the messages that were forgotten or stand in the summary; `history_whole` says that it does so
    with the first of them. `metadata` is the conversation's, with the message's own fields over it.
    """

    text: str
    ordinal: int
    metadata: dict[str, Any]
    visitor_id: str
    history: tuple[Turn, ...]
    calls_made: int
    cancel_asked: bool
    conversation_id: ConversationId | None = None
    last_animation: str | None = None
    """Of the latest answer in the history."""
    forgotten_upto: int = 0
    summarised_upto: int = 0
    history_whole: bool = False

    @property
    def since(self) -> int:
        """The ordinal after which the history begins."""
        return max(self.forgotten_upto, self.summarised_upto)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptItem:
    """One line of a transcript. `details` holds an answer's or message's further fields, ready for the wire."""

    id: str
    message_id: MessageId
    role: str
    text: str
    state: str
    ordinal: int
    created_at: datetime
    details: dict[str, Any]


async def create_conversation(
    db: Connection, scope: Scope, conversation_id: ConversationId, *, visitor_id: str, metadata: dict[str, Any]
) -> Conversation:
    """`scope.chatbot_id` names the chatbot."""
    created_at = await db.fetchval(CREATE, conversation_id, scope.tenant_id, scope.chatbot_id, visitor_id, metadata)
    assert scope.chatbot_id is not None
    return Conversation(
        id=conversation_id,
        chatbot_id=scope.chatbot_id,
        visitor_id=visitor_id,
        metadata=metadata,
        created_at=created_at,
        updated_at=created_at,
    )


async def remember_key(
    db: Connection, scope: Scope, key: str, body_hash: bytes, response: dict[str, Any]
) -> IdempotentReceipt | None:
    """Claim an idempotency key inside the caller's transaction. None: it is ours; else what the first request left."""
    if await db.fetchval(REMEMBER_KEY, scope.tenant_id, key, body_hash, response) is not None:
        return None
    earlier = await recall_key(db, scope, key)
    if earlier is None:  # the other transaction rolled back between the two statements
        return await remember_key(db, scope, key, body_hash, response)
    return earlier


async def recall_key(db: Connection, scope: Scope, key: str) -> IdempotentReceipt | None:
    """What the first request under a key left; None: there was none."""
    row = await db.fetchrow(RECALL_KEY, scope.tenant_id, key)
    if row is None:
        return None
    return IdempotentReceipt(body_hash=row["body_hash"], status=row["status"], response=row["response"])


async def accept_message(
    db: Database,
    scope: Scope,
    *,
    conversation_id: ConversationId,
    is_new: bool,
    chatbot_id: ChatbotId | None,
    visitor_id: str | None,
    message_id: MessageId,
    text: str,
    metadata: dict[str, Any],
    job_id: JobId,
    job_type: str,
    queue: str,
    priority: int,
    key: str | None,
    body_hash: bytes,
    receipt: dict[str, Any],
) -> StoredMessage | IdempotentReceipt | None:
    """Store a message with its job (and its conversation, if it is new) in one transaction and one round trip.

    None for an unknown conversation, or another visitor's; an IdempotentReceipt when `key` was used before.
    """
    try:
        row = await db.call(
            scope, ACCEPT, key, body_hash, receipt, is_new, conversation_id, chatbot_id, visitor_id, message_id, text,
            metadata, job_id, job_type, queue, priority,
        )  # fmt: skip
    except asyncpg.PostgresError as error:
        if getattr(error, "sqlstate", None) == _NO_SUCH_CONVERSATION:
            return None
        raise
    assert row is not None
    if row["job_state"] is None:
        return IdempotentReceipt(body_hash=row["earlier_hash"], status=None, response=row["earlier_response"])
    return StoredMessage(
        job_state=row["job_state"],
        chatbot_id=row["chatbot"],
        ordinal=row["ordinal"],
        next_base_seq=row["next_base"],
        weight=row["weight"],
        taken_over=tuple(TakenOver(**one) for one in row["taken_over"] or ()),
    )


async def ask_cancel(
    db: Connection, scope: Scope, message_id: MessageId, *, visitor_id: str | None
) -> tuple[str, ConversationId] | None:
    """Mark the message as to be cancelled. Returns (its state before, conversation), or None if it is unknown."""
    row = await db.fetchrow(ASK_CANCEL, scope.tenant_id, message_id, visitor_id)
    if row is not None:
        return "accepted", row["conversation_id"]
    row = await db.fetchrow(MESSAGE_STATE, scope.tenant_id, message_id, visitor_id)
    return None if row is None else (row["state"], row["conversation_id"])


async def load_turn(db: Connection, scope: Scope, message_id: MessageId, *, history: int) -> LoadedTurn | None:
    """Load a message with up to `history` earlier ones of its conversation. Those that were merged into it stand in its text,
    a line or more each, in their order."""
    row = await db.fetchrow(LOAD_TURN, scope.tenant_id, message_id, history)
    return None if row is None else turn_of(row)


def turn_of(row: Row) -> LoadedTurn:
    """Read the columns of a turn; `merged` may be missing where no message was merged into it."""
    turns: list[Turn] = []
    merged: list[str] = row.get("merged", [])
    last_animation: str | None = None
    for text, answer, animation in row["history"]:
        if text:
            turns.append(Turn("user", text))
        if answer and turns:
            # Two in a row, in an imported conversation: turns alternate.
            before = f"{turns.pop().content}\n\n" if turns[-1].role == "assistant" else ""
            turns.append(Turn("assistant", before + answer))
            last_animation = animation
    return LoadedTurn(
        text="\n".join([*merged, row["text"]]),
        ordinal=row["ordinal"],
        metadata=row["metadata"],
        visitor_id=row["visitor_id"],
        history=tuple(turns),
        last_animation=last_animation,
        calls_made=row["calls_made"],
        cancel_asked=row["cancel_asked"],
        conversation_id=row["conversation_id"],
        forgotten_upto=row["forgotten_upto"],
        summarised_upto=row["summarised_upto"],
        history_whole=row["ordinal"] - 1 - max(row["forgotten_upto"], row["summarised_upto"])
        <= len(row["history"]) + len(merged),
    )


async def get_conversation(
    db: Connection, scope: Scope, conversation_id: ConversationId, *, visitor_id: str | None = None
) -> Conversation | None:
    row = await db.fetchrow(GET, scope.tenant_id, conversation_id, scope.chatbot_id, visitor_id)
    return None if row is None else Conversation(**row)


async def list_conversations(
    db: Connection,
    scope: Scope,
    *,
    chatbot_id: ChatbotId | None = None,
    visitor_id: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[Conversation]:
    """One page, newest first; `after` is the last id of the page before."""
    rows = await db.fetch(LIST, scope.tenant_id, chatbot_id or scope.chatbot_id, visitor_id, after, limit)
    return [Conversation(**row) for row in rows]


async def list_transcript(
    db: Connection, scope: Scope, conversation_id: ConversationId, *, after: int = 0, limit: int = 100
) -> list[TranscriptItem]:
    """Messages after ordinal `after`, each followed by its answer, in order; at most `limit`. None without words is shown."""
    items: list[TranscriptItem] = []
    for row in await db.fetch(TRANSCRIPT, scope.tenant_id, conversation_id, after, limit):
        message_id = row["message_id"]
        details = {key: row[key] for key in ("error_code", "error_message", "reading", "metadata", "merged_into")}
        if row["text"] or row["answer_id"] is None:
            items.append(
                TranscriptItem(
                    id=message_id,
                    message_id=message_id,
                    role="visitor",
                    text=row["text"],
                    state=row["state"],
                    ordinal=row["ordinal"],
                    created_at=row["created_at"],
                    details=details,
                )
            )
        if row["answer_id"] is None:
            continue
        details = {
            key: row[key]
            for key in (
                "sources", "animation", "suggested_actions", "confidence", "grounding", "provider", "model", "cost_nano",
                "cached", "partial", "chunk_count", "processing_ms", "rating",
            )
        }  # fmt: skip
        details["grounded"] = is_grounded(row["grounding"])
        if tone := row["answer_reading"]:
            details["tone"] = {"label": tone["sentiment"], "score": tone.get("sentiment_score")}
        details["usage"] = {key: row[key] for key in ("input_tokens", "cached_tokens", "output_tokens")}
        items.append(
            TranscriptItem(
                id=row["answer_id"],
                message_id=message_id,
                role="assistant",
                text=row["answer_text"],
                state=row["state"],
                ordinal=row["ordinal"],
                created_at=row["answered_at"],
                details=details,
            )
        )
    return items
