"""The bytes of answers: OpenAI chat completions and embeddings, Anthropic messages. Pure; called by `server.py` and `player.py`."""

# ruff: noqa: ARG002 - one protocol for two dialects: each has no use for some argument of the other

import base64
import hashlib
import itertools
import math
import struct
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from bench.simulator.behaviour import Behaviour
from bench.simulator.log import Call

DEFAULT_REPLY = "This answer comes from the provider simulator, which only pretends to think."
CREATED = 1_780_000_000

_json = msgspec.json.Encoder().encode


class Part(msgspec.Struct):
    """A content part; only text counts."""

    type: str = ""
    text: str = ""


class SimMessage(msgspec.Struct):
    """One message of a request, in either dialect."""

    role: str = ""
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct):
    """OpenAI's stream_options."""

    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    """What the simulator reads of a chat request; everything else is ignored."""

    model: str = "sim"
    messages: list[SimMessage] = []
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None


class EmbeddingsRequest(msgspec.Struct):
    """What the simulator reads of an embeddings request."""

    input: str | list[str]
    model: str = "sim-embed"
    dimensions: int | None = None
    encoding_format: str | None = None


def text_of(message: SimMessage) -> str:
    """A message's text, parts joined."""
    content = message.content
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content)


def pieces_of(text: str, count: int, *, own_text: bool) -> list[str]:
    """Cut the answer into `count` content chunks (0: one a word).

    Without a text of its own (`own_text` False) an answer of `count` chunks is `count` numbered words, so that its
    length follows from the number of chunks; a given text shorter than `count` characters makes fewer chunks.
    """
    if count and not own_text:
        return [f"token{i} " for i in range(1, count + 1)]
    if count:
        count = min(count, len(text))
        edges = [len(text) * i // count for i in range(count + 1)]
        return [text[a:b] for a, b in itertools.pairwise(edges)]
    words = text.split(" ")
    return [word if i == 0 else " " + word for i, word in enumerate(words)]


class Dialect(Protocol):
    """How one provider's answers look. Streams are SSE events, not yet framed as HTTP chunks."""

    def opening(self, call: Call, behaviour: Behaviour) -> list[bytes]:
        """Events before the first text."""
        ...

    def piece(self, call: Call, text: str) -> bytes:
        """One event with visible text."""
        ...

    def closing(self, call: Call, behaviour: Behaviour, *, usage: bool) -> list[bytes]:
        """Finish marker, usage and end of stream."""
        ...

    def body(self, call: Call, behaviour: Behaviour, text: str) -> bytes:
        """A whole answer as JSON."""
        ...

    def error(self, call: Call, status: int, kind: str, code: str, message: str) -> bytes:
        """An error object."""
        ...

    def error_event(self, call: Call) -> bytes:
        """An error inside a stream."""
        ...


class OpenAi:
    """`/v1/chat/completions`."""

    def _chunk(self, call: Call, choices: bytes, usage: bytes = b"null") -> bytes:
        return (
            b'data: {"id":"chatcmpl-sim-%d","object":"chat.completion.chunk","created":%d,"model":%b,"choices":%b,"usage":%b}\n\n'
            % (call.n, CREATED, _json(call.model), choices, usage)
        )

    def opening(self, call: Call, behaviour: Behaviour) -> list[bytes]:
        events = [
            self._chunk(call, b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]'),
        ]
        if behaviour.reasoning:
            delta = _json(behaviour.reasoning)
            choice = b'[{"index":0,"delta":{"reasoning_content":%b},"finish_reason":null}]' % delta
            events.append(self._chunk(call, choice))
        if behaviour.tool:
            for fragment in _tool_fragments(call, behaviour.tool):
                choice = b'[{"index":0,"delta":{"tool_calls":%b},"finish_reason":null}]' % _json([fragment])
                events.append(self._chunk(call, choice))
        return events

    def piece(self, call: Call, text: str) -> bytes:
        return self._chunk(call, b'[{"index":0,"delta":{"content":%b},"finish_reason":null}]' % _json(text))

    def closing(self, call: Call, behaviour: Behaviour, *, usage: bool) -> list[bytes]:
        finish = _json("tool_calls" if behaviour.tool else behaviour.finish)
        events = [self._chunk(call, b'[{"index":0,"delta":{},"finish_reason":%b}]' % finish)]
        if usage:
            events.append(self._chunk(call, b"[]", self._usage(call, behaviour)))
        events.append(b"data: [DONE]\n\n")
        return events

    def body(self, call: Call, behaviour: Behaviour, text: str) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if behaviour.reasoning:
            message["reasoning_content"] = behaviour.reasoning
        if behaviour.tool:
            tool = {"id": f"call_{call.n}", "type": "function", "function": {"name": behaviour.tool, "arguments": "{}"}}
            message |= {"content": None, "tool_calls": [tool]}
        return (
            b'{"id":"chatcmpl-sim-%d","object":"chat.completion","created":%d,"model":%b,"choices":'
            b'[{"index":0,"message":%b,"logprobs":null,"finish_reason":%b}],"usage":%b}'
        ) % (
            call.n,
            CREATED,
            _json(call.model),
            _json(message),
            _json("tool_calls" if behaviour.tool else behaviour.finish),
            b"null" if behaviour.no_usage else self._usage(call, behaviour),
        )

    def _usage(self, call: Call, behaviour: Behaviour) -> bytes:
        return (
            b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d},'
            b'"completion_tokens_details":{"reasoning_tokens":0}}'
        ) % (
            call.input_tokens,
            call.output_tokens,
            call.input_tokens + call.output_tokens,
            behaviour.cached_tokens,
        )

    def error(self, call: Call, status: int, kind: str, code: str, message: str) -> bytes:
        return _json({"error": {"message": message, "type": kind, "param": None, "code": code or None}})

    def error_event(self, call: Call) -> bytes:
        return b"data: " + self.error(call, 500, "server_error", "", "The server had an error in mid-stream.") + b"\n\n"


