"""`/v1`: chat completions, embeddings and models as OpenAI's clients speak them. A model is a chatbot's slug.

Stateless: nothing but call rows is stored. `chat` is the hottest route of the product; it decodes into structs, encodes
structs, and builds nothing else on the way.
"""

import time
from array import array
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import BadRequest, ChatwrightError, NotFound, PayloadTooLarge, Unavailable, Unprocessable
from chatwright.domain.providers import Delta, Role, Turn, Usage
from chatwright.entrypoints import wire_openai as wire
from chatwright.entrypoints.auth import check_still, credential_of, tenant_of
from chatwright.entrypoints.caching import cache_mode
from chatwright.entrypoints.call import Call, ClientGone, Header, Reply, json_reply, to_json
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.failures import error_detail, limit_headers
from chatwright.entrypoints.streaming import watched
from chatwright.entrypoints.wire import ErrorReply
from chatwright.features import tenancy
from chatwright.pipeline import embedding, inline
from chatwright.pipeline.guarding import under_tenant
from chatwright.pipeline.inline import InlineAnswer, InlineRequest, InlineStream

_completion = msgspec.json.Decoder(wire.ChatCompletionRequest)
_embedding = msgspec.json.Decoder(wire.EmbeddingRequest)
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_EMBED_AT_MOST = 2_048
_EMBED_AT_MOST_CHARS = 500_000
_QUERY_TYPES = ("query", "search_query")
_PASSAGE_TYPES = ("passage", "document", "search_document")
_MODELS_AT_MOST = 1_000
_KEY_CHECK_S = 0.5
"""So often a stream asks whether its key still holds; most answers are over before."""
_SSE: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)

log = structlog.get_logger(__name__)


async def chat(call: Call) -> Reply | None:
    body = await call.json(_completion)
    if body.n is not None and body.n != 1:
        raise BadRequest("only n=1 is supported", param="n")
    tenant = tenant_of(call)
    chatbot = await under_tenant(call.app, await call.app.chatbots.get(tenant.scope, body.model))
    request = InlineRequest(
        chatbot=chatbot,
        key=tenant.limited,
        visitor_id=body.safety_identifier or body.user or None,
        turns=tuple([_turn(message, place) for place, message in enumerate(body.messages)]),
        temperature=body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        options=_options(body),
        cache=cache_mode(call),
    )
    if body.stream:
        await _stream(
            call, chatbot, request, with_usage=bool(body.stream_options and body.stream_options.include_usage)
        )
        return None
    answer = await inline.complete(call.app, request)
    message = wire.AssistantMessage(
        "assistant",
        None if answer.tool_calls and not answer.text else answer.text,
        tool_calls=answer.tool_calls or msgspec.UNSET,
    )
    completion = wire.ChatCompletion(
        id=_completion_id(answer.id),
        object="chat.completion",
        created=int(time.time()),
        model=chatbot.slug,
        choices=[wire.Choice(0, message, answer.finish.value if answer.finish.value != "other" else "stop")],
        usage=_usage(answer.usage),
        chatwright=_details(answer),
    )
    return json_reply(completion, headers=_answer_headers(answer))


async def _stream(call: Call, chatbot: Chatbot, request: InlineRequest, *, with_usage: bool) -> None:
    """Send the answer as server-sent events. Errors before the first piece rise (a plain HTTP error), unless the
    headers had to go out before it; later ones become an error event."""
    stream = inline.stream(call.app, request)
    shared: dict[str, Any] = {
        "id": _completion_id(stream.id),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": chatbot.slug,
        "usage": None if with_usage else msgspec.UNSET,
    }
    waited_s = 0.0
    step_s = min(call.settings.heartbeat_s, call.settings.first_headers_s)

    async def tick() -> None:
        nonlocal waited_s
        waited_s += step_s
        if not call.started and waited_s >= call.settings.first_headers_s:
            await call.start(200, (*_SSE, *limit_headers(stream.standing)))
        if call.started:
            await call.write(b": keep-alive\n\n")

    with call.app.metrics.open_sockets.track_inprogress():
        try:
            async with watched(call, every_s=step_s, tick=tick), aclosing(stream.deltas()) as deltas:
                await _relay(call, stream, deltas, shared, with_usage=with_usage)
        except ChatwrightError as error:
            if not call.started:
                raise
            log.info("completion.cut", code=error.code, error=error.message, request_id=call.request_id)
            await _fail(call, error)
        except ClientGone:
            raise
        except Exception:
            if not call.started:
                raise
            log.exception("completion.failed", request_id=call.request_id)
            await _fail(call, ChatwrightError("the stream broke"))


