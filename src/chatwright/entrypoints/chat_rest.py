"""Conversations over REST: open one, write into it, read it, follow it as an event stream.

Visitors see their own conversations with their chatbot, a tenant's key sees all of the tenant's.
"""

from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import msgspec

from chatwright.domain.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    PayloadTooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)
from chatwright.domain.ids import ConversationId, MessageId, is_id
from chatwright.domain.messages import Accepted, Answer, Draft, MessageState, is_grounded
from chatwright.domain.reading import Reading
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import TenantAdmin, check_still, credential_of, speaker_of, tenant_of
from chatwright.entrypoints.caching import cache_metadata
from chatwright.entrypoints.call import Call, ClientGone, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.failures import failed_reply, limit_headers
from chatwright.entrypoints.following import follow_events
from chatwright.entrypoints.once import REPLAYED, idempotency_key, once
from chatwright.entrypoints.streaming import watched
from chatwright.entrypoints.wire import (
    MESSAGE_TEXT_AT_MOST,
    AcceptedReply,
    AnswerBody,
    CancelReply,
    ConversationCreate,
    ConversationDetail,
    ConversationPage,
    ConversationReply,
    FinishedReply,
    MessageCreate,
    TranscriptPage,
)
from chatwright.features import conversations, credentials
from chatwright.features.conversations import Conversation
from chatwright.pipeline import accept as flow
from chatwright.pipeline.wait import Outcome, wait_for_answer

_conversation = msgspec.json.Decoder(ConversationCreate)
_message = msgspec.json.Decoder(MessageCreate)
VISITOR_PRIORITY = 8  # somebody sits in front of a screen
SERVER_PRIORITY = 5
_WAIT_AT_MOST_S = 300
_KEY_CHECK_S = 0.5


async def create(call: Call) -> Reply:
    scope, visitor_id = speaker_of(call)
    call.require_json()
    raw = await call.body()
    body = decode(_conversation, raw)
    if visitor_id is not None:
        if body.visitor_id not in (None, credentials.visitor_id_shown(visitor_id)):
            raise Forbidden("a visitor opens conversations for itself only", param="visitor_id")
        name = body.chatbot or scope.chatbot_id or ""
    else:
        if body.chatbot is None:
            raise Unprocessable("Object missing required field `chatbot`", param="chatbot")
        name, visitor_id = body.chatbot, body.visitor_id
    chatbot = await call.app.chatbots.get(scope, name)

    async def work() -> Reply:
        conversation = await flow.start_conversation(
            call.app, scope, chatbot, visitor_id=visitor_id, metadata=body.metadata
        )
        return json_reply(_reply(conversation), status=201)

    return await once(call, scope, raw, work)


async def list_all(call: Call) -> Reply:
    scope = tenant_of(call).scope
    after, limit = call.page()
    chatbot_id = None
    name = call.query("chatbot")
    if name is not None:
        chatbot_id = (await call.app.chatbots.get(scope, name)).id
    async with call.app.db.transaction(scope) as db:
        found = await conversations.list_conversations(
            db, scope, chatbot_id=chatbot_id, visitor_id=call.query("visitor_id"), after=after, limit=limit + 1
        )
    items = [_reply(conversation) for conversation in found[:limit]]
    return json_reply(ConversationPage(items, items[-1].id if len(found) > limit else None))


async def get(call: Call) -> Reply:
    scope, conversation = await _conversation_of(call)
    items, next_cursor = await _transcript(call, scope, conversation)
    return json_reply(
        ConversationDetail(**msgspec.structs.asdict(_reply(conversation)), items=items, next_cursor=next_cursor)
    )


async def transcript(call: Call) -> Reply:
    scope, conversation = await _conversation_of(call)
    return json_reply(TranscriptPage(*await _transcript(call, scope, conversation)))