class Anthropic:
    """`/v1/messages`, the basic shapes: text only."""

    _STOPS: ClassVar = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
    }

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), _json({"type": name} | fields))

    def opening(self, call: Call, behaviour: Behaviour) -> list[bytes]:
        message = self._message(call) | {"usage": {"input_tokens": call.input_tokens, "output_tokens": 1}}
        return [
            self._event("message_start", {"message": message}),
            self._event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
            self._event("ping", {}),
        ]

    def piece(self, call: Call, text: str) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":%b}}\n\n' % _json(text)
        )

    def closing(self, call: Call, behaviour: Behaviour, *, usage: bool) -> list[bytes]:
        delta = {"stop_reason": self._STOPS.get(behaviour.finish, behaviour.finish), "stop_sequence": None}
        return [
            self._event("content_block_stop", {"index": 0}),
            self._event("message_delta", {"delta": delta, "usage": {"output_tokens": call.output_tokens}}),
            self._event("message_stop", {}),
        ]

    def body(self, call: Call, behaviour: Behaviour, text: str) -> bytes:
        return _json(
            self._message(call)
            | {
                "content": [{"type": "text", "text": text}],
                "stop_reason": self._STOPS.get(behaviour.finish, behaviour.finish),
                "usage": {
                    "input_tokens": call.input_tokens - behaviour.cached_tokens,
                    "cache_read_input_tokens": behaviour.cached_tokens,
                    "output_tokens": call.output_tokens,
                },
            }
        )

    def _message(self, call: Call) -> dict[str, Any]:
        shell = {"id": f"msg_sim_{call.n}", "type": "message", "role": "assistant", "model": call.model}
        return shell | {"content": [], "stop_reason": None, "stop_sequence": None}

    _KINDS: ClassVar = {
        401: "authentication_error",
        404: "not_found_error",
        429: "rate_limit_error",
        529: "overloaded_error",
    }

    def error(self, call: Call, status: int, kind: str, code: str, message: str) -> bytes:
        kind = self._KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return _json({"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_sim_{call.n}"})

    def error_event(self, call: Call) -> bytes:
        return self._event("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}})


def _tool_fragments(call: Call, name: str) -> Sequence[dict[str, Any]]:
    start = {"index": 0, "id": f"call_{call.n}", "type": "function", "function": {"name": name, "arguments": ""}}
    return [start, *({"index": 0, "function": {"arguments": part}} for part in ("{", "}"))]


def embeddings_body(request: EmbeddingsRequest, call: Call, behaviour: Behaviour) -> bytes:
    """Unit vectors that depend on the text alone, as numbers or base64 float32."""
    inputs = [request.input] if isinstance(request.input, str) else request.input
    data: list[dict[str, Any]] = []
    for index, text in enumerate(inputs):
        vector = _vector(text, request.dimensions or 256)
        shown: Any = vector
        if request.encoding_format == "base64":
            shown = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    answer: dict[str, Any] = {"object": "list", "data": data, "model": request.model}
    if not behaviour.no_usage:
        answer["usage"] = {"prompt_tokens": call.input_tokens, "total_tokens": call.input_tokens}
    return _json(answer)


def _vector(text: str, size: int) -> list[float]:
    raw = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(size)
    values = [byte - 127.5 for byte in raw]
    length = math.sqrt(sum(value * value for value in values))
    return [round(value / length, 6) for value in values]
