"""What comes in over the wire is checked into a shape or refused with the place of the fault; nothing else happens."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain import errors
from chatwright.domain.errors import BadRequest, ChatwrightError, RateLimited, RateLimitError, Unprocessable
from chatwright.entrypoints import wire, wire_frames, wire_openai
from chatwright.entrypoints.decoding import decode, is_clean_text
from chatwright.entrypoints.failures import error_reply, failed_reply

MESSAGE = msgspec.json.Decoder(wire.MessageCreate)
CHATBOT = msgspec.json.Decoder(wire.ChatbotCreate)
PATCH = msgspec.json.Decoder(wire.ChatbotPatch)
COMPLETION = msgspec.json.Decoder(wire_openai.ChatCompletionRequest)
DECODERS: list[Any] = [MESSAGE, CHATBOT, PATCH, COMPLETION, wire_frames.client_frames]


def refused(decoder: Any, raw: bytes) -> ChatwrightError:
    with pytest.raises(ChatwrightError) as caught:
        decode(decoder, raw)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "status", "param"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"\xff\xfe", 400, None),
        (b'{"text":"\xed\xa0\x80"}', 400, None),
        (b"\xef\xbb\xbf{}", 400, None),
        (b'{"text":"a\x00b"}', 400, None),
        (b'{"text":"a\\u0000b"}', 400, "text"),
        (b'{"text":"\\ud800"}', 400, "text"),
        (b'{"text":"\\uDC00x"}', 400, "text"),
        (b'{"text":"a","metadata":{"a":[1,{"b":"\\u0000"}]}}', 400, "metadata.a[1].b"),
        (b'{"text":"a","metadata":{"\\ud83d":1}}', 400, "metadata"),
        (b"[]", 422, None),
        (b"null", 422, None),
        (b"{}", 422, "text"),
        (b'{"text":1}', 422, "text"),
        (b'{"text":null}', 422, "text"),
        (b'{"text":""}', 422, "text"),
        (b'{"text":"a","priority":0}', 422, "priority"),
        (b'{"text":"a","priority":11}', 422, "priority"),
        (b'{"text":"a","priority":1.5}', 422, "priority"),
        (b'{"text":"a","priority":1e999}', 422, "priority"),
        (b'{"text":"a","priority":' + b"9" * 5000 + b"}", 422, "priority"),
        (b'{"text":"a","metadata":[]}', 422, "metadata"),
        (b'{"text":"a","txet":"b"}', 422, "txet"),
        (b'{"text":"a","client_message_id":""}', 422, "client_message_id"),
        (b'{"text":"a","metadata":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", 400, None),
    ],
)
def test_a_refusal_says_what_and_where(raw: bytes, status: int, param: str | None) -> None:
    error = refused(MESSAGE, raw)
    assert (error.status, error.param) == (status, param)
    assert error.message


def test_nested_fields_are_named_by_their_path() -> None:
    error = refused(
        CHATBOT, b'{"name":"a","providers":[{"provider":"openai","model":"m"},{"provider":"NO","model":"m"}]}'
    )
    assert isinstance(error, Unprocessable)
    assert error.param == "providers[1].provider"
    assert refused(CHATBOT, b'{"name":"a","providers":[{"model":"m"}]}').param == "providers[0].provider"


def test_escapes_that_are_whole_characters_are_kept() -> None:
    assert decode(MESSAGE, b'{"text":"\\ud83d\\ude00 \\\\u0000 \\\\ud800"}').text == "\U0001f600 \\u0000 \\ud800"


def test_a_patch_tells_absent_from_null() -> None:
    patch = decode(PATCH, b'{"temperature":null}')
    assert patch.temperature is None
    assert patch.name is msgspec.UNSET
    assert refused(PATCH, b'{"name":null}').param == "name"
    assert refused(PATCH, b'{"temperature":2.5}').param == "temperature"
    assert refused(PATCH, b'{"widget_id":"x"}').param == "widget_id"


def test_openai_requests_are_read_leniently() -> None:
    body = decode(
        COMPLETION,
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}],"extra":1}],"new_field":{}}',
    )
    assert body.messages[0].content == [{"type": "text", "text": "hi"}]
    assert refused(COMPLETION, b'{"model":"m","messages":[]}').param == "messages"
    assert refused(COMPLETION, b'{"messages":[{"role":"user"}]}').param == "model"


def test_frames_are_told_apart_by_type() -> None:
    frames = wire_frames.client_frames
    assert decode(frames, b'{"type":"ping"}') == wire_frames.Ping()
    assert decode(frames, b'{"type":"resume","conversation_id":"c","after_seq":3}') == wire_frames.Resume("c", 3)
    assert refused(frames, b'{"type":"pong"}').status == 422
    assert refused(frames, b'{"type":1}').status == 422
    assert refused(frames, b'{"text":"no type"}').param == "type"
    assert refused(frames, b'{"type":"resume","conversation_id":"c","after_seq":-1}').param == "after_seq"
    assert refused(frames, b'{"type":"message","text":"a"}').param == "client_message_id"


@given(raw=st.binary(max_size=200))
def test_no_bytes_break_a_decoder(raw: bytes) -> None:
    for decoder in DECODERS:
        with suppress(BadRequest, Unprocessable):
            decode(decoder, raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None, categories=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(
    fields=st.dictionaries(
        st.sampled_from(["text", "priority", "metadata", "client_message_id", "type", "model", "messages", "name"]),
        JSON,
    )
)
def test_no_document_breaks_a_decoder_and_no_bad_text_passes(fields: dict[str, Any]) -> None:
    raw = json.dumps(fields).encode()
    for decoder in DECODERS:
        with suppress(BadRequest, Unprocessable):
            value = decode(decoder, raw)
            msgspec.json.encode(value).decode()  # UTF-8 holds it
            assert "\\u0000" not in json.dumps(msgspec.to_builtins(value)).replace("\\\\", "")


@given(text=st.text(st.characters(codec=None, categories=None)))
def test_clean_text_is_what_postgres_and_utf8_take(text: str) -> None:
    try:
        text.encode()
        fits = "\0" not in text
    except UnicodeEncodeError:
        fits = False
    assert is_clean_text(text) == fits


def kinds(kind: type[ChatwrightError] = ChatwrightError) -> list[type[ChatwrightError]]:
    return [kind, *(grandchild for child in kind.__subclasses__() for grandchild in kinds(child))]


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind.__init__ is ChatwrightError.__init__])
def test_every_error_fits_the_envelope(kind: type[ChatwrightError]) -> None:
    reply = error_reply(kind("what was wrong", param="field"), "req-1")
    body = json.loads(reply.body)["error"]
    assert reply.status == kind.status
    assert set(body) == {"type", "code", "message", "param", "request_id"}
    assert (body["code"], body["param"], body["request_id"]) == (kind.code, "field", "req-1")
    assert (body["message"] == "what was wrong") == (kind.status != 500)


def test_waiting_is_told_in_whole_seconds_rounded_up() -> None:
    def wait(error: ChatwrightError) -> bytes | None:
        return dict(error_reply(error, "r").headers).get(b"retry-after")

    assert wait(RateLimited("", retry_after_s=0.2)) == b"1"
    assert wait(RateLimited("", retry_after_s=3.01)) == b"4"
    assert wait(RateLimitError("", retry_after_s=7.0)) == b"7"
    assert wait(errors.Unavailable("")) == b"1"
    assert wait(BadRequest("")) is None


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("budget_exceeded", 402),
        ("rate_limit_exceeded", 429),
        ("content_blocked", 400),
        ("provider_unavailable", 503),
        ("deadline_exceeded", 504),
        ("cancelled", 409),
        ("internal_error", 500),
    ],
)
def test_a_failed_message_keeps_its_errors_status(code: str, status: int) -> None:
    reply = failed_reply(code, "why", request_id="r", message_id="m", conversation_id="c")
    assert reply.status == status
    assert json.loads(reply.body)["message_id"] == "m"
