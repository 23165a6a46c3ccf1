"""Events on the wire: field names of the contract, one line of JSON, readable back."""

import datetime as dt
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.valkey import with_seq
from chatwright.domain import events
from chatwright.domain.ids import AnswerId, ConversationId, MessageId, new_id
from chatwright.domain.messages import Answer
from chatwright.domain.providers import Source, Usage
from chatwright.domain.reading import Reading

CONVERSATION = ConversationId(new_id())
MESSAGE = MessageId(new_id())
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
HEADER = {"type", "conversation_id", "message_id", "stream_id", "ts"}


def encoded(event: events.StreamEvent, ts: float = 1_700_000_000.25) -> bytes:
    return events.encode(event, conversation_id=CONVERSATION, message_id=MESSAGE, stream_id=MESSAGE, ts=ts)


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (events.MessageAccepted(client_message_id="k"), {"client_message_id"}),
        (events.StreamStart(chatbot_id="c"), {"chatbot_id", "animation"}),
        (events.StreamChunk(index=0, text="a"), {"chunk", "index", "animation"}),
        (
            events.StreamComplete(),
            {
                *("sentiment", "intent", "animation", "suggested_actions", "sources", "usage", "cached", "answer_id"),
                *("cost_nano", "provider", "model", "partial", "confidence", "grounding", "grounded", "state"),
            },
        ),
        (
            events.StreamError(code="failed", message="m", retriable=True),
            {"code", "message", "retriable", "partial", "state"},
        ),
        (events.StreamReset(), set[str]()),
        (
            events.MessageReplace(text="t"),
            {"text", "state", "answer_id", "sources", "animation", "partial"},
        ),
        (events.Animation(animation="wave"), {"animation"}),
    ],
)
def test_every_frame_has_the_header_and_the_fields_of_the_contract(event: events.StreamEvent, fields: set[str]) -> None:
    payload = encoded(event)
    assert b"\n" not in payload
    frame = json.loads(payload)
    assert set(frame) == HEADER | fields
    assert frame["type"] == event.type
    assert (frame["conversation_id"], frame["message_id"], frame["stream_id"]) == (CONVERSATION, MESSAGE, MESSAGE)
    assert frame["ts"] == "2023-11-14T22:13:20.250Z"
    assert json.loads(with_seq(payload, 12)) == {"seq": 12, **frame}
    assert events.decode(with_seq(payload, 12)) == event
    assert events.decode_header(with_seq(payload, 12)).seq == 12


def test_a_complete_event_shows_the_answer_and_the_visitors_reading() -> None:
    answer = Answer(
        id=AnswerId(new_id()),
        message_id=MESSAGE,
        conversation_id=CONVERSATION,
        text="Yes [1].",
        provider="openai",
        model="m",
        sources=(Source(n=1, document_id="d", title="T", url=None, score=0.9, quote="q"),),
        usage=Usage(input_tokens=7, cached_tokens=2, output_tokens=3, reasoning_tokens=1),
        cost_nano=1_234_567,
        cached="exact",
        chunk_count=4,
    )
    reading = Reading(sentiment="negative", sentiment_score=0.75, intent="question", intent_confidence=None)
    frame = json.loads(encoded(events.complete_event(answer, reading)))
    assert frame["sentiment"] == {"label": "negative", "score": 0.75}
    assert frame["intent"] == {"label": "question", "confidence": None}
    assert frame["usage"] == {"input_tokens": 7, "cached_tokens": 2, "output_tokens": 3}
    assert frame["sources"] == [{"n": 1, "document_id": "d", "title": "T", "url": None, "score": 0.9, "quote": "q"}]
    assert (frame["text"], frame["cost_nano"], frame["cached"], frame["chunks"]) == ("Yes [1].", 1_234_567, "exact", 4)


@given(text=TEXT, index=st.integers(0, 10_000), seq=st.integers(1, 2**53))
def test_any_text_survives_the_way_out(text: str, index: int, seq: int) -> None:
    event = events.StreamChunk(index=index, text=text, animation=None)
    payload = encoded(event)
    assert b"\n" not in payload
    assert events.decode(payload) == event
    assert json.loads(with_seq(payload, seq))["seq"] == seq


@given(st.integers(0, 4_000_000_000_000))
def test_a_timestamp_is_rfc_3339_in_utc_to_the_millisecond(stamp_ms: int) -> None:
    text = events.timestamp(stamp_ms / 1000)
    moment = dt.datetime.fromisoformat(text)
    assert text.endswith("Z")
    assert len(text) == len("2026-01-01T00:00:00.000Z")
    assert abs(moment.timestamp() * 1000 - stamp_ms) <= 1


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(KeyError):
        events.decode(encoded(events.StreamReset()).replace(b"stream_reset", b"stream_other"))
    with pytest.raises(msgspec.ValidationError):
        events.decode(b'{"type":"stream_chunk"}')
    with pytest.raises(UnicodeEncodeError):
        encoded(events.StreamChunk(index=0, text="\ud83d"))
