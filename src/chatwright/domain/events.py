"""The numbered events of a conversation's stream, as values and as the JSON that every transport sends.

An event is encoded once, without its number: the log gives it one and each reader splices it in on the way out
(`adapters/valkey/log.py`). Made by `pipeline/`; `entrypoints/` pass the bytes on.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, cast

import msgspec

from chatwright.domain.ids import ConversationId, MessageId
from chatwright.domain.messages import Answer, MessageState, is_grounded
from chatwright.domain.providers import Usage
from chatwright.domain.reading import Intent, Reading, Sentiment


class SentimentLabel(msgspec.Struct, frozen=True, kw_only=True):
    """`score` is the probability of `label`, None where nothing measured it."""

    label: Sentiment
    score: float | None = None


class IntentLabel(msgspec.Struct, frozen=True, kw_only=True):
    """`confidence` is the probability of `label`, None where nothing measured it."""

    label: Intent
    confidence: float | None = None


class SourceView(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that the answer quotes, under citation number `n` (from 1); `score` is in 0..1."""

    n: int
    document_id: str
    title: str
    url: str | None = None
    score: float = 0.0
    quote: str = ""


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all. `type` is the name on the wire."""

    type: ClassVar[str] = ""


class MessageAccepted(StreamEvent, frozen=True, kw_only=True):
    """The visitor's message is stored; its answer will come on the stream of the same id."""

    type: ClassVar[str] = "message_accepted"
    client_message_id: str | None = None
    text: str | msgspec.UnsetType = msgspec.UNSET


class StreamStart(StreamEvent, frozen=True, kw_only=True):
    type: ClassVar[str] = "stream_start"
    chatbot_id: str
    animation: str | None = None


class StreamChunk(StreamEvent, frozen=True, kw_only=True, rename={"text": "chunk"}):
    """`index` counts the chunks of one stream from 0 (and from 0 again after a reset); `text` is `chunk` on the wire."""

    type: ClassVar[str] = "stream_chunk"
    index: int
    text: str
    animation: str | None = None


class StreamComplete(StreamEvent, frozen=True, kw_only=True):
    """The answer is stored. `text` is the whole of it: a reader that missed chunks is right again from here on.

    `sentiment` and `intent` are the visitor's. `cost_nano` is None when no price is known.
    """

    type: ClassVar[str] = "stream_complete"
    sentiment: SentimentLabel | None = None
    intent: IntentLabel | None = None
    animation: str | None = None
    suggested_actions: tuple[dict[str, Any], ...] = ()
    sources: tuple[SourceView, ...] = ()
    usage: UsageView = UsageView()
    cached: str = "miss"
    text: str | msgspec.UnsetType = msgspec.UNSET
    answer_id: str | None = None
    cost_nano: int | None = None
    provider: str | None = None
    model: str | None = None
    partial: bool = False
    confidence: float | None = None
    grounding: float | None = None
    grounded: bool | None = None
    state: str = MessageState.ANSWERED.value
    chunks: int | msgspec.UnsetType = msgspec.UNSET
    merged_into: str | msgspec.UnsetType = msgspec.UNSET
    """Of a message in the state `merged_into`, which has no text of its own: the message on whose stream its answer comes."""


class StreamError(StreamEvent, frozen=True, kw_only=True):
    """The message ended without a (whole) answer. `code` is an error code of the contract."""

    type: ClassVar[str] = "stream_error"
    code: str
    message: str
    retriable: bool
    partial: bool = False
    state: str = MessageState.FAILED.value


class StreamReset(StreamEvent, frozen=True, kw_only=True):
    """The answer starts over on the same stream: forget the text shown so far."""

    type: ClassVar[str] = "stream_reset"


class MessageReplace(StreamEvent, frozen=True, kw_only=True):
    """The text of the answer so far, whole: put it in the place of whatever is shown. `state` as in PostgreSQL."""

    type: ClassVar[str] = "message_replace"
    text: str
    state: str = MessageState.ACCEPTED.value
    answer_id: str | None = None
    sources: tuple[SourceView, ...] = ()
    animation: str | None = None
    partial: bool = False


class Animation(StreamEvent, frozen=True, kw_only=True):
    type: ClassVar[str] = "animation"
    animation: str


EVENT_TYPES: dict[str, type[StreamEvent]] = {
    kind.type: kind
    for kind in (
        MessageAccepted,
        StreamStart,
        StreamChunk,
        StreamComplete,
        StreamError,
        StreamReset,
        MessageReplace,
        Animation,
    )
}

TERMINAL_TYPES = frozenset({"stream_complete", "stream_error"})


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every frame carries besides its own fields. `seq` is 0 in stored events."""

    type: str
    conversation_id: str
    message_id: str | None
    stream_id: str | None
    ts: str
    seq: int = 0


_encoder = msgspec.json.Encoder()
_header_decoder = msgspec.json.Decoder(Header)
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind) for name, kind in EVENT_TYPES.items()
}


def timestamp(seconds: float) -> str:
    """Write Unix seconds as RFC 3339 in UTC with milliseconds."""
    whole = int(seconds)
    return f"{_to_the_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    # Formatting costs more than all the rest of an event; the events of one second share it.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def encode(
    event: StreamEvent,
    *,
    conversation_id: ConversationId,
    message_id: MessageId | None,
    stream_id: str | None,
    ts: float,
) -> bytes:
    """Write one event as a JSON object on one line, without `seq`. `ts` is Unix seconds.

    Raises UnicodeEncodeError for text that is no Unicode (lone surrogates).
    """
    header = _encoder.encode(
        Header(
            type=event.type,
            conversation_id=conversation_id,
            message_id=message_id,
            stream_id=stream_id,
            ts=timestamp(ts),
        )
    )
    fields = _encoder.encode(event)
    return header if fields == b"{}" else header[:-1] + b"," + fields[1:]


def decode_header(payload: bytes) -> Header:
    """Read what all events share. Raises msgspec.ValidationError."""
    return _header_decoder.decode(payload)


def decode(payload: bytes) -> StreamEvent:
    """Read an event, with or without its number. Raises msgspec.ValidationError, KeyError for an unknown type."""
    return cast("StreamEvent", _decoders[decode_header(payload).type].decode(payload))


def complete_event(
    answer: Answer, reading: Reading | None, *, state: MessageState = MessageState.ANSWERED
) -> StreamComplete:
    """Say that `answer` is stored; `reading` is the visitor's message's."""
    return StreamComplete(
        sentiment=None if reading is None else SentimentLabel(label=reading.sentiment, score=reading.sentiment_score),
        intent=None if reading is None else IntentLabel(label=reading.intent, confidence=reading.intent_confidence),
        animation=answer.animation,
        suggested_actions=answer.suggested_actions,
        sources=tuple(
            SourceView(
                n=source.n,
                document_id=source.document_id,
                title=source.title,
                url=source.url,
                score=source.score,
                quote=source.quote,
            )
            for source in answer.sources
        ),
        usage=usage_view(answer.usage),
        cached=answer.cached,
        text=answer.text,
        answer_id=answer.id,
        cost_nano=answer.cost_nano,
        provider=answer.provider,
        model=answer.model,
        partial=answer.partial,
        confidence=answer.confidence,
        grounding=answer.grounding,
        grounded=is_grounded(answer.grounding),
        state=state.value,
        chunks=answer.chunk_count,
    )


def usage_view(usage: Usage) -> UsageView:
    return UsageView(
        input_tokens=usage.input_tokens, cached_tokens=usage.cached_tokens, output_tokens=usage.output_tokens
    )
