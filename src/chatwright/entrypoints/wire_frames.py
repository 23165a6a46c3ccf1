"""Frames of the WebSocket. What the client sends is a tagged union; what the server sends of its own is below.

Stream events (`stream_start`, `stream_chunk` …) are bytes from the event log and are passed on as they are.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatwright.entrypoints.wire import ClientKey, IdText

FRAME_BYTES_AT_MOST = 64 * 1024


class ClientFrame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of what clients send."""


class Auth(ClientFrame, frozen=True, tag="auth"):
    """The first frame, within 10 s: a visitor's token or a tenant's key. Later ones renew a token."""

    token: Annotated[str, Meta(min_length=1, max_length=2_000)]


class SendMessage(ClientFrame, frozen=True, tag="message"):
    """A message. Without `conversation_id` a conversation is created; a tenant then names the `chatbot`."""

    text: Annotated[str, Meta(min_length=1)]
    client_message_id: ClientKey
    conversation_id: IdText | None = None
    chatbot: Annotated[str, Meta(max_length=200)] | None = None
    metadata: dict[str, Any] = {}


class CancelMessage(ClientFrame, frozen=True, tag="cancel"):
    message_id: IdText


class Resume(ClientFrame, frozen=True, tag="resume"):
    """Follow a conversation from `after_seq` on."""

    conversation_id: IdText
    after_seq: Annotated[int, Meta(ge=0, le=2**53)] = 0


class Ping(ClientFrame, frozen=True, tag="ping"):
    pass


AnyClientFrame = Auth | SendMessage | CancelMessage | Resume | Ping
client_frames = msgspec.json.Decoder(AnyClientFrame)


class Ready(msgspec.Struct, frozen=True, tag="ready", tag_field="type"):
    """The answer to `auth`. `visitor_id` is null for a tenant's key."""

    visitor_id: str | None


class Pong(msgspec.Struct, frozen=True, tag="pong", tag_field="type"):
    ts: str


class MessageAccepted(msgspec.Struct, frozen=True, tag="message_accepted", tag_field="type"):
    """The receipt: the message is stored. `replayed`: it had been, under the same client_message_id."""

    conversation_id: str
    message_id: str
    stream_id: str
    client_message_id: str
    replayed: bool
    ts: str


class ErrorFrame(msgspec.Struct, frozen=True, tag="error", tag_field="type", omit_defaults=True):
    """A frame was refused; the connection goes on."""

    code: str
    message: str
    param: str | None = None
    client_message_id: str | None = None
    message_id: str | None = None
    conversation_id: str | None = None
    retry_after_s: float | None = None


class MessageReplace(msgspec.Struct, frozen=True, kw_only=True, tag="message_replace", tag_field="type"):
    """A message as PostgreSQL knows it, because the events about it are gone. Its number stands where the numbering
    stands now; `final` is false while the answer is still being written (its text comes with the events that follow)."""

    conversation_id: str
    message_id: str
    stream_id: str
    ts: str
    text: str
    state: str
    final: bool
    merged_into: str | None = None
    answer_id: str | None = None
    sources: list[dict[str, Any]] = []
    animation: str | None = None
    suggested_actions: list[dict[str, Any]] = []
    partial: bool = False
    error_code: str | None = None
    error_message: str | None = None
