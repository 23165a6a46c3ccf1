"""SQL of endings: a message becomes terminal once, with at most one answer, and the next waiting one is let go."""

from dataclasses import dataclass
from typing import Any

import msgspec

from chatwright.adapters.postgres.pool import Connection
from chatwright.domain.ids import ConversationId, MessageId
from chatwright.domain.jobs import Job
from chatwright.domain.messages import Answer, MessageState
from chatwright.domain.providers import Source, Usage
from chatwright.domain.scope import Scope

END_CHAT = """
-- The whole ending of a chat job in one statement, after the conversation's row was locked: the attempt's fence first,
-- and only if it holds ($5) the answer ($11 on, if there is one), the message's state and the next waiting message.
-- $1 tenant, $2 conversation, $3 job, $4 job state, $5 attempt, $6 message, $7 message state, $8 error code,
-- $9 error message for visitors, $10 reading, $28 error of the job
WITH held AS (
    UPDATE jobs SET state = $4, error_code = $8, error = $28, lease_until = NULL, finished_at = now()
     WHERE tenant_id = $1 AND id = $3 AND attempt = $5 AND state = 'running'
    RETURNING chatbot_id
), answer AS (
    INSERT INTO answers (id, tenant_id, chatbot_id, conversation_id, message_id, attempt, text, sources, animation,
                         suggested_actions, confidence, provider, model, input_tokens, cached_tokens, output_tokens,
                         cost_nano, cached, partial, chunk_count, processing_ms, grounding)
    SELECT $11, $1, held.chatbot_id, $2, $6, $5, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
           $27
      FROM held WHERE $11::uuid IS NOT NULL
    ON CONFLICT (message_id) DO NOTHING
), message AS (
    UPDATE messages SET state = $7, error_code = $8, error_message = $9, reading = coalesce($10, reading),
                        finished_at = now()
      FROM held WHERE messages.tenant_id = $1 AND messages.id = $6 AND messages.state = 'accepted'
), following AS (
    UPDATE jobs SET state = 'queued', run_after = now()
      FROM held
     WHERE jobs.tenant_id = $1 AND jobs.state = 'waiting'
       AND jobs.id = (SELECT w.id FROM jobs w WHERE w.tenant_id = $1 AND w.conversation_id = $2 AND w.state = 'waiting'
                       ORDER BY (SELECT ordinal FROM messages m WHERE m.tenant_id = $1 AND m.id = w.message_id)
                       LIMIT 1)
       AND NOT EXISTS (SELECT FROM jobs o WHERE o.tenant_id = $1 AND o.conversation_id = $2 AND o.id <> $3
                          AND o.type = 'chat_response' AND o.state IN ('queued', 'running'))
    RETURNING jobs.id, jobs.type, jobs.queue, jobs.priority, jobs.generation
)
SELECT (SELECT count(*) FROM held) AS held, following.* FROM (SELECT) AS one LEFT JOIN following ON true
"""

SET_TERMINAL = """
UPDATE messages SET state = $3, error_code = $4, error_message = $5, finished_at = now()
 WHERE tenant_id = $1 AND id = $2 AND state = 'accepted'
"""

REOPEN = """
UPDATE messages SET state = 'accepted', error_code = NULL, error_message = NULL, finished_at = NULL,
                    cancel_asked_at = NULL, text = coalesce($3, text)
 WHERE tenant_id = $1 AND id = $2 AND state IN ('failed', 'refused', 'cancelled')
"""

DROP_PARTIAL = """
DELETE FROM answers WHERE tenant_id = $1 AND message_id = $2 AND partial
"""

CANCEL_ASKED = """
SELECT cancel_asked_at IS NOT NULL FROM messages WHERE tenant_id = $1 AND id = $2
"""

LOCK_CONVERSATION = """
-- First statement of every ending: accepting and ending come one after the other, so no message is left waiting.
UPDATE conversations SET last_seq = greatest(last_seq, $3), updated_at = now() WHERE tenant_id = $1 AND id = $2
"""

LOCK_CONVERSATION_OF = """
UPDATE conversations SET updated_at = now()
 WHERE tenant_id = $1 AND id = (SELECT conversation_id FROM messages WHERE tenant_id = $1 AND id = $2)
"""

