"""A chatbot's own intents over REST: their examples, how well they are told apart, and what a text would be read as."""

from collections.abc import Mapping
from typing import Any

import msgspec

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.times import rfc3339
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.wire import JsonObject
from chatwright.entrypoints.wire_intents import (
    ExamplesRequest,
    IntentShown,
    IntentsReply,
    IntentsRequest,
    TriedIntent,
    TryReply,
    TryRequest,
)
from chatwright.features.analysis.intent_store import CustomIntent
from chatwright.pipeline import intents

_FIGURES = ("examples", "accuracy", "named", "right_of_named", "confusions", "took_s")

_all = msgspec.json.Decoder(IntentsRequest)
_one = msgspec.json.Decoder(ExamplesRequest)
_try = msgspec.json.Decoder(TryRequest)


async def show(call: Call) -> Reply:
    return await _shown(call, await _chatbot(call))


async def put_all(call: Call) -> Reply:
    chatbot = await _chatbot(call)
    body = await call.json(_all)
    wanted = [CustomIntent(name=one.name, examples=one.examples) for one in body.intents]
    await intents.set_intents(call.app, chatbot, wanted, actor=tenant_of(call).actor)
    return await _shown(call, chatbot)


async def remove_all(call: Call) -> Reply:
    chatbot = await _chatbot(call)
    await intents.set_intents(call.app, chatbot, (), actor=tenant_of(call).actor)
    return await _shown(call, chatbot)


async def put_one(call: Call) -> Reply:
    chatbot = await _chatbot(call)
    body = await call.json(_one)
    wanted = CustomIntent(name=call.params["intent"], examples=body.examples)
    await intents.set_intent(call.app, chatbot, wanted, actor=tenant_of(call).actor)
    return await _shown(call, chatbot)


async def remove_one(call: Call) -> Reply:
    chatbot = await _chatbot(call)
    await intents.remove_intent(call.app, chatbot, call.params["intent"], actor=tenant_of(call).actor)
    return await _shown(call, chatbot)


async def test(call: Call) -> Reply:
    chatbot = await _chatbot(call)
    body = await call.json(_try)
    verdicts = await intents.try_intents(call.app, chatbot, body.texts)
    tried = [
        TriedIntent(
            intent=verdict.name if verdict.holds else None,
            likeliest=verdict.name,
            confidence=round(verdict.confidence, 4),
        )
        for verdict in verdicts
    ]
    return json_reply(TryReply(tried))


async def _chatbot(call: Call) -> Chatbot:
    return await call.app.chatbots.get(tenant_of(call).scope, call.params["chatbot"])


async def _shown(call: Call, chatbot: Chatbot) -> Reply:
    shown = await intents.show_intents(call.app, chatbot)
    trained_at = shown.trained_at
    return json_reply(
        IntentsReply(
            intents=[IntentShown(one.name, one.examples) for one in shown.intents],
            state=shown.state,
            threshold=shown.threshold,
            trained_at=None if trained_at is None else rfc3339(trained_at, timespec="seconds"),
            quality=_quality(shown.figures) if shown.intents else None,
        )
    )


def _quality(figures: Mapping[str, Any]) -> JsonObject | None:
    return {name: figures[name] for name in _FIGURES if name in figures} or None


_INTENTS = "/api/v1/chatbots/{chatbot}/intents"
ENDPOINTS = (
    Endpoint(
        method="GET", path=_INTENTS, handle=show, access=Access.TENANT,
        summary="A chatbot's own intents, and how well they are told apart", tag="intents", response=IntentsReply,
    ),
    Endpoint(
        method="PUT", path=_INTENTS, handle=put_all, access=Access.TENANT,
        summary="Set all of a chatbot's own intents", tag="intents", request=IntentsRequest, response=IntentsReply,
    ),
    Endpoint(
        method="DELETE", path=_INTENTS, handle=remove_all, access=Access.TENANT,
        summary="Remove all of a chatbot's own intents", tag="intents", response=IntentsReply,
    ),
    Endpoint(
        method="POST", path=_INTENTS + "/test", handle=test, access=Access.TENANT,
        summary="What texts would be read as", tag="intents", request=TryRequest, response=TryReply,
    ),
    Endpoint(
        method="PUT", path=_INTENTS + "/{intent}", handle=put_one, access=Access.TENANT,
        summary="Add an intent, or give it other examples", tag="intents", request=ExamplesRequest,
        response=IntentsReply,
    ),
    Endpoint(
        method="DELETE", path=_INTENTS + "/{intent}", handle=remove_one, access=Access.TENANT,
        summary="Remove an intent", tag="intents", response=IntentsReply,
    ),
)  # fmt: skip
