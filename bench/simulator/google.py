"""Google's generateContent, for Gemini API keys and for Vertex AI: CRLF, usage in every chunk, no end marker."""

import base64
import time
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from bench.simulator.behaviour import Behaviour
from bench.simulator.dialects import Failed, Fault, Kind, encode, vector
from bench.simulator.limits import Standing
from bench.simulator.log import Call
from bench.simulator.requests import Asked

_FINISHES = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "tool_calls": "STOP"}
_ERRORS: dict[Kind, tuple[str, str]] = {
    "auth": ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "permission": ("PERMISSION_DENIED", "The caller does not have permission."),
    "rate": ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    "quota": ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    "context": (
        "INVALID_ARGUMENT", "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "model": ("NOT_FOUND", "The model is not found for this API version, or is not supported for generateContent."),
    "overloaded": ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    "server": ("INTERNAL", "An internal error has occurred."),
}  # fmt: skip


class Gemini:
    """`/v1beta/models/{model}:generateContent`, `:streamGenerateContent?alt=sse`."""

    stream_type: ClassVar[bytes] = b"text/event-stream"
    garbled: ClassVar[bytes] = b'data: {"candidates": [{"content": {"parts": [{"text": "half a\r\n\r\n'
    vertex: ClassVar[bool] = False

    def __init__(self, call: Call, behaviour: Behaviour) -> None:
        self.call = call
        self.behaviour = behaviour
        self._said = 0
        self._first = True

    def _event(self, chunk: dict[str, Any]) -> bytes:
        return b"data: %b\r\n\r\n" % encode(chunk)

    def opening(self) -> list[bytes]:
        if not self.behaviour.reasoning:
            return []
        part = {"text": self.behaviour.reasoning, "thought": True}
        return [self._event(self._chunk([part]))]

    def piece(self, text: str) -> bytes:
        chunk = self._chunk([{"text": text}])
        self._said += 1
        return self._event(chunk)

    def closing(self, *, usage: bool) -> list[bytes]:
        del usage  # said by `no_usage` alone
        return [self._event(self._last([{"text": ""}]))]

    def blocked(self, *, usage: bool) -> Failed | list[bytes]:
        del usage
        return [self._event(self._refusal())]

    def body(self, text: str) -> bytes:
        if self.behaviour.block:
            return encode(self._refusal())
        parts: list[dict[str, Any]] = []
        if self.behaviour.reasoning:
            parts.append({"text": self.behaviour.reasoning, "thought": True})
        return encode(self._last([*parts, {"text": text}]))

    def failed(self, fault: Fault) -> Failed:
        word, message = _ERRORS.get(fault.kind, ("INVALID_ARGUMENT", "Request contains an invalid argument."))
        status = fault.status
        details: list[dict[str, Any]] = []
        if fault.kind == "auth":
            if self.vertex:
                word, message = "UNAUTHENTICATED", "Request had invalid authentication credentials."
                details.append(_info("ACCESS_TOKEN_TYPE_UNSUPPORTED"))
            else:
                status = 400
                details.append(_info("API_KEY_INVALID"))
        elif fault.kind in ("rate", "quota") and not self.vertex:
            day = fault.kind == "quota"
            quota = {
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
                "quotaId": "GenerateRequestsPerDayPerProjectPerModel"
                if day
                else "GenerateRequestsPerMinutePerProjectPerModel",
                "quotaValue": "3",
            }
            details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]})
            if fault.wait:
                delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{fault.wait}s"}
                details.append(delay)
        elif fault.kind == "overloaded":
            status = 503
        error: dict[str, Any] = {"code": status, "message": fault.message or message, "status": word}
        if details:
            error["details"] = details
        return Failed(status, b"", encode({"error": error}))

    def error_event(self) -> bytes:
        error = {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}
        return self._event({"error": error})

    def headers(self, requests: Standing | None, tokens: Standing | None) -> bytes:
        del requests, tokens  # Google says nothing of limits
        return b"server: scaffolding on HTTPServer2\r\n"

    def embeddings(self, asked: Asked) -> bytes:
        size = asked.dimensions
        vectors = [{"values": vector(text, size)} for text in asked.texts]
        if asked.verb == "predict":
            found = [
                {"embeddings": {**one, "statistics": {"token_count": max(1, len(text) // 4), "truncated": False}}}
                for one, text in zip(vectors, asked.texts, strict=True)
            ]
            return encode({"predictions": found, "metadata": {"billableCharacterCount": asked.characters}})
        answer: dict[str, Any] = {"embedding": vectors[0]} if asked.verb == "embedContent" else {"embeddings": vectors}
        if not self.behaviour.no_usage:
            answer["usageMetadata"] = {"promptTokenCount": self.call.input_tokens}
        return encode(answer)

    def _chunk(self, parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
        if finish is not None:
            candidate["finishReason"] = finish
        candidate["index"] = 0
        chunk: dict[str, Any] = {"candidates": [candidate]}
        if not self.behaviour.no_usage:
            chunk["usageMetadata"] = self._usage(last=finish is not None)
        return {**chunk, "modelVersion": self.call.model, "responseId": f"sim-{self.call.n}"}

    def _last(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        behaviour = self.behaviour
        if behaviour.tool:
            call = {"name": behaviour.tool, "args": Raw(behaviour.arguments.encode())}
            parts = [
                *(part for part in parts if part.get("thought")),
                {"functionCall": call, "thoughtSignature": "c2lt"},
            ]
        return self._chunk(parts, _FINISHES.get(behaviour.finish, behaviour.finish))

    def _usage(self, *, last: bool) -> dict[str, Any]:
        call, behaviour = self.call, self.behaviour
        candidates = max(0, call.output_tokens - behaviour.reasoning_tokens) if last else self._said
        counts: dict[str, Any] = {"promptTokenCount": call.input_tokens}
        if last or candidates:
            # The first chunk of a stream tells the prompt's side only.
            counts["candidatesTokenCount"] = candidates
        counts["totalTokenCount"] = call.input_tokens + candidates + behaviour.reasoning_tokens
        counts["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": call.input_tokens}]
        if behaviour.cached_tokens:
            counts["cachedContentTokenCount"] = behaviour.cached_tokens
        if behaviour.reasoning_tokens:
            counts["thoughtsTokenCount"] = behaviour.reasoning_tokens
        return counts

    def _refusal(self) -> dict[str, Any]:
        usage = {"promptTokenCount": self.call.input_tokens, "totalTokenCount": self.call.input_tokens}
        feedback = {"blockReason": self.behaviour.block}
        return {"promptFeedback": feedback, "usageMetadata": usage, "modelVersion": self.call.model}


class GeminiArray(Gemini):
    """A stream without `alt=sse`: one JSON array, element by element."""

    stream_type: ClassVar[bytes] = b"application/json; charset=UTF-8"
    garbled: ClassVar[bytes] = b',\r\n{"candidates": [{"content": {"parts": [{"text": half a'

    def _event(self, chunk: dict[str, Any]) -> bytes:
        first, self._first = self._first, False
        return (b"[" if first else b",\r\n") + encode(chunk)

    def closing(self, *, usage: bool) -> list[bytes]:
        return [*super().closing(usage=usage), b"]"]

    def blocked(self, *, usage: bool) -> Failed | list[bytes]:
        refusal = super().blocked(usage=usage)
        return refusal if isinstance(refusal, Failed) else [*refusal, b"]"]

    def failed(self, fault: Fault) -> Failed:
        failed = super().failed(fault)
        return failed._replace(body=b"[%b]" % failed.body)


class Vertex(Gemini):
    """`/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:…`."""

    vertex: ClassVar[bool] = True


class VertexArray(GeminiArray):
    """Vertex AI without `alt=sse`."""

    vertex: ClassVar[bool] = True


def _info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def token_body(n: int, life_s: int) -> tuple[str, bytes]:
    """An access token and the answer of an OAuth token endpoint that gives it out."""
    token = f"ya29.sim-{n}-{time.monotonic_ns():x}"
    return token, encode({"access_token": token, "expires_in": life_s, "token_type": "Bearer"})


def claims(assertion: str) -> dict[str, Any]:
    """What a JWT says; the signature is nobody's business here."""
    try:
        middle = assertion.split(".")[1]
        return msgspec.json.decode(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)), type=dict[str, Any])
    except (IndexError, ValueError):
        return {}