async def _relay(
    call: Call, stream: InlineStream, deltas: AsyncGenerator[Delta], shared: dict[str, Any], *, with_usage: bool
) -> None:
    started = False
    finish = "stop"
    checked_s = time.monotonic()
    async for delta in deltas:
        if (now_s := time.monotonic()) - checked_s >= _KEY_CHECK_S:
            checked_s = now_s
            await _check_key(call)
        if delta.finish is not None and delta.finish.value != "other":
            finish = delta.finish.value
        if not (delta.text or delta.reasoning or delta.tool_calls):
            continue
        role = None
        if not started:
            started, role = True, "assistant"
            if not call.started:
                await call.start(200, (*_SSE, _cache_header(stream.cached), *limit_headers(stream.standing)))
        piece = wire.ChunkDelta(role, delta.text or None, delta.reasoning or None, delta.tool_calls)
        await call.write(_event(wire.ChatChunk(**shared, choices=[wire.ChunkChoice(0, piece)])))
    if not call.started:
        await call.start(200, (*_SSE, _cache_header(stream.cached), *limit_headers(stream.standing)))
    last = wire.ChunkDelta() if started else wire.ChunkDelta("assistant", "")
    answer = stream.answer
    details = msgspec.UNSET if answer is None else _details(answer)
    pieces = [_event(wire.ChatChunk(**shared, choices=[wire.ChunkChoice(0, last, finish)], chatwright=details))]
    if with_usage:
        usage = _usage(answer.usage if answer is not None else Usage())
        pieces.append(_event(replace(wire.ChatChunk(**shared, choices=[]), usage=usage)))
    pieces.append(b"data: [DONE]\n\n")
    await call.write(b"".join(pieces), last=True)


async def _check_key(call: Call) -> None:
    """Raise Unauthenticated for a stream whose key was revoked since it began. No round trip while the key is in memory."""
    assert call.identity is not None
    with suppress(Unavailable):  # nobody can revoke anything while PostgreSQL is away
        await check_still(call.app, call.identity, credential_of(call))


async def _fail(call: Call, error: ChatwrightError) -> None:
    await call.write(_event(ErrorReply(error_detail(error, call.request_id))), last=True)


def _event(value: object) -> bytes:
    return b"data: %b\n\n" % to_json(value)


async def embeddings(call: Call) -> Reply:
    tenant = tenant_of(call)
    body = await call.json(_embedding)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts or len(texts) > _EMBED_AT_MOST:
        raise BadRequest(f"input holds 1 to {_EMBED_AT_MOST:,} texts", param="input")
    clean: list[str] = []
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadRequest("send texts, not token numbers", param=f"input[{place}]")
        if not text:
            raise BadRequest("a text must not be empty", param=f"input[{place}]")
        clean.append(text)
    if sum(map(len, clean)) > _EMBED_AT_MOST_CHARS:
        raise PayloadTooLarge(f"the texts together have more than {_EMBED_AT_MOST_CHARS:,} characters", param="input")
    if body.encoding_format not in (None, "float", "base64"):
        raise BadRequest("encoding_format is float or base64", param="encoding_format")
    if body.dimensions is not None and body.dimensions < 1:
        raise BadRequest("dimensions is 1 or more", param="dimensions")
    if body.input_type not in (None, *_QUERY_TYPES, *_PASSAGE_TYPES):
        raise BadRequest("input_type is query or passage", param="input_type")
    vectors, usage, model, standing = await embedding.embed_texts(
        call.app,
        tenant.scope,
        clean,
        body.model,
        key=tenant.limited,
        visitor_id=body.user or None,
        dimensions=body.dimensions,
        queries=body.input_type in _QUERY_TYPES,
    )
    packed = body.encoding_format == "base64"
    data = [
        wire.Embedding(place, b64encode(array("f", vector).tobytes()).decode() if packed else list(vector))
        for place, vector in enumerate(vectors)
    ]
    used = wire.EmbeddingUsage(usage.input_tokens, usage.input_tokens)
    return json_reply(wire.EmbeddingList(data, model, used), headers=limit_headers(standing))