NEXT_WAITING = """
UPDATE jobs SET state = 'queued', run_after = now()
 WHERE tenant_id = $1 AND state = 'waiting'
   AND id = (SELECT j.id FROM jobs j WHERE j.tenant_id = $1 AND j.conversation_id = $2 AND j.state = 'waiting'
              ORDER BY (SELECT ordinal FROM messages m WHERE m.tenant_id = $1 AND m.id = j.message_id) LIMIT 1)
   AND NOT EXISTS (SELECT FROM jobs o WHERE o.tenant_id = $1 AND o.conversation_id = $2
                      AND o.type = 'chat_response' AND o.state IN ('queued', 'running'))
RETURNING id, type, queue, priority, generation
"""

RAISE_SEQ_BASE = """
-- The event log was lost: a new one starts beyond whatever the old one can have reached. $3 a base in use already.
UPDATE conversations SET seq_base = CASE WHEN $3::bigint IS NULL THEN (greatest(seq_base, last_seq) / 100000 + 1) * 100000
                                         ELSE greatest(seq_base, $3) END
 WHERE tenant_id = $1 AND id = $2 RETURNING seq_base
"""

TERMINAL = """
SELECT m.id, m.conversation_id, m.chatbot_id, m.state, m.merged_into, m.error_code, m.error_message, m.reading,
       a.id AS answer_id, a.text, a.sources, a.animation, a.suggested_actions, a.confidence, a.provider, a.model,
       a.input_tokens, a.cached_tokens, a.output_tokens, a.cost_nano, a.cached, a.partial, a.chunk_count,
       a.processing_ms, a.grounding
  FROM messages m LEFT JOIN answers a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
 WHERE m.tenant_id = $1 AND m.id = $2
"""

RECENT = """
-- What a reader who lost events may have missed: the latest message, the open ones, those that ended of late.
SELECT m.id FROM messages m
 WHERE m.tenant_id = $1 AND m.conversation_id = $2
   AND (m.state = 'accepted' OR m.finished_at > now() - make_interval(secs => $3)
        OR m.ordinal = (SELECT max(l.ordinal) FROM messages l WHERE l.tenant_id = $1 AND l.conversation_id = $2))
 ORDER BY m.ordinal DESC LIMIT 20
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a message ends."""

    message_id: MessageId
    conversation_id: ConversationId
    state: MessageState
    error_code: str | None = None
    error_message: str | None = None
    """What visitors may read."""
    job_error: str | None = None
    """The same for operators, in full."""
    reading: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """A message as PostgreSQL knows it; `answer` is None when none was given."""

    message_id: MessageId
    conversation_id: ConversationId
    chatbot_id: str
    state: MessageState
    error_code: str | None
    error_message: str | None
    reading: dict[str, Any] | None
    answer: Answer | None
    merged_into: MessageId | None = None
    """Whose answer is this one's, too."""


async def end_chat(
    db: Connection, job: Job, ending: Finished, answer: Answer | None, *, job_state: str
) -> tuple[bool, dict[str, Any] | None]:
    """Store a chat job's ending under its attempt's fence; call `lock_conversation` first.

    Returns (held, following): `held` is False when a later attempt owns the job and nothing was changed; `following`
    is the job (id, type, queue, priority, generation) of the conversation's next message, now to be queued, or None.
    """
    fields: tuple[object, ...] = (None,) * 17
    if answer is not None:
        fields = (
            answer.id, answer.text, [shown_source(source) for source in answer.sources], answer.animation,
            list(answer.suggested_actions), answer.confidence, answer.provider, answer.model,
            answer.usage.input_tokens, answer.usage.cached_tokens, answer.usage.output_tokens, answer.cost_nano,
            answer.cached, answer.partial, answer.chunk_count, answer.processing_ms,
            answer.grounding,
        )  # fmt: skip
    row = await db.fetchrow(
        END_CHAT, job.scope.tenant_id, ending.conversation_id, job.id, job_state, job.attempt, ending.message_id,
        ending.state, ending.error_code, ending.error_message, ending.reading, *fields,
        ending.job_error,
    )  # fmt: skip
    assert row is not None
    if not row["held"]:
        return False, None
    following = {name: row[name] for name in ("id", "type", "queue", "priority", "generation")}
    return True, following if following["id"] is not None else None


