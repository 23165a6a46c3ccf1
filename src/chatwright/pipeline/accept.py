"""A visitor's message comes in: inspected, committed, told to the followers, queued. Also its cancellation.

When `accept` returns, message and job stand in PostgreSQL. Event log and queue are hints that follow the commit: when
Valkey is away the sweeper makes them good.
"""

import asyncio
import hashlib
import time
from dataclasses import replace
from typing import Any

import structlog

from chatwright.adapters.queue import route
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import (
    BadRequest,
    BudgetExceeded,
    Cancelled,
    ChatwrightError,
    Conflict,
    ContentBlocked,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unavailable,
)
from chatwright.domain.events import MessageAccepted, encode
from chatwright.domain.ids import ConversationId, JobId, MessageId, is_id, new_id
from chatwright.domain.jobs import JobType
from chatwright.domain.messages import Accepted, Draft, MessageState
from chatwright.domain.scope import Scope
from chatwright.features import conversations, jobs
from chatwright.features.guard.cleaning import clean
from chatwright.pipeline.bursts import supersede
from chatwright.pipeline.ending import Ending, tell_ending, words_for_visitors
from chatwright.pipeline.enqueue import enqueue, enqueue_row
from chatwright.pipeline.guarding import inspect_message
from chatwright.pipeline.limits import admit_message, release
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)


async def start_conversation(
    app: Services, scope: Scope, chatbot: Chatbot, *, visitor_id: str | None, metadata: dict[str, Any]
) -> conversations.Conversation:
    """Open an empty conversation with `chatbot`; without a `visitor_id` the visitor is new and gets one."""
    del scope  # the chatbot was found under it and carries its own
    async with app.db.transaction(chatbot.scope) as db:
        return await conversations.create_conversation(
            db, chatbot.scope, ConversationId(new_id()), visitor_id=visitor_id or new_id(), metadata=metadata
        )


async def accept(app: Services, scope: Scope, draft: Draft) -> Accepted:
    """Commit one visitor message with its job, then tell and queue it.

    Raises BadRequest or PayloadTooLarge for a text that cannot be taken, ContentBlocked for one that its chatbot refuses
    (which its rate limits count), NotFound for a conversation that is not the caller's, Conflict when the same
    `client_message_id` came with another text, RateLimited and BudgetExceeded with nothing stored (a message that was
    accepted before gets its receipt instead), Unavailable when PostgreSQL is away.
    """
    text = inspect(draft.text, max_chars=app.settings.max_text_chars)
    if draft.conversation_id is None and draft.chatbot_id is None:
        raise BadRequest("name a conversation or a chatbot", param="conversation_id")
    accepted = Accepted(
        message_id=MessageId(new_id()),
        conversation_id=draft.conversation_id or ConversationId(new_id()),
        job_id=JobId(new_id()),
        ordinal=0,
    )
    if not is_id(accepted.conversation_id):
        raise NotFound("no such conversation")
    try:
        await _check_budgets(app, scope, draft)
        ticket, priority = await admit_message(app, scope, draft, text, accepted.message_id)
    except (BudgetExceeded, RateLimited):
        # Whoever sends a message again, because the reply was lost, asks for nothing new.
        earlier = await _recall(app, scope, draft, clean(text).text)
        if earlier is None:
            raise
        return earlier
    draft = replace(draft, priority=priority) if priority != draft.priority else draft
    queue = route(JobType.CHAT_RESPONSE, draft.priority)
    standing = ticket.standing if ticket else None

    try:
        # Behind the limits: whoever tries one attack after the other is let in no more often than others.
        text = await inspect_message(app, scope, draft, text)
        stored = await _store(app, scope, draft, accepted, text, queue)
    except (BadRequest, ContentBlocked):
        release(app, ticket, None)
        raise
    except BaseException:
        if ticket is not None:
            app.limiter.release(ticket, None)  # its tokens stay taken: it may be stored after all
        raise
    if isinstance(stored, Accepted):
        release(app, ticket, None)  # nothing is answered again
        return replace(stored, standing=standing)

    # Both are hints that follow the commit. The worker first has to take the job and claim its row, so the event that
    # is sent now stands in the log before any of its own.
    seq, _ = await asyncio.gather(
        _tell(app, scope, draft, accepted, stored.next_base_seq), _queue(app, scope, draft, accepted, stored, queue)
    )
    if stored.taken_over:
        await supersede(app, scope, stored.taken_over)
    return Accepted(
        message_id=accepted.message_id,
        conversation_id=accepted.conversation_id,
        job_id=accepted.job_id,
        ordinal=stored.ordinal,
        seq=seq,
        standing=standing,
    )