async def write(call: Call) -> Reply:
    """Accept a message. `?wait=true` waits for its answer; if none is there in time, the receipt is the reply."""
    scope, visitor_id = speaker_of(call)
    body = await call.json(_message)
    if len(body.text) > MESSAGE_TEXT_AT_MOST:
        raise PayloadTooLarge(f"the text has {len(body.text):,} of {MESSAGE_TEXT_AT_MOST:,} characters", param="text")
    wait = call.query("wait") in ("true", "1")
    timeout_s = call.query_int("timeout", int(call.app.settings.wait_timeout_s), low=0, high=_WAIT_AT_MOST_S)
    conversation_id = call.params["conversation_id"]
    if not is_id(conversation_id):
        raise NotFound("no such conversation")
    draft = Draft(
        text=body.text,
        conversation_id=ConversationId(conversation_id),
        visitor_id=visitor_id,
        client_message_id=body.client_message_id or idempotency_key(call),
        priority=body.priority or (SERVER_PRIORITY if visitor_id is None else VISITOR_PRIORITY),
        key=call.identity.limited if isinstance(call.identity, TenantAdmin) else None,
        metadata={**body.metadata, **cache_metadata(call)},
    )
    accepted = await flow.accept(call.app, scope, draft)
    call.common_headers.extend(limit_headers(accepted.standing))
    headers = (REPLAYED,) if accepted.replayed else ()
    if wait:
        outcome = await wait_for_answer(call.app, scope, accepted, timeout_s=timeout_s)
        if outcome.state is not MessageState.ACCEPTED:
            return _finished(call, accepted, outcome, headers=headers)
    receipt = AcceptedReply(accepted.message_id, accepted.conversation_id, accepted.stream_id)
    return json_reply(receipt, status=202, headers=headers)


def _finished(call: Call, accepted: Accepted, outcome: Outcome, *, headers: tuple[tuple[bytes, bytes], ...]) -> Reply:
    if outcome.answer is None:
        return failed_reply(
            outcome.error_code or outcome.state.value,
            outcome.error_message or f"the message ended as {outcome.state.value} without an answer",
            request_id=call.request_id,
            message_id=accepted.message_id,
            conversation_id=accepted.conversation_id,
        )
    reply = FinishedReply(
        accepted.message_id,
        accepted.conversation_id,
        accepted.stream_id,
        (outcome.state if outcome.merged_into is None else MessageState.MERGED_INTO).value,
        reading_body(outcome.reading),
        answer_body(outcome.answer),
        outcome.merged_into,
    )
    cost = () if outcome.answer.cost_nano is None else ((b"x-chatwright-cost", str(outcome.answer.cost_nano).encode()),)
    return json_reply(reply, headers=(*headers, (b"x-chatwright-cache", outcome.answer.cached.encode()), *cost))


async def cancel(call: Call) -> Reply:
    scope, visitor_id = speaker_of(call)
    message_id = call.params["message_id"]
    if not is_id(message_id) or not is_id(call.params["conversation_id"]):
        raise NotFound("no such message")
    await _conversation_of(call)
    state = await flow.cancel(call.app, scope, MessageId(message_id), visitor_id=visitor_id)
    return json_reply(CancelReply(message_id, state.value), status=202)


async def events(call: Call) -> None:
    """The conversation's events (text/event-stream); each carries its number as `id`."""
    scope, conversation = await _conversation_of(call)
    last = call.header(b"last-event-id")
    if last is not None and last.isascii() and last.isdigit() and len(last) <= 16:
        after_seq = int(last)
    elif last:
        raise BadRequest("Last-Event-ID is the number of an event", param="last-event-id")
    else:
        after_seq = call.query_int("after_seq", 0, low=0, high=2**53)

    # A revoked key loses its open streams within a second, a visitor's token when it ends: the client comes back with
    # a renewed one and Last-Event-ID.
    silent_s = 0.0
    identity, credential = call.identity, credential_of(call)
    assert identity is not None

    async def tick() -> None:
        nonlocal silent_s
        silent_s += _KEY_CHECK_S
        try:
            await check_still(call.app, identity, credential)
        except Unauthenticated:
            raise ClientGone from None
        except Unavailable:
            pass  # nobody can revoke anything while PostgreSQL is away
        if silent_s >= call.settings.heartbeat_s:
            silent_s = 0.0
            await call.write(b": keep-alive\n\n")

    with call.app.metrics.open_sockets.track_inprogress():
        await call.start(
            200,
            (
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache, no-transform"),
                (b"x-accel-buffering", b"no"),
            ),
        )
        await call.write(b": open\n\n")
        async with (
            watched(call, every_s=_KEY_CHECK_S, tick=tick),
            aclosing(follow_events(call.app, scope, conversation.id, after_seq=after_seq)) as frames,
        ):
            async for seq, frame in frames:
                await call.write(b"id: %d\ndata: %b\n\n" % (seq, frame))
        await call.write(b"", last=True)


async def _conversation_of(call: Call) -> tuple[Scope, Conversation]:
    """The conversation in the path, if the caller may see it. Raises NotFound."""
    scope, visitor_id = speaker_of(call)
    conversation_id = call.params["conversation_id"]
    conversation = None
    if is_id(conversation_id):
        async with call.app.db.transaction(scope) as db:
            conversation = await conversations.get_conversation(
                db, scope, ConversationId(conversation_id), visitor_id=visitor_id
            )
    if conversation is None:
        raise NotFound("no such conversation")
    return scope, conversation


