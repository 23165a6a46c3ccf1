"""What OpenAI-compatible servers answer, read leniently: shapes, streamed chunks to deltas, usage.

Pure, no connection. Unknown fields are skipped while decoding; a field of an unexpected type sends the chunk through a
slower reading that keeps what can be kept, instead of failing the answer. Called by `openai_chat.py` only.
"""

from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from chatwright.adapters.providers.base import Unreadable
from chatwright.adapters.providers.failures import Failure, failure_of, read_failure
from chatwright.domain.providers import Delta, Finish, Usage

_FINISH = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "model_length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "tool_use": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
}
_BROKEN = frozenset({"error", "insufficient_system_resource", "network_error"})
"""Finish reasons that mean the server gave up: an answer that ends so did not end well."""


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """`usage` as sent. DeepSeek's `prompt_cache_hit_tokens` stands beside the usual place."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    total_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None


class _Part(msgspec.Struct):
    """One part of a `content` list (Mistral): text, or thinking with parts of its own."""

    type: str = ""
    text: str | None = None
    thinking: Any = None


class Message(msgspec.Struct):
    """A delta of a stream, or the message of a whole answer."""

    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None
    usage: WireUsage | None = None
    error: Any = None


class _Groq(msgspec.Struct):
    usage: WireUsage | None = None
    error: Any = None


class Answer(msgspec.Struct):
    """A streamed chunk, or a whole answer."""

    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    model: str | None = None
    error: Any = None
    x_groq: _Groq | None = None
    object: str | None = None


class _PlainDelta(msgspec.Struct, gc=False):
    content: str
    reasoning_content: None = None
    reasoning: None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _PlainChoice(msgspec.Struct, gc=False):
    delta: _PlainDelta
    index: Literal[0] = 0
    finish_reason: None = None
    usage: None = None
    error: None = None


class _Plain(msgspec.Struct, gc=False):
    """A streamed chunk that brings text and nothing else, as nearly all do: what decodes as one needs no questions."""

    choices: tuple[_PlainChoice]
    object: Literal["chat.completion.chunk", "chat.completion", ""] = ""
    usage: None = None
    model: str | None = None
    error: None = None
    x_groq: None = None


_S = TypeVar("_S", bound=msgspec.Struct)
_decode = msgspec.json.Decoder(Answer).decode
_decode_plain = msgspec.json.Decoder(_Plain).decode
_MISSES = 4
"""How often a stream may send something else before its chunks are no longer taken for plain ones first: each miss costs
a decoding more."""
_SHORT = 16
"""Bytes below which an event may be the end marker."""


def fitting(data: bytes, kind: type[_S]) -> _S:
    """Decode field by field; what does not fit is as if it were not there. Raises Unreadable unless it is an object."""
    try:
        value: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The decoder's own message may quote what it read.
        raise Unreadable("not JSON") from error
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return _fitting(value, kind)


def _fitting(value: dict[str, Any], kind: type[_S]) -> _S:
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        found: Any = value.get(field.name)
        if found is None:
            continue
        try:
            kept[field.name] = msgspec.convert(found, field.type, strict=False)
        except msgspec.ValidationError:
            inner, many = _inner(field.type)
            if inner is not None and not many and isinstance(found, dict):
                kept[field.name] = _fitting(found, inner)
            elif inner is not None and many and isinstance(found, list):
                kept[field.name] = [_fitting(item, inner) for item in found if isinstance(item, dict)]
    return kind(**kept)


@cache
def _inner(kind: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The struct inside a field's type, and whether the field holds a list of them."""
    for member in get_args(kind) or (kind,):
        many = get_origin(member) is list
        struct = get_args(member)[0] if many else member
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
            return struct, many
    return None, False


def normal_usage(wire: WireUsage | None) -> Usage | None:
    """One record out of what was reported; None if neither side of it was, or both as nothing: no prompt has 0 tokens.

    x.ai counts reasoning beside `completion_tokens`: seen by a total that only adds up with it.
    """
    if wire is None or not (wire.prompt_tokens or wire.completion_tokens):
        return None
    given, made = max(0, wire.prompt_tokens or 0), max(0, wire.completion_tokens or 0)
    cached = written = reasoning = 0
    if wire.prompt_tokens_details is not None:
        cached = max(0, wire.prompt_tokens_details.cached_tokens or 0)
        written = max(0, wire.prompt_tokens_details.cache_write_tokens or 0)
    if wire.completion_tokens_details is not None:
        reasoning = max(0, wire.completion_tokens_details.reasoning_tokens or 0)
    if reasoning and wire.total_tokens == given + made + reasoning:
        made += reasoning
    return Usage(
        input_tokens=given,
        cached_tokens=cached or max(0, wire.prompt_cache_hit_tokens or 0),
        cache_write_tokens=written,
        output_tokens=made,
        reasoning_tokens=reasoning,
    )