async def _check_budgets(app: Services, scope: Scope, draft: Draft) -> None:
    """Raise BudgetExceeded if a budget that blocks has nothing left. What it is called is not a visitor's matter."""
    try:
        await app.ledger.headroom.check(scope.tenant_id, draft.chatbot_id or scope.chatbot_id, draft.visitor_id)
    except BudgetExceeded as error:
        app.metrics.refusals.labels(error.scope or "other", "budget").inc()
        if draft.visitor_id is None:
            raise
        raise BudgetExceeded(
            words_for_visitors(error), action=error.action, budget_id=error.budget_id, scope=error.scope
        ) from error


async def _recall(app: Services, scope: Scope, draft: Draft, text: str) -> Accepted | None:
    """The receipt of an earlier, equal message; None if there is none. Raises Conflict for another one."""
    key, digest = _key_of(draft, text)
    if key is None:
        return None
    async with app.db.transaction(scope) as db:
        earlier = await conversations.recall_key(db, scope, key)
    return None if earlier is None else _receipt(earlier, digest)


def _key_of(draft: Draft, text: str) -> tuple[str | None, bytes]:
    """Where a message's receipt is kept, None if its sender gave no id, and what makes two messages the same."""
    if draft.client_message_id is None:
        return None, b""
    # With the visitor in it: were two visitors' keys ever written alike, neither may be given the other's receipt.
    same = f"{draft.visitor_id or ''}\n{draft.conversation_id or draft.chatbot_id}\n{text}"
    return f"message:{draft.visitor_id or ''}:{draft.client_message_id}", hashlib.sha256(same.encode()).digest()


def _receipt(earlier: conversations.IdempotentReceipt, digest: bytes) -> Accepted:
    """The receipt that the first sender got. Raises Conflict if that was for another message."""
    if earlier.body_hash != digest or earlier.response is None:
        raise Conflict("this client_message_id was used for another message; use a new one", param="client_message_id")
    return Accepted(
        message_id=earlier.response["message_id"],
        conversation_id=earlier.response["conversation_id"],
        job_id=earlier.response["job_id"],
        ordinal=0,
        replayed=True,
    )


def inspect(text: str, *, max_chars: int) -> str:
    """Refuse what no later part can take; return the text to store.

    Raises BadRequest for NUL, lone surrogates or an empty text, PayloadTooLarge beyond `max_chars` characters.
    """
    if len(text) > max_chars:
        raise PayloadTooLarge(f"the text has {len(text)} characters; at most {max_chars} are taken", param="text")
    if "\x00" in text:
        raise BadRequest("the text holds a NUL character; remove it", param="text")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadRequest(
                "the text holds a lone surrogate, which is no character; remove it", param="text"
            ) from None
    if not text.strip():
        raise BadRequest("the text is empty", param="text")
    return text