def shown_source(source: Source) -> dict[str, Any]:
    """A source as the visitor sees it: the quote, not the whole passage."""
    fields: dict[str, Any] = msgspec.to_builtins(source)
    for inner in ("text", "suspicious"):
        fields.pop(inner, None)
    return fields


async def set_terminal(db: Connection, scope: Scope, ending: Finished) -> bool:
    """False when the message was terminal already: nothing was changed."""
    status = await db.execute(
        SET_TERMINAL,
        scope.tenant_id,
        ending.message_id,
        ending.state,
        ending.error_code,
        ending.error_message,
    )
    return status.endswith(" 1")


async def reopen(db: Connection, scope: Scope, message_id: MessageId, *, text: str | None = None) -> bool:
    """Make a failed message acceptable again for a replay, with another `text` if one is given; a partial answer is
    dropped. False: it is not failed."""
    if not (await db.execute(REOPEN, scope.tenant_id, message_id, text)).endswith(" 1"):
        return False
    await db.execute(DROP_PARTIAL, scope.tenant_id, message_id)
    return True


async def is_cancel_asked(db: Connection, scope: Scope, message_id: MessageId) -> bool:
    return bool(await db.fetchval(CANCEL_ASKED, scope.tenant_id, message_id))


async def lock_conversation(db: Connection, scope: Scope, conversation_id: ConversationId, *, last_seq: int) -> None:
    """Call this before anything else in a transaction that ends a message. `last_seq` never goes back."""
    await db.execute(LOCK_CONVERSATION, scope.tenant_id, conversation_id, last_seq)


async def lock_conversation_of(db: Connection, scope: Scope, message_id: MessageId) -> None:
    """The same for whoever knows only the message."""
    await db.execute(LOCK_CONVERSATION_OF, scope.tenant_id, message_id)


async def next_waiting(db: Connection, scope: Scope, conversation_id: ConversationId) -> dict[str, Any] | None:
    """Let the conversation's next waiting message go. Returns its job (id, type, queue, priority, generation)."""
    row = await db.fetchrow(NEXT_WAITING, scope.tenant_id, conversation_id)
    return None if row is None else dict(row)


async def raise_seq_base(
    db: Connection, scope: Scope, conversation_id: ConversationId, *, to: int | None = None
) -> int | None:
    """Number to continue a lost event log from (`to`, if given); None for an unknown conversation."""
    value = await db.fetchval(RAISE_SEQ_BASE, scope.tenant_id, conversation_id, to)
    return None if value is None else int(value)


async def recent_messages(
    db: Connection, scope: Scope, conversation_id: ConversationId, *, within_s: float
) -> list[MessageId]:
    """The latest message and, of the 20 latest, those that are open or ended in the last `within_s` seconds; oldest
    first."""
    rows = await db.fetch(RECENT, scope.tenant_id, conversation_id, within_s)
    return [row["id"] for row in reversed(rows)]


async def load_terminal(db: Connection, scope: Scope, message_id: MessageId) -> Terminal | None:
    """Read a message with its answer, if it has one. `state` may still be `accepted`."""
    row = await db.fetchrow(TERMINAL, scope.tenant_id, message_id)
    if row is None:
        return None
    answer = None
    if row["answer_id"] is not None:
        answer = Answer(
            id=row["answer_id"],
            message_id=row["id"],
            conversation_id=row["conversation_id"],
            text=row["text"],
            provider=row["provider"],
            model=row["model"],
            sources=tuple(msgspec.convert(row["sources"], list[Source])),
            animation=row["animation"],
            suggested_actions=tuple(row["suggested_actions"]),
            confidence=row["confidence"],
            grounding=row["grounding"],
            usage=Usage(
                input_tokens=row["input_tokens"],
                cached_tokens=row["cached_tokens"],
                output_tokens=row["output_tokens"],
            ),
            cost_nano=row["cost_nano"],
            cached=row["cached"],
            partial=row["partial"],
            chunk_count=row["chunk_count"],
            processing_ms=row["processing_ms"],
        )
    return Terminal(
        message_id=row["id"],
        conversation_id=row["conversation_id"],
        chatbot_id=row["chatbot_id"],
        state=MessageState(row["state"]),
        error_code=row["error_code"],
        error_message=row["error_message"],
        reading=row["reading"],
        answer=answer,
        merged_into=row["merged_into"],
    )
