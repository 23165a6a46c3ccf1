"""Anthropic's messages: named events, content blocks, cached tokens beside the input tokens."""

from typing import Any, ClassVar

from msgspec import Raw

from bench.simulator.behaviour import Behaviour
from bench.simulator.dialects import Failed, Fault, Kind, encode, retry_headers
from bench.simulator.limits import Standing, anthropic_headers
from bench.simulator.log import Call
from bench.simulator.requests import Asked

_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERRORS: dict[Kind, tuple[str, str]] = {
    "auth": ("authentication_error", "invalid x-api-key"),
    "permission": ("permission_error", "Your API key does not have permission to use the specified resource."),
    "rate": ("rate_limit_error", "This request would exceed your organization's rate limit."),
    "quota": ("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "context": ("invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum"),
    "model": ("not_found_error", "model: not found"),
    "overloaded": ("overloaded_error", "Overloaded"),
    "server": ("api_error", "Internal server error"),
}


class Anthropic:
    """`/v1/messages`."""

    stream_type: ClassVar[bytes] = b"text/event-stream; charset=utf-8"
    garbled: ClassVar[bytes] = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"ty\n\n'
    )

    def __init__(self, call: Call, behaviour: Behaviour) -> None:
        self.call = call
        self.behaviour = behaviour
        self._block = int(bool(behaviour.reasoning))
        """Index of the text or tool block: a thinking block comes before it."""

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), encode({"type": name, **fields}))

    def _start(self) -> bytes:
        message = self._message()
        if not self.behaviour.no_usage:
            message["usage"] = self._usage(1)
        return self._event("message_start", {"message": message})

    def _delta(self, index: int, delta: dict[str, Any]) -> bytes:
        return self._event("content_block_delta", {"index": index, "delta": delta})

    def opening(self) -> list[bytes]:
        behaviour = self.behaviour
        events = [self._start()]
        if behaviour.reasoning:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            events += [
                self._event("content_block_start", {"index": 0, "content_block": block}),
                self._event("ping", {}),
                self._delta(0, {"type": "thinking_delta", "thinking": behaviour.reasoning}),
                self._delta(0, {"type": "signature_delta", "signature": "c2ltdWxhdGVk"}),
                self._event("content_block_stop", {"index": 0}),
            ]
        at = self._block
        if behaviour.tool:
            block = {"type": "tool_use", "id": f"toolu_sim_{self.call.n}", "name": behaviour.tool, "input": {}}
            half = max(1, len(behaviour.arguments) // 2)
            parts = ("", behaviour.arguments[:half], behaviour.arguments[half:])
            return [
                *events,
                self._event("content_block_start", {"index": at, "content_block": block}),
                self._event("ping", {}),
                *(self._delta(at, {"type": "input_json_delta", "partial_json": part}) for part in parts),
            ]
        return [
            *events,
            self._event("content_block_start", {"index": at, "content_block": {"type": "text", "text": ""}}),
            self._event("ping", {}),
        ]

    def piece(self, text: str) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"text_delta","text":%b}}\n\n' % (self._block, encode(text))
        )

    def closing(self, *, usage: bool) -> list[bytes]:
        return [self._event("content_block_stop", {"index": self._block}), *self._stop(self._reason(), usage=usage)]

    def _stop(self, reason: str, *, usage: bool) -> list[bytes]:
        fields: dict[str, Any] = {"delta": {"stop_reason": reason, "stop_sequence": None}}
        if usage:
            fields["usage"] = self._usage(self.call.output_tokens)
        return [self._event("message_delta", fields), self._event("message_stop", {})]

    def blocked(self, *, usage: bool) -> Failed | list[bytes]:
        return [self._start(), self._event("ping", {}), *self._stop("refusal", usage=usage)]

    def body(self, text: str) -> bytes:
        behaviour = self.behaviour
        content: list[dict[str, Any]] = []
        if behaviour.reasoning:
            content.append({"type": "thinking", "thinking": behaviour.reasoning, "signature": "c2ltdWxhdGVk"})
        if behaviour.tool:
            call_id = f"toolu_sim_{self.call.n}"
            content.append(
                {"type": "tool_use", "id": call_id, "name": behaviour.tool, "input": Raw(behaviour.arguments.encode())}
            )
        elif text:
            content.append({"type": "text", "text": text})
        reason = "refusal" if behaviour.block else self._reason()
        answer = {**self._message(), "content": content, "stop_reason": reason}
        if not behaviour.no_usage:
            answer["usage"] = self._usage(self.call.output_tokens)
        return encode(answer)

    def failed(self, fault: Fault) -> Failed:
        kind, message = _ERRORS.get(fault.kind, ("invalid_request_error", "The request is not valid."))
        status = 400 if fault.kind == "quota" and fault.status == 429 else fault.status
        error = {"type": kind, "message": fault.message or message}
        body = {"type": "error", "error": error, "request_id": f"req_sim_{self.call.n}"}
        headers = retry_headers(fault.wait)
        if fault.kind in ("rate", "overloaded", "server"):
            headers += b"x-should-retry: true\r\n"
        return Failed(status, headers, encode(body))

    def error_event(self) -> bytes:
        error = {"details": None, "type": "overloaded_error", "message": "Overloaded"}
        return self._event("error", {"error": error, "request_id": f"req_sim_{self.call.n}"})

    def headers(self, requests: Standing | None, tokens: Standing | None) -> bytes:
        return b"request-id: req_sim_%d\r\n" % self.call.n + anthropic_headers(requests, tokens)

    def embeddings(self, asked: Asked) -> bytes:
        raise ValueError(f"Anthropic has no embeddings, and no path leads here: {asked.model}")

    def _reason(self) -> str:
        return "tool_use" if self.behaviour.tool else _STOPS.get(self.behaviour.finish, self.behaviour.finish)

    def _message(self) -> dict[str, Any]:
        shell = {"id": f"msg_sim_{self.call.n}", "type": "message", "role": "assistant", "model": self.call.model}
        return {**shell, "content": [], "stop_reason": None, "stop_sequence": None}

    def _usage(self, output_tokens: int) -> dict[str, Any]:
        read, written = self.behaviour.cached_tokens, self.behaviour.cache_write_tokens
        return {
            "input_tokens": self.call.input_tokens - read - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }
