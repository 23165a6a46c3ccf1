"""One conversation's events as every transport sends them: from the event log while it holds them, from PostgreSQL
where it does not. Used by the socket and by the event stream."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import msgspec

from chatwright.adapters.valkey import Lost, with_seq
from chatwright.domain.ids import ConversationId
from chatwright.domain.messages import MessageState
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.entrypoints.wire_frames import MessageReplace
from chatwright.features import conversations
from chatwright.features.conversations import Terminal
from chatwright.pipeline.services import Services

_MISSED_WITHIN_S = 300.0
"""How far back an answer may have ended that a reader who lost events is told of."""


async def follow_events(
    app: Services, scope: Scope, conversation_id: ConversationId, *, after_seq: int | None
) -> AsyncGenerator[tuple[int, bytes]]:
    """Yield (seq, frame) after `after_seq`, in order, none twice; endless. None: only what comes from now on.

    The caller has made sure that the conversation is in the scope. Raises Unavailable when Valkey stays away. Close
    the generator to stop following.
    """
    async with app.channel.follow(scope.tenant_id, conversation_id, after_seq=after_seq) as events:
        async for event in events:
            if isinstance(event, Lost):
                for replacement in await _replacements(app, scope, conversation_id):
                    yield event.seq, with_seq(replacement, event.seq)
            else:
                yield event[0], with_seq(event[1], event[0])


async def _replacements(app: Services, scope: Scope, conversation_id: ConversationId) -> list[bytes]:
    """The states of all messages whose events the reader may have missed, oldest first, as events without a number.

    Not the latest message alone: who wrote again before an answer had ended would wait for that end for ever.
    """
    async with app.db.transaction(scope) as db:
        recent = await conversations.recent_messages(db, scope, conversation_id, within_s=_MISSED_WITHIN_S)
        found = [await conversations.load_terminal(db, scope, message_id) for message_id in recent]
    return [msgspec.json.encode(_replace(terminal)) for terminal in found if terminal is not None]


def _replace(terminal: Terminal) -> MessageReplace:
    answer = terminal.answer
    return MessageReplace(
        conversation_id=terminal.conversation_id,
        message_id=terminal.message_id,
        stream_id=terminal.message_id,
        ts=timestamp(),
        text="" if answer is None else answer.text,
        state=terminal.state.value,
        final=terminal.state is not MessageState.ACCEPTED,
        merged_into=terminal.merged_into,
        answer_id=None if answer is None else answer.id,
        sources=[] if answer is None else [source.shown() for source in answer.sources],
        animation=None if answer is None else answer.animation,
        suggested_actions=[] if answer is None else list(answer.suggested_actions),
        partial=answer is not None and answer.partial,
        error_code=terminal.error_code,
        error_message=terminal.error_message,
    )


def timestamp() -> str:
    """Now, RFC 3339 in UTC with milliseconds."""
    return rfc3339(datetime.now(UTC), timespec="milliseconds")