class ChatReader:
    """Turns the events of one stream, or one whole answer, into deltas.

    `finish` and `usage` are gathered here and given out once, by `last`, since servers send them in any order: in the
    finish chunk, after it, in every chunk. `failure` is set if the server reported an error, `done` if the end marker
    came.
    """

    __slots__ = ("_misses", "_plain", "done", "failure", "finish", "model", "refused", "shown", "usage", "whole")

    def __init__(self) -> None:
        self.done = False
        self.failure: Failure | None = None
        self.finish: Finish | None = None
        self.model: str | None = None
        self.refused = False
        self.shown = False
        """Text or a tool call was given out."""
        self.usage: WireUsage | None = None
        self.whole = False
        """What is read is a whole answer: `message` counts, not `delta` (Perplexity sends both in either case)."""
        self._plain = True
        """The next chunk is likely one of text only."""
        self._misses = 0

    def read(self, data: bytes, event: bytes = b"") -> Delta | None:
        """Take one event's payload; a delta if it brings something to show. Raises Unreadable."""
        if self._plain and not event:
            try:
                plain = _decode_plain(data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._plain = False
                self._misses += 1
            else:
                self.model = plain.model or self.model
                text = plain.choices[0].delta.content
                if not text:
                    return None
                self.shown = True
                return Delta(text=text, model=self.model)
        if len(data) < _SHORT and data.strip() == b"[DONE]":
            self.done = True
            return None
        try:
            answer = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = fitting(data, Answer)
        choices = answer.choices
        if answer.error or answer.object == "error" or event == b"error":
            self.failure = failure_of(answer.error) if answer.error else read_failure(data)
        if answer.usage is not None:
            self.usage = answer.usage
        elif answer.x_groq is not None:
            self.usage = answer.x_groq.usage or self.usage
            if answer.x_groq.error:
                self.failure = self.failure or failure_of(answer.x_groq.error)
        if answer.model:
            self.model = answer.model
        if not choices:
            return None
        for choice in choices:
            # Further choices (n > 1) are alternatives to the answer, no part of it.
            if not choice.index:
                return self._choice(choice)
        return None

    def read_whole(self, body: bytes) -> list[Delta]:
        """Take an answer that is no stream. Raises Unreadable."""
        self.whole = True
        self._plain = False
        delta = self.read(body.strip())
        return [] if delta is None else [delta]

    def usage_now(self) -> Usage | None:
        """What was reported so far."""
        return normal_usage(self.usage)

    def _choice(self, choice: _Choice) -> Delta | None:
        if choice.usage is not None:
            self.usage = choice.usage
        if choice.error:
            self.failure = self.failure or failure_of(choice.error)
        reason = choice.finish_reason
        if reason:
            if reason in _BROKEN:
                self.failure = self.failure or Failure(f"the answer was broken off: {reason}")
            else:
                self.finish = _FINISH.get(reason, Finish.OTHER)
        one, other = (choice.message, choice.delta) if self.whole else (choice.delta, choice.message)
        message = one if one is not None else other
        if message is None or self.failure is not None:
            return None
        text = message.content or ""
        reasoning = message.reasoning_content or message.reasoning or ""
        if not isinstance(text, str):
            text, thought = _parts(text)
            reasoning = reasoning or thought
        if message.refusal:
            self.refused = True
        calls = message.tool_calls or None
        if message.function_call is not None and calls is None:
            calls = [_legacy_call(message.function_call)]
        if text or calls:
            self.shown = True
            self._plain = self._misses < _MISSES and not (calls or reasoning or self.whole)
        elif not reasoning:
            return None
        return Delta(text=text, reasoning=reasoning, tool_calls=calls, model=self.model)

    def last(self) -> Delta | None:
        """The closing delta, with finish and usage. None if there was no finish marker: the answer was cut off.

        An end marker without a finish reason counts as one if something was shown (some servers send no reason).
        """
        finish = self.finish
        if self.refused and finish in (None, Finish.STOP):
            finish = Finish.CONTENT_FILTER
        if finish is None and self.done and self.shown:
            finish = Finish.STOP
        if finish is None:
            return None
        return Delta(finish=finish, usage=normal_usage(self.usage), model=self.model)


def _parts(parts: list[_Part]) -> tuple[str, str]:
    """Visible text and thinking of a `content` list."""
    text = "".join(part.text or "" for part in parts if part.type in ("text", "output_text", ""))
    thinking: list[str] = []
    for part in parts:
        if part.type != "thinking":
            continue
        inner: object = part.thinking
        if isinstance(inner, str):
            thinking.append(inner)
        elif isinstance(inner, list):
            thinking += [str(piece.get("text") or "") for piece in inner if isinstance(piece, dict)]
    return text, "".join(thinking)


def _legacy_call(call: dict[str, Any]) -> dict[str, Any]:
    """A `function_call` of the first API, as a tool call fragment; only its start carries a name, and gets an id."""
    if call.get("name"):
        return {"index": 0, "id": "call_0", "type": "function", "function": call}
    return {"index": 0, "function": call}
