"""Thumbs up and down over REST: visitors rate answers, tenants read what was said."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import msgspec

from chatwright.domain.errors import BadRequest, NotFound
from chatwright.domain.ids import ChatbotId, ConversationId, MessageId, is_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.entrypoints.auth import speaker_of, tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.periods import moment, period_of, since_of, zone_of
from chatwright.entrypoints.wire_widget import (
    FeedbackDay,
    FeedbackItem,
    FeedbackPage,
    FeedbackSummaryReply,
    RatingReply,
    RatingRequest,
)
from chatwright.features import credentials, feedback
from chatwright.features.feedback import Filter, Said
from chatwright.pipeline.feedback import rate

_rating = msgspec.json.Decoder(RatingRequest)


async def say(call: Call) -> Reply:
    """Rate the answer to a message: the latest word stands, null takes it back."""
    scope, visitor_id = speaker_of(call)
    conversation_id, message_id = call.params["conversation_id"], call.params["message_id"]
    if not is_id(conversation_id) or not is_id(message_id):
        raise NotFound("no such message")
    body = await call.json(_rating)
    saved = await rate(
        call.app, scope, ConversationId(conversation_id), MessageId(message_id),
        visitor_id=visitor_id, rating=body.rating, comment=body.comment,
    )  # fmt: skip
    return json_reply(RatingReply(message_id, saved.answer_id, saved.rating, saved.comment))


async def list_all(call: Call) -> Reply:
    scope = tenant_of(call).scope
    after, limit = call.page()
    rating = call.query("rating")
    if rating not in (None, "up", "down"):
        raise BadRequest("rating is up or down", param="rating")
    zone = await zone_of(call, scope)
    of = Filter(
        chatbot_id=await _chatbot_id(call, scope),
        rating=rating,
        since=since_of(call, zone),
        until=moment(call, "to", zone, is_end=True),
    )
    async with call.app.db.transaction(scope) as db:
        found = await feedback.list_said(db, scope, of, after=after, limit=limit + 1)
    items = [_item(said) for said in found[:limit]]
    return json_reply(FeedbackPage(items, items[-1].id if len(found) > limit else None))


async def summary(call: Call) -> Reply:
    """Counts over [from, to) and by day; `to` as a day is included."""
    scope = tenant_of(call).scope
    zone = await zone_of(call, scope)
    since, until = period_of(call, zone)
    chatbot_id = await _chatbot_id(call, scope)
    async with call.app.db.transaction(scope) as db:
        days = await feedback.count_days(db, scope, chatbot_id=chatbot_id, since=since, until=until, time_zone=zone.key)
    up, down = sum(day.up for day in days), sum(day.down for day in days)
    return json_reply(
        FeedbackSummaryReply(
            up=up,
            down=down,
            share=up / (up + down) if up + down else None,
            comments=sum(day.comments for day in days),
            days=[FeedbackDay(day.day.isoformat(), day.up, day.down) for day in days],
            since=_text(since),
            until=_text(until),
            time_zone=zone.key,
        )
    )


async def _chatbot_id(call: Call, scope: Scope) -> ChatbotId | None:
    name = call.query("chatbot")
    return None if name is None else (await call.app.chatbots.get(scope, name)).id


def _item(said: Said) -> FeedbackItem:
    fields: dict[str, Any] = {
        **asdict(said),
        "visitor_id": credentials.visitor_id_shown(said.visitor_id),
        "created_at": _text(said.created_at),
        "updated_at": _text(said.updated_at),
    }
    return FeedbackItem(**fields)


def _text(when: datetime) -> str:
    return rfc3339(when, timespec="milliseconds")


_PERIOD = (
    ("from", "day or time"),
    ("to", "day or time"),
    ("days", "1 to 366: the last days, today among them, in the place of from"),
    ("time_zone", "IANA name whose days are meant, default the tenant's"),
)
ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/conversations/{conversation_id}/messages/{message_id}/feedback", handle=say,
        access=Access.VISITOR, summary="Rate the answer to a message", tag="feedback", request=RatingRequest,
        response=RatingReply, widget=True,
    ),
    Endpoint(
        method="GET", path="/api/v1/feedback", handle=list_all, access=Access.TENANT,
        summary="What visitors said of answers, newest first", tag="feedback", response=FeedbackPage,
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50"),
               ("chatbot", "slug or id"), ("rating", "up or down"), *_PERIOD),
    ),
    Endpoint(
        method="GET", path="/api/v1/feedback/summary", handle=summary, access=Access.TENANT,
        summary="Thumbs up and down, in all and by day", tag="feedback", response=FeedbackSummaryReply,
        query=(("chatbot", "slug or id"), *_PERIOD),
    ),
)  # fmt: skip
