"""OpenAI's chat completions and embeddings, and Azure's edition of them."""

import base64
import struct
from collections.abc import Sequence
from typing import Any, ClassVar

from bench.simulator.behaviour import Behaviour
from bench.simulator.dialects import CREATED, Failed, Fault, Kind, encode, retry_headers, vector
from bench.simulator.limits import Standing, azure_headers, openai_headers
from bench.simulator.log import Call
from bench.simulator.requests import Asked

_ERRORS: dict[Kind, tuple[str, str | None, str | None, str]] = {
    "auth": ("invalid_request_error", "invalid_api_key", None, "Incorrect API key provided."),
    "permission": ("invalid_request_error", None, None, "You do not have access to this resource."),
    "rate": ("requests", "rate_limit_exceeded", None, "Rate limit reached for requests per min (RPM): Limit 3, Used 3."),
    "quota": ("insufficient_quota", "insufficient_quota", None, "You exceeded your current quota, please check your plan."),
    "context": ("invalid_request_error", "context_length_exceeded", "messages", "This model's maximum context length is exceeded."),
    "model": ("invalid_request_error", "model_not_found", None, "The model does not exist or you do not have access to it."),
    "filter": ("invalid_request_error", "content_filter", "prompt", "The prompt was filtered by the content management policy."),
    "parameter": (
        "invalid_request_error", "unsupported_parameter", "max_tokens",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ),
    "responses_only": (
        "invalid_request_error", None, "model",
        "This model is only supported in v1/responses and not in v1/chat/completions.",
    ),
    "overloaded": ("overloaded_error", None, None, "Overloaded"),
    "server": ("server_error", None, None, "The server had an error while processing your request."),
    "invalid": ("invalid_request_error", None, None, "The request is not valid."),
}  # fmt: skip


def openai_failed(fault: Fault, headers: bytes) -> Failed:
    """OpenAI's error object."""
    kind, code, param, message = _ERRORS[fault.kind]
    error = {"message": fault.message or message, "type": kind, "param": param, "code": fault.code or code}
    return Failed(fault.status, headers + retry_headers(fault.wait), encode({"error": error}))


