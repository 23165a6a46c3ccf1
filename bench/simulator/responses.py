"""OpenAI's Responses: named events, the whole answer again at the end, no `[DONE]`."""

from typing import Any, ClassVar

from bench.simulator.behaviour import Behaviour
from bench.simulator.dialects import CREATED, Failed, Fault, encode
from bench.simulator.limits import Standing, openai_headers
from bench.simulator.log import Call
from bench.simulator.openai import embeddings_body, openai_failed
from bench.simulator.requests import Asked

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Responses:
    """`/v1/responses`."""

    stream_type: ClassVar[bytes] = b"text/event-stream; charset=utf-8"
    garbled: ClassVar[bytes] = (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"half\n\n'
    )

    def __init__(self, call: Call, behaviour: Behaviour) -> None:
        self.call = call
        self.behaviour = behaviour
        self._n = 0
        self._place = int(bool(behaviour.reasoning))
        """`output_index` of message or tool call: a reasoning item comes before it."""
        self._item = f"{'fc' if behaviour.tool else 'msg'}_sim_{call.n}"

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        data = encode({"type": kind, **fields, "sequence_number": self._n})
        self._n += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def opening(self) -> list[bytes]:
        running = self._response("in_progress", [], usage=False)
        events = [
            self._event("response.created", {"response": running}),
            self._event("response.in_progress", {"response": running}),
        ]
        if self.behaviour.reasoning:
            thought = self.behaviour.reasoning
            at = {"item_id": f"rs_sim_{self.call.n}", "output_index": 0, "summary_index": 0}
            item = self._reasoning("")
            part = {"type": "summary_text", "text": ""}
            events += [
                self._event("response.output_item.added", {"output_index": 0, "item": item}),
                self._event("response.reasoning_summary_part.added", {**at, "part": part}),
                self._event("response.reasoning_summary_text.delta", {**at, "delta": thought}),
                self._event("response.reasoning_summary_text.done", {**at, "text": thought}),
                self._event("response.reasoning_summary_part.done", {**at, "part": {**part, "text": thought}}),
                self._event("response.output_item.done", {"output_index": 0, "item": self._reasoning(thought)}),
            ]
        at = {"output_index": self._place}
        if self.behaviour.tool:
            arguments = self.behaviour.arguments
            half = max(1, len(arguments) // 2)
            names = {"item_id": self._item, **at}
            started = {**self._tool(), "arguments": "", "status": "in_progress"}
            events.append(self._event("response.output_item.added", {**at, "item": started}))
            events += [
                self._event("response.function_call_arguments.delta", {**names, "delta": part})
                for part in (arguments[:half], arguments[half:])
                if part
            ]
            events += [
                self._event("response.function_call_arguments.done", {**names, "arguments": arguments}),
                self._event("response.output_item.done", {**at, "item": self._tool()}),
            ]
            return events
        started = {**self._message(""), "content": [], "status": "in_progress"}
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        return [
            *events,
            self._event("response.output_item.added", {**at, "item": started}),
            self._event("response.content_part.added", {"item_id": self._item, **at, "content_index": 0, "part": part}),
        ]

    def piece(self, text: str) -> bytes:
        event = (
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","content_index":0,'
            b'"delta":%b,"item_id":"%b","logprobs":[],"output_index":%d,"sequence_number":%d}\n\n'
        ) % (encode(text), self._item.encode(), self._place, self._n)
        self._n += 1
        return event

    def closing(self, *, usage: bool) -> list[bytes]:
        text = self.call.text
        events: list[bytes] = []
        if not self.behaviour.tool:
            at = {"item_id": self._item, "output_index": self._place, "content_index": 0}
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
            events = [
                self._event("response.output_text.done", {**at, "text": text, "logprobs": []}),
                self._event("response.content_part.done", {**at, "part": part}),
                self._event("response.output_item.done", {"output_index": self._place, "item": self._message(text)}),
            ]
        status = self._status()
        return [
            *events,
            self._event(f"response.{status}", {"response": self._response(status, self._output(text), usage=usage)}),
        ]

    def blocked(self, *, usage: bool) -> Failed | list[bytes]:  # noqa: ARG002 - an error, streamed or not
        return self.failed(Fault(400, "filter"))

    def body(self, text: str) -> bytes:
        return encode(self._response(self._status(), self._output(text), usage=not self.behaviour.no_usage))

    def failed(self, fault: Fault) -> Failed:
        if fault.kind == "model":
            # Here, and only here, a missing model is a bad request.
            fault = fault._replace(status=400)
        return openai_failed(fault, b"")

    def error_event(self) -> bytes:
        message = "The server had an error in mid-stream."
        return self._event("error", {"code": "server_error", "message": message, "param": None})

    def headers(self, requests: Standing | None, tokens: Standing | None) -> bytes:
        return b"x-request-id: req_sim_%d\r\n" % self.call.n + openai_headers(requests, tokens)

    def embeddings(self, asked: Asked) -> bytes:
        return embeddings_body(asked, self.call, self.behaviour)

    def _status(self) -> str:
        if self.behaviour.finish == "failed":
            return "failed"
        return "incomplete" if self.behaviour.finish in _INCOMPLETE and not self.behaviour.tool else "completed"

    def _output(self, text: str) -> list[dict[str, Any]]:
        items = [self._reasoning(self.behaviour.reasoning)] if self.behaviour.reasoning else []
        return [*items, self._tool() if self.behaviour.tool else self._message(text)]

    def _message(self, text: str) -> dict[str, Any]:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
        return {"id": self._item, "type": "message", "status": "completed", "content": [part], "role": "assistant"}

    def _reasoning(self, text: str) -> dict[str, Any]:
        summary = [{"type": "summary_text", "text": text}] if text else []
        return {"id": f"rs_sim_{self.call.n}", "type": "reasoning", "summary": summary}

    def _tool(self) -> dict[str, Any]:
        return {
            "id": self._item,
            "type": "function_call",
            "status": "completed",
            "arguments": self.behaviour.arguments,
            "call_id": f"call_{self.call.n}",
            "name": self.behaviour.tool,
        }

    def _response(self, status: str, output: list[dict[str, Any]], *, usage: bool) -> dict[str, Any]:
        call, behaviour = self.call, self.behaviour
        counts = {
            "input_tokens": call.input_tokens,
            "input_tokens_details": {
                "cached_tokens": behaviour.cached_tokens,
                "cache_write_tokens": behaviour.cache_write_tokens,
            },
            "output_tokens": call.output_tokens,
            "output_tokens_details": {"reasoning_tokens": behaviour.reasoning_tokens},
            "total_tokens": call.input_tokens + call.output_tokens,
        }
        return {
            "id": f"resp_sim_{call.n}",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": {"code": "server_error", "message": "The model had an error."} if status == "failed" else None,
            "incomplete_details": {"reason": _INCOMPLETE[behaviour.finish]} if status == "incomplete" else None,
            "instructions": None,
            "model": call.model,
            "output": output,
            "parallel_tool_calls": True,
            "store": False,
            "tool_choice": "auto",
            "tools": [],
            "usage": counts if usage else None,
            "metadata": {},
        }
