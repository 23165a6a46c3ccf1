"""What OpenAI's Responses API answers, and the hosts that offer the same: events to deltas, whole answers, usage.

Pure, no connection. Tool calls are given out in the fragments of chat completions, so that nobody above knows which of
the two APIs a model wanted. Items and events without a part in the answer (searches, annotations, `done` repeats) are
skipped. Called through `openai_chat.py` only.
"""

from typing import Any

import msgspec

from chatwright.adapters.providers.failures import Failure, failure_of, read_failure
from chatwright.adapters.providers.openai_reading import fitting
from chatwright.domain.providers import Delta, Finish, Usage

_INCOMPLETE = {"max_output_tokens": Finish.LENGTH, "max_tokens": Finish.LENGTH, "content_filter": Finish.CONTENT_FILTER}
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_SHORT = 16
"""Bytes below which an event may be an end marker."""
_REASONING = frozenset(
    {
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary.delta",
        "response.reasoning.delta",
    }
)


class _Part(msgspec.Struct):
    """Content of a message (`output_text`, `refusal`), of a reasoning item, or one piece of its summary."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    """One item of `output`: a message, a reasoning, a tool call, or something that the provider did by itself."""

    type: str = ""
    call_id: str | None = None
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """`usage` as sent: the details stand inside their totals."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    """A whole answer, or its state inside an event."""

    status: str | None = None
    output: list[_Item] | None = None
    usage: WireUsage | None = None
    model: str | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    output_index: int | None = None
    item_id: str | None = None
    item: _Item | None = None
    response: _Response | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_response = msgspec.json.Decoder(_Response).decode


def normal_usage(wire: WireUsage | None) -> Usage | None:
    """One record out of what was reported; None if neither side of it was, or both as nothing."""
    if wire is None or not (wire.input_tokens or wire.output_tokens):
        return None
    given, made = wire.input_tokens_details, wire.output_tokens_details
    return Usage(
        input_tokens=max(0, wire.input_tokens or 0),
        cached_tokens=max(0, (given and given.cached_tokens) or 0),
        cache_write_tokens=max(0, (given and given.cache_write_tokens) or 0),
        output_tokens=max(0, wire.output_tokens or 0),
        reasoning_tokens=max(0, (made and made.reasoning_tokens) or 0),
    )


class ResponsesReader:
    """Implements Reader: turns the events of one stream, or one whole answer, into deltas.

    Only `response.completed`, `.incomplete` and `.failed` end an answer: without one of them it was cut.
    """

    __slots__ = ("_calls", "_open", "_refused", "_usage", "done", "failure", "finish", "model", "shown")

    def __init__(self) -> None:
        self.done = False
        self.failure: Failure | None = None
        self.finish: Finish | None = None
        self.model: str | None = None
        self.shown = False
        self._usage: WireUsage | None = None
        self._refused = False
        self._calls: dict[int | str | None, int] = {}
        """Place in `output` of each tool call (its id where none is said) to its index among the calls."""
        self._open: set[int] = set()
        """Indexes of the calls whose arguments have not come yet."""

    def read(self, data: bytes, event: bytes = b"") -> Delta | None:
        """Take one event's payload; a delta if it brings something to show. Raises Unreadable."""
        if len(data) < _SHORT and data.strip() == b"[DONE]":
            # Some hosts send it after the last event; by itself it ends nothing.
            self.done = True
            return None
        try:
            found = _decode_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = fitting(data, _Event)
        kind = found.type
        text = found.delta
        if kind == "response.output_text.delta":
            if not text:
                return None
            self.shown = True
            return Delta(text=text, model=self.model)
        if kind == "response.function_call_arguments.delta":
            return self._arguments("function", "arguments", text, _place(found))
        if kind in _REASONING:
            return Delta(reasoning=text, model=self.model) if text else None
        if kind in _LAST and found.response is not None:
            return self._end(found.response, kind)
        if kind == "response.output_item.added" and found.item is not None:
            return self._call(found.item, _place(found))
        if kind == "response.output_item.done" and found.item is not None:
            return self._call_done(found.item, _place(found))
        if kind == "response.custom_tool_call_input.delta":
            return self._arguments("custom", "input", text, _place(found))
        if kind == "response.refusal.delta":
            self._refused = True
        elif kind == "error" or event == b"error" or not kind:
            failure = read_failure(data)
            if kind or failure.message or failure.codes:
                self.failure = failure
        elif found.response is not None and found.response.model:
            self.model = found.response.model
        return None

    def read_whole(self, body: bytes) -> list[Delta]:
        """Take an answer that is no stream. Raises Unreadable."""
        try:
            answer = _decode_response(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = fitting(body, _Response)
        if answer.error:
            self.failure = failure_of(answer.error)
            return []
        delta = self._end(answer, "")
        return [] if delta is None else [delta]

    def last(self) -> Delta | None:
        """The closing delta, with finish and usage. None if there was no finish marker: the answer was cut off."""
        finish = self.finish
        if finish is None:
            return None
        if self._refused and finish is Finish.STOP:
            finish = Finish.CONTENT_FILTER
        return Delta(finish=finish, usage=normal_usage(self._usage), model=self.model)

    def usage_now(self) -> Usage | None:
        """What was reported so far."""
        return normal_usage(self._usage)

    def _end(self, answer: _Response, kind: str) -> Delta | None:
        """The answer's last state. A delta of all that it holds if nothing came before it."""
        self._usage = answer.usage or self._usage
        self.model = answer.model or self.model
        status = answer.status or kind.removeprefix("response.")
        if status in ("failed", "cancelled") or kind == "response.failed":
            self.failure = (
                failure_of(answer.error) if answer.error else Failure("the answer was broken off", ("server_error",))
            )
            return None
        delta = None if self.shown else self._output(answer.output or (), whole=not kind)
        if status == "completed":
            self.finish = Finish.TOOL_CALLS if self._calls else Finish.STOP
        elif status == "incomplete":
            reason = answer.incomplete_details and answer.incomplete_details.reason
            self.finish = _INCOMPLETE.get(reason or "", Finish.OTHER)
        # Any other status (queued, in_progress) is no end.
        self.done = True
        return delta

    def _output(self, items: "list[_Item] | tuple[()]", *, whole: bool) -> Delta | None:
        """All that the items of a finished answer say, as one delta; a stream's reasoning came before."""
        text: list[str] = []
        reasoning: list[str] = []
        calls: list[dict[str, Any]] = []
        for place, item in enumerate(items):
            if item.type == "message":
                for part in item.content or ():
                    self._refused = self._refused or part.type == "refusal"
                    if part.type in ("output_text", "text"):
                        text.append(part.text or "")
            elif item.type == "reasoning":
                if not whole:
                    continue
                # One or the other is given; where both are, the summary is made of the content.
                reasoning += [part.text or "" for part in item.content or item.summary or ()]
            elif (delta := self._call(item, place)) is not None:
                calls += delta.tool_calls or ()
        said, thought = "".join(text), "".join(reasoning)
        self.shown = bool(said or calls)
        if not (self.shown or thought):
            return None
        return Delta(text=said, reasoning=thought, tool_calls=calls or None, model=self.model)

    def _call(self, item: _Item, place: int | str | None) -> Delta | None:
        """The head of a tool call, with what is known of its arguments."""
        if item.type == "function_call":
            kind, inner = "function", {"name": item.name or "", "arguments": item.arguments or ""}
        elif item.type == "custom_tool_call":
            kind, inner = "custom", {"name": item.name or "", "input": item.input or ""}
        else:
            return None
        index = self._calls.setdefault(place, len(self._calls))
        if not (item.arguments or item.input):
            self._open.add(index)
        self.shown = True
        call = {"index": index, "id": item.call_id or item.id, "type": kind, kind: inner}
        return Delta(tool_calls=[call], model=self.model)

    def _arguments(self, kind: str, name: str, text: str | None, place: int | str | None) -> Delta | None:
        index = self._calls.get(place)
        if index is None or not text:
            return None
        self._open.discard(index)
        return Delta(tool_calls=[{"index": index, kind: {name: text}}], model=self.model)

    def _call_done(self, item: _Item, place: int | str | None) -> Delta | None:
        """A tool call's end: only of use where its start or its arguments never came."""
        if item.type not in ("function_call", "custom_tool_call"):
            return None
        index = self._calls.get(place)
        if index is None:
            return self._call(item, place)
        if index not in self._open:
            return None
        if item.type == "function_call":
            return self._arguments("function", "arguments", item.arguments, place)
        return self._arguments("custom", "input", item.input, place)


def _place(event: _Event) -> int | str | None:
    """Which item an event belongs to: by its place in `output`, or by its id where a host says no place."""
    if event.output_index is not None:
        return event.output_index
    return event.item_id or (event.item and event.item.id)