async def models(call: Call) -> Reply:
    scope = tenant_of(call).scope
    async with call.app.db.transaction(scope) as db:
        chatbots = await tenancy.list_chatbots(db, scope, after=None, limit=_MODELS_AT_MOST)
    cards = [_card(chatbot) for chatbot in chatbots]
    served = [wire.ModelCard(name, 0, "chatwright") for name in embedding.served_embedders(call.app)]
    return json_reply(wire.ModelList([*cards, *served]))


async def model(call: Call) -> Reply:
    name = call.params["model"]
    if name in embedding.served_embedders(call.app):
        return json_reply(wire.ModelCard(name, 0, "chatwright"))
    try:
        return json_reply(_card(await call.app.chatbots.get(tenant_of(call).scope, name)))
    except NotFound:
        raise NotFound("no such model: a model is a chatbot's slug", param="model") from None


def _card(chatbot: Chatbot) -> wire.ModelCard:
    return wire.ModelCard(chatbot.slug, int(datetime.fromisoformat(chatbot.created_at).timestamp()), "chatwright")


def _turn(message: wire.ChatMessage, place: int) -> Turn:
    role = _ROLES.get(message.role)
    if role is None:
        raise Unprocessable(f"no such role: {message.role!r}"[:200], param=f"messages[{place}].role")
    content = message.content
    extra: dict[str, Any] | None = None
    if isinstance(content, list):
        text, only_text = _join_parts(content, place)
        if not only_text:
            extra = {"content": content}
        content = text
    if message.tool_calls is not None or message.tool_call_id is not None or message.name is not None:
        extra = extra or {}
        if message.tool_calls is not None:
            extra["tool_calls"] = message.tool_calls
        if message.tool_call_id is not None:
            extra["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            extra["name"] = message.name
    return Turn(role, content or "", extra)


def _join_parts(parts: list[dict[str, Any]], place: int) -> tuple[str, bool]:
    """(the text of all text parts, whether there are no others). Raises Unprocessable for a part without a type."""
    texts: list[str] = []
    only_text = True
    for number, part in enumerate(parts):
        kind, text = part.get("type"), part.get("text")
        if kind in ("text", "input_text") and isinstance(text, str):
            texts.append(text)
        elif isinstance(kind, str) and kind not in ("text", "input_text"):
            only_text = False
        else:
            raise Unprocessable(
                "a content part has a type, and a text part its text", param=f"messages[{place}].content[{number}]"
            )
    return "\n".join(texts), only_text


def _options(body: wire.ChatCompletionRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name in wire.PASSED_THROUGH:
        value = getattr(body, name)
        if value is not None:
            options[name] = value
    return options


def _completion_id(answer_id: str) -> str:
    return f"chatcmpl-{answer_id}"


def _usage(usage: Usage) -> wire.CompletionUsage:
    return wire.CompletionUsage(
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens + usage.output_tokens,
        wire.PromptDetails(usage.cached_tokens),
        wire.CompletionDetails(usage.reasoning_tokens),
    )


def _details(answer: InlineAnswer) -> wire.Details:
    return wire.Details(
        answer.provider,
        answer.model,
        answer.cached,
        answer.cost_nano,
        answer.attempts,
        [source.shown() for source in answer.sources],
    )


def _cache_header(cached: str) -> Header:
    return (b"x-chatwright-cache", cached.encode())


def _answer_headers(answer: InlineAnswer) -> tuple[Header, ...]:
    cost = () if answer.cost_nano is None else ((b"x-chatwright-cost", str(answer.cost_nano).encode()),)
    return (
        _cache_header(answer.cached),
        (b"x-chatwright-attempts", str(answer.attempts).encode()),
        *cost,
        *limit_headers(answer.standing),
    )


ENDPOINTS = (
    Endpoint(
        method="POST", path="/v1/chat/completions", handle=chat, access=Access.TENANT,
        summary="OpenAI's chat completions; the model is a chatbot's slug", tag="openai",
        request=wire.ChatCompletionRequest, response=wire.ChatCompletion,
    ),
    Endpoint(
        method="POST", path="/v1/embeddings", handle=embeddings, access=Access.TENANT, summary="OpenAI's embeddings",
        tag="openai", request=wire.EmbeddingRequest, response=wire.EmbeddingList,
    ),
    Endpoint(
        method="GET", path="/v1/models", handle=models, access=Access.TENANT, summary="The tenant's chatbots as models",
        tag="openai", response=wire.ModelList,
    ),
    Endpoint(
        method="GET", path="/v1/models/{model}", handle=model, access=Access.TENANT, summary="One model", tag="openai",
        response=wire.ModelCard,
    ),
)  # fmt: skip