async def cancel(app: Services, scope: Scope, message_id: MessageId, *, visitor_id: str | None) -> MessageState:
    """Stop the answer to a message. A queued one ends at once; a running one is stopped by its worker within moments.

    Returns the message's state now: `accepted` means its worker was told. Raises NotFound. Calling it again is safe.
    """
    if not is_id(message_id):
        raise NotFound("no such message")
    async with app.db.transaction(scope) as db:
        asked = await conversations.ask_cancel(db, scope, message_id, visitor_id=visitor_id)
        if asked is None:
            raise NotFound("no such message")
        state, conversation_id = asked
        if state != "accepted":
            return MessageState(state)
        await conversations.lock_conversation(db, scope, conversation_id, last_seq=0)
        row = await jobs.cancel_unstarted(db, scope, message_id)
        job = None if row is None else await jobs.get_row(db, scope, JobId(row["id"]))
        following = None
        if job is not None:
            await conversations.set_terminal(
                db,
                scope,
                conversations.Finished(
                    message_id=message_id,
                    conversation_id=conversation_id,
                    state=MessageState.CANCELLED,
                    error_code="cancelled",
                    error_message="the answer was cancelled before it began",
                ),
            )
            following = await conversations.next_waiting(db, scope, conversation_id)
    try:
        if job is None:
            await app.channel.publish_cancel(message_id)
            return MessageState.ACCEPTED
        error = Cancelled("the answer was cancelled before it began")
        await tell_ending(app, job, Ending(state=MessageState.CANCELLED, error=error))
    except (Unavailable, TimeoutError) as error:
        _log.warning("cancel.not_told", message_id=message_id, error=str(error))
    if following is not None:
        await enqueue_row(app, scope, following)
    return MessageState.CANCELLED if job is not None else MessageState.ACCEPTED


async def _store(
    app: Services, scope: Scope, draft: Draft, accepted: Accepted, text: str, queue: str
) -> conversations.StoredMessage | Accepted:
    """Commit message and job, and the conversation if it is new; or the receipt of the earlier, equal request.

    Raises NotFound for a conversation that is not the caller's, Conflict for a key that was used for something else.
    """
    is_new = draft.conversation_id is None
    key, digest = _key_of(draft, text)
    stored = await conversations.accept_message(
        app.db,
        scope,
        conversation_id=accepted.conversation_id,
        is_new=is_new,
        chatbot_id=draft.chatbot_id if is_new else scope.chatbot_id,
        visitor_id=(draft.visitor_id or new_id()) if is_new else draft.visitor_id,
        message_id=accepted.message_id,
        text=text,
        metadata=draft.metadata,
        job_id=accepted.job_id,
        job_type=JobType.CHAT_RESPONSE,
        queue=queue,
        priority=draft.priority,
        key=key,
        body_hash=digest,
        receipt={
            "message_id": accepted.message_id,
            "conversation_id": accepted.conversation_id,
            "job_id": accepted.job_id,
        },
    )
    if stored is None:
        raise NotFound("no such conversation")
    if isinstance(stored, conversations.StoredMessage):
        return stored
    return _receipt(stored, digest)


async def _queue(
    app: Services, scope: Scope, draft: Draft, accepted: Accepted, stored: conversations.StoredMessage, queue: str
) -> None:
    if stored.job_state != "queued":
        return  # an earlier message of the conversation is under way; whoever ends it queues this one
    await enqueue(
        app,
        scope,
        job_id=accepted.job_id,
        job_type=JobType.CHAT_RESPONSE,
        queue=queue,
        priority=draft.priority,
        generation=1,
        weight=stored.weight,
        chatbot_id=stored.chatbot_id,
    )


async def _tell(app: Services, scope: Scope, draft: Draft, accepted: Accepted, base_seq: int) -> int | None:
    event = encode(
        MessageAccepted(client_message_id=draft.client_message_id),
        conversation_id=accepted.conversation_id,
        message_id=accepted.message_id,
        stream_id=accepted.stream_id,
        ts=time.time(),
    )
    try:
        seq = await app.log.append(
            scope.tenant_id,
            accepted.conversation_id,
            message_id=accepted.message_id,
            attempt=1,
            events=[event],
            base_seq=base_seq,
        )
        if base_seq and seq == base_seq + 1:  # the log was gone and began anew
            async with app.db.transaction(scope) as db:
                await conversations.raise_seq_base(db, scope, accepted.conversation_id, to=base_seq)
    except (TimeoutError, ChatwrightError) as error:
        _log.warning("accept.not_told", message_id=accepted.message_id, error=str(error))
        return None
    return seq