async def _transcript(call: Call, scope: Scope, conversation: Conversation) -> tuple[list[dict[str, Any]], str | None]:
    """One page: at most `limit` messages with their answers; the cursor is the last message's ordinal."""
    after = call.query_int("cursor", 0, low=0, high=2**31)
    limit = call.query_int("limit", 50, low=1, high=200)
    async with call.app.db.transaction(scope) as db:
        found = await conversations.list_transcript(db, scope, conversation.id, after=after, limit=limit + 1)
    ordinals = sorted({item.ordinal for item in found})
    shown = set(ordinals[:limit])
    items: list[dict[str, Any]] = []
    for item in found:
        if item.ordinal in shown:
            fields = asdict(item)
            details: dict[str, Any] = fields.pop("details")
            if details.get("reading"):
                details["reading"] = reading_body(msgspec.convert(details["reading"], Reading))
            items.append({**fields, **details})
    return items, str(ordinals[limit - 1]) if len(ordinals) > limit else None


def reading_body(reading: Reading | None) -> dict[str, Any] | None:
    """The visitor's sentiment and intent in the contract's form."""
    if reading is None:
        return None
    return {
        "sentiment": {"label": reading.sentiment, "score": reading.sentiment_score},
        "intent": {"label": reading.intent, "confidence": reading.intent_confidence},
    }


def answer_body(answer: Answer) -> AnswerBody:
    usage = answer.usage
    return AnswerBody(
        id=answer.id,
        text=answer.text,
        sources=[source.shown() for source in answer.sources],
        animation=answer.animation,
        suggested_actions=list(answer.suggested_actions),
        confidence=answer.confidence,
        grounding=answer.grounding,
        grounded=is_grounded(answer.grounding),
        usage={
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        },
        cost_nano=answer.cost_nano,
        cached=answer.cached,
        provider=answer.provider,
        model=answer.model,
        partial=answer.partial,
    )


def _reply(conversation: Conversation) -> ConversationReply:
    return ConversationReply(
        id=conversation.id,
        chatbot_id=conversation.chatbot_id,
        visitor_id=credentials.visitor_id_shown(conversation.visitor_id),
        metadata=conversation.metadata,
        created_at=conversation.created_at,
        last_seq=conversation.last_seq,
    )


_ID = "/api/v1/conversations/{conversation_id}"
_MESSAGES = _ID + "/messages"
_PAGING = (("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50"))
ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/conversations", handle=create, access=Access.VISITOR,
        summary="Open a conversation", tag="conversations", status=201, request=ConversationCreate,
        response=ConversationReply, widget=True, creates=True,
    ),
    Endpoint(
        method="GET", path="/api/v1/conversations", handle=list_all, access=Access.TENANT,
        summary="List conversations, newest first", tag="conversations", response=ConversationPage,
        query=(*_PAGING, ("chatbot", "slug or id"), ("visitor_id", "of one visitor only")),
    ),
    Endpoint(
        method="GET", path=_ID, handle=get, access=Access.VISITOR, summary="A conversation with its transcript",
        tag="conversations", response=ConversationDetail, query=_PAGING, widget=True,
    ),
    Endpoint(
        method="GET", path=_MESSAGES, handle=transcript, access=Access.VISITOR, summary="The transcript, in order",
        tag="conversations", response=TranscriptPage, query=_PAGING, widget=True,
    ),
    Endpoint(
        method="POST", path=_MESSAGES, handle=write, access=Access.VISITOR,
        summary="Write a message: 202 with its ids, or with ?wait=true 200 with the answer", tag="conversations",
        status=202, request=MessageCreate, response=AcceptedReply, widget=True, creates=True,
        also=((200, "The finished answer, with ?wait=true", FinishedReply),),
        query=(("wait", "true: reply with the finished answer"), ("timeout", "seconds to wait, 0 to 300")),
    ),
    Endpoint(
        method="POST", path=_MESSAGES + "/{message_id}/cancel", handle=cancel, access=Access.VISITOR,
        summary="Stop an answer", tag="conversations", status=202, response=CancelReply, widget=True,
    ),
    Endpoint(
        method="GET", path=_ID + "/events", handle=events, access=Access.VISITOR,
        summary="Follow the conversation as server-sent events; Last-Event-ID or after_seq resumes",
        tag="conversations", query=(("after_seq", "number of the last event seen"),), widget=True,
        content_type="text/event-stream",
    ),
)  # fmt: skip