def embeddings_body(asked: Asked, call: Call, behaviour: Behaviour) -> bytes:
    """Unit vectors, as numbers or base64 float32."""
    data: list[dict[str, Any]] = []
    for index, text in enumerate(asked.texts):
        shown: Any = vector(text, asked.dimensions)
        if asked.base64:
            shown = base64.b64encode(struct.pack(f"<{len(shown)}f", *shown)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    answer: dict[str, Any] = {"object": "list", "data": data, "model": asked.model}
    if not behaviour.no_usage:
        answer["usage"] = {"prompt_tokens": call.input_tokens, "total_tokens": call.input_tokens}
    return encode(answer)


class OpenAi:
    """`/v1/chat/completions`, `/v1/embeddings`."""

    stream_type: ClassVar[bytes] = b"text/event-stream; charset=utf-8"
    garbled: ClassVar[bytes] = b'data: {"id":"chatcmpl-sim","choices":[{"index":0,"delta":{"content":"half a\n\n'

    def __init__(self, call: Call, behaviour: Behaviour) -> None:
        self.call = call
        self.behaviour = behaviour

    def _chunk(self, choices: bytes, usage: bytes = b"null") -> bytes:
        return (
            b'data: {"id":"chatcmpl-sim-%d","object":"chat.completion.chunk","created":%d,"model":%b,"choices":%b,"usage":%b}\n\n'
            % (self.call.n, CREATED, encode(self.call.model), choices, usage)
        )

    def opening(self) -> list[bytes]:
        behaviour = self.behaviour
        events = [
            self._chunk(b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]'),
        ]
        if behaviour.reasoning:
            delta = encode(behaviour.reasoning)
            events.append(self._chunk(b'[{"index":0,"delta":{"reasoning_content":%b},"finish_reason":null}]' % delta))
        if behaviour.tool:
            for fragment in _tool_fragments(self.call, behaviour):
                choice = b'[{"index":0,"delta":{"tool_calls":%b},"finish_reason":null}]' % encode([fragment])
                events.append(self._chunk(choice))
        return events

    def piece(self, text: str) -> bytes:
        return self._chunk(b'[{"index":0,"delta":{"content":%b},"finish_reason":null}]' % encode(text))

    def closing(self, *, usage: bool) -> list[bytes]:
        finish = encode("tool_calls" if self.behaviour.tool else self.behaviour.finish)
        events = [self._chunk(b'[{"index":0,"delta":{},"finish_reason":%b}]' % finish)]
        if usage:
            events.append(self._chunk(b"[]", self._usage()))
        events.append(b"data: [DONE]\n\n")
        return events

    def blocked(self, *, usage: bool) -> Failed | list[bytes]:  # noqa: ARG002 - an error, streamed or not
        return self.failed(Fault(400, "filter"))

    def body(self, text: str) -> bytes:
        call, behaviour = self.call, self.behaviour
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if behaviour.reasoning:
            message["reasoning_content"] = behaviour.reasoning
        if behaviour.tool:
            function = {"name": behaviour.tool, "arguments": behaviour.arguments}
            message |= {
                "content": None,
                "tool_calls": [{"id": f"call_{call.n}", "type": "function", "function": function}],
            }
        return (
            b'{"id":"chatcmpl-sim-%d","object":"chat.completion","created":%d,"model":%b,"choices":'
            b'[{"index":0,"message":%b,"logprobs":null,"finish_reason":%b}],"usage":%b}'
        ) % (
            call.n,
            CREATED,
            encode(call.model),
            encode(message),
            encode("tool_calls" if behaviour.tool else behaviour.finish),
            b"null" if behaviour.no_usage else self._usage(),
        )

    def _usage(self) -> bytes:
        call, behaviour = self.call, self.behaviour
        details = b'"cached_tokens":%d' % behaviour.cached_tokens
        if behaviour.cache_write_tokens:
            details += b',"cache_write_tokens":%d' % behaviour.cache_write_tokens
        return (
            b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{%b},'
            b'"completion_tokens_details":{"reasoning_tokens":%d}}'
        ) % (
            call.input_tokens,
            call.output_tokens,
            call.input_tokens + call.output_tokens,
            details,
            behaviour.reasoning_tokens,
        )

    def failed(self, fault: Fault) -> Failed:
        return openai_failed(fault, b"")

    def error_event(self) -> bytes:
        fault = Fault(500, "server", "The server had an error in mid-stream.")
        return b"data: " + self.failed(fault).body + b"\n\n"

    def headers(self, requests: Standing | None, tokens: Standing | None) -> bytes:
        line = b"x-request-id: req_sim_%d\r\n" % self.call.n
        return line if requests is None and tokens is None else line + openai_headers(requests, tokens)

    def embeddings(self, asked: Asked) -> bytes:
        return embeddings_body(asked, self.call, self.behaviour)


class Azure(OpenAi):
    """`/openai/deployments/{deployment}/chat/completions?api-version=`: content filter results, other ids and errors."""

    def opening(self) -> list[bytes]:
        safe = {"hate": {"filtered": False, "severity": "safe"}, "jailbreak": {"filtered": False, "detected": False}}
        first = {
            "choices": [], "created": 0, "id": "", "model": "", "object": "",
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": safe}],
        }  # fmt: skip
        return [b"data: %b\n\n" % encode(first), *super().opening()]

    def failed(self, fault: Fault) -> Failed:
        message = {
            "auth": "Access denied due to invalid subscription key or wrong API endpoint.",
            "model": "The API deployment for this resource does not exist.",
            "rate": "Requests to the ChatCompletions_Create Operation have exceeded call rate limit.",
        }.get(fault.kind, "")
        code = {"auth": "401", "model": "DeploymentNotFound", "rate": "429"}.get(fault.kind, "")
        if not code or fault.code:
            return super().failed(fault)
        # Azure rounds milliseconds down to 0: the larger of the two counts.
        headers = retry_headers(fault.wait) + (b"retry-after-ms: 0\r\n" if fault.wait else b"")
        return Failed(fault.status, headers, encode({"error": {"code": code, "message": fault.message or message}}))

    def headers(self, requests: Standing | None, tokens: Standing | None) -> bytes:
        line = b"apim-request-id: apim-sim-%d\r\n" % self.call.n
        return line + azure_headers(requests, tokens)


def _tool_fragments(call: Call, behaviour: Behaviour) -> Sequence[dict[str, Any]]:
    function = {"name": behaviour.tool, "arguments": ""}
    start = {"index": 0, "id": f"call_{call.n}", "type": "function", "function": function}
    half = max(1, len(behaviour.arguments) // 2)
    parts = (behaviour.arguments[:half], behaviour.arguments[half:])
    return [start, *({"index": 0, "function": {"arguments": part}} for part in parts if part)]
