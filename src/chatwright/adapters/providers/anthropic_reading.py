"""What Anthropic's Messages API answers: streamed events to deltas, whole messages, usage, stop reasons.

Pure, no connection. Unknown events, block types and stop reasons are normal and skipped. `exchange.py` drives the
reader, `anthropic.py` makes it.
"""

from typing import Any

import msgspec

from chatwright.adapters.providers.base import Unreadable
from chatwright.adapters.providers.failures import Failure, failure_of
from chatwright.adapters.providers.leniency import decode_leniently
from chatwright.domain.providers import Delta, Finish, Usage

# A tool call up to this size is given out whole, when its block ends: a call that is cut off inside its arguments has
# then shown nothing, and another provider can still answer. A longer one goes out as it comes.
HELD_ARGUMENT_CHARS = 4_096
_FINISH = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "refusal": Finish.CONTENT_FILTER,
    # A server tool's loop was paused, or the context compacted: the answer is not at its end, and not ours to go on.
    "pause_turn": Finish.OTHER,
    "compaction": Finish.OTHER,
}


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _Step(msgspec.Struct):
    """One model call inside an answer (server-side compaction, advisors): counted apart."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """`usage` as sent."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None
    iterations: list[_Step] | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Part(msgspec.Struct):
    """`delta` of a content block or of the message."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None


class Event(msgspec.Struct):
    """One streamed event; or a whole answer, whose type is `message`."""

    type: str = ""
    index: int | None = None
    delta: _Part | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: WireUsage | None = None
    error: Any = None
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None


_decode = msgspec.json.Decoder(Event).decode


def decode(data: bytes) -> Event:
    """Decode one event or answer. Raises Unreadable if it is not a JSON object."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        return decode_leniently(data, Event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The decoder's own message may quote what it read.
        raise Unreadable("not JSON") from error


def normal_usage(wire: WireUsage | None) -> Usage | None:
    """One record out of what was reported; None if neither side of it was.

    The cached parts stand beside `input_tokens` and are added to it. `iterations` list every step of an answer whose
    totals hold the last step only, so they are summed where they are given.
    """
    if wire is None or (wire.input_tokens is None and wire.output_tokens is None):
        return None
    fresh = made = cached = written = 0
    for step in wire.iterations or (wire,):
        fresh += max(0, step.input_tokens or 0)
        made += max(0, step.output_tokens or 0)
        cached += max(0, step.cache_read_input_tokens or 0)
        written += max(0, step.cache_creation_input_tokens or 0)
    if not written and wire.cache_creation is not None:
        split = wire.cache_creation
        written = max(0, split.ephemeral_5m_input_tokens or 0) + max(0, split.ephemeral_1h_input_tokens or 0)
    details = wire.output_tokens_details
    return Usage(
        input_tokens=fresh + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=made,
        reasoning_tokens=max(0, details.thinking_tokens or 0) if details is not None else 0,
    )


class _Call:
    """A tool call whose block is open. `held` are its arguments that were not given out yet."""

    __slots__ = ("held", "live", "name", "place", "size", "tool_id")

    def __init__(self, place: int, block: _Block) -> None:
        self.place = place
        self.tool_id = block.id
        self.name = block.name
        self.held: list[str] = []
        self.size = 0
        self.live = False
        if block.input:
            self.grow(msgspec.json.encode(block.input).decode())

    def grow(self, part: str) -> None:
        self.held.append(part)
        self.size += len(part)

    def fragment(self, *, ended: bool = False) -> dict[str, Any] | None:
        """What is held, in OpenAI's form; None if there is nothing to say. A call that `ended` empty has no arguments:
        an empty object."""
        arguments = "".join(self.held)
        self.held.clear()
        if self.live:
            return {"index": self.place, "function": {"arguments": arguments}} if arguments else None
        self.live = True
        function = {"name": self.name, "arguments": arguments or ("{}" if ended else "")}
        return {"index": self.place, "id": self.tool_id, "type": "function", "function": function}


class MessageReader:
    """Turns the events of one stream, or one whole message, into deltas; see base.Reader.

    Only `message_stop` ends a stream well. A stop reason without it means that the connection broke within the last
    bytes: no answer of this API ends so, and what else is missing cannot be known.
    """

    __slots__ = ("_calls", "_id", "_places", "_reason", "_usage", "done", "failure", "finish", "model", "shown")

    def __init__(self) -> None:
        self.done = False
        self.shown = False
        self.finish: Finish | None = None
        self.failure: Failure | None = None
        self.model: str | None = None
        self._id: str | None = None
        self._reason: str | None = None
        self._usage: WireUsage | None = None
        self._calls: dict[int, _Call] = {}
        """Open tool calls by the index of their block."""
        self._places = 0
        """How many tool calls there were."""

    def read(self, data: bytes, event: bytes = b"") -> Delta | None:
        """Take one event's payload. Raises Unreadable."""
        try:
            found = decode(data)
        except Unreadable:
            # Some gateways put OpenAI's end marker behind their streams.
            if data.strip() == b"[DONE]":
                return None
            raise
        part = found.delta
        if part is not None and part.type == "text_delta" and part.text:
            # Nearly every event of nearly every answer.
            self.shown = True
            return Delta(text=part.text, model=self.model)
        match found.type or event.decode("ascii", "replace"):
            case "content_block_delta" if part is not None:
                return self._part(found.index, part)
            case "content_block_start" if found.content_block is not None:
                return self._block(found.index, found.content_block)
            case "content_block_stop":
                call = self._calls.pop(found.index or 0, None)
                return None if call is None else self._tools([call.fragment(ended=True)])
            case "message_start":
                self._start(found.message or _Message())
            case "message_delta":
                self._report(found.usage)
                if part is not None and part.stop_reason:
                    self._stop(part.stop_reason)
                return self._leftover_calls()
            case "message_stop":
                self.done = True
                rest = self._leftover_calls()
                self._check_window()
                return rest
            case kind if kind == "error" or found.error:
                self.failure = failure_of(found.error or msgspec.json.decode(data))
            case _:
                pass
        return None

    def read_whole(self, body: bytes) -> list[Delta]:
        """Take a message that is no stream. Raises Unreadable."""
        found = decode(body)
        if found.type == "error" or found.error:
            self.failure = failure_of(found.error or msgspec.json.decode(body))
            return []
        self.model = found.model
        self._report(found.usage)
        deltas: list[Delta | None] = []
        for index, block in enumerate(found.content or ()):
            deltas.append(self._block(index, block))
            call = self._calls.pop(index, None)
            if call is not None:
                deltas.append(self._tools([call.fragment(ended=True)]))
        if found.stop_reason:
            self._stop(found.stop_reason)
            self._check_window()
        return [delta for delta in deltas if delta is not None]

    def last(self) -> Delta | None:
        """The closing delta; None without the end marker. An answer that ended without a reason simply stopped."""
        finish = self.finish
        if finish is None and self.shown:
            finish = Finish.STOP
        if finish is None or not self.done:
            return None
        return Delta(finish=finish, usage=self.usage_now(), model=self.model)

    def usage_now(self) -> Usage | None:
        """What was reported so far."""
        return normal_usage(self._usage)

    def _start(self, message: _Message) -> None:
        """A message begins. Gateways repeat this event, or begin anew after a failure of their own: harmless until
        something was shown, since two answers must never run into one."""
        if self._id is not None and message.id != self._id:
            if self.shown:
                self.failure = Failure("a second answer began inside the first")
                return
            self.finish = self._reason = self._usage = None
            self._calls.clear()
            self._places = 0
        self._id = message.id or self._id
        self.model = message.model or self.model
        self._report(message.usage)

    def _part(self, index: int | None, part: _Part) -> Delta | None:
        kind = part.type
        if kind == "thinking_delta":
            return Delta(reasoning=part.thinking, model=self.model) if part.thinking else None
        if kind == "input_json_delta" and part.partial_json:
            call = self._calls.get(index or 0)
            if call is not None:
                call.grow(part.partial_json)
                if call.size > HELD_ARGUMENT_CHARS:
                    return self._tools([call.fragment()])
        return None

    def _block(self, index: int | None, block: _Block) -> Delta | None:
        if block.type == "tool_use":
            self._calls[index or 0] = _Call(self._places, block)
            self._places += 1
        elif block.type == "text" and block.text:
            self.shown = True
            return Delta(text=block.text, model=self.model)
        elif block.type == "thinking" and block.thinking:
            return Delta(reasoning=block.thinking, model=self.model)
        return None

    def _leftover_calls(self) -> Delta | None:
        """Calls whose block did not end before the message did: the token limit struck inside their arguments."""
        if not self._calls:
            return None
        fragments = [call.fragment() for call in self._calls.values()]
        self._calls.clear()
        return self._tools(fragments)

    def _tools(self, fragments: list[dict[str, Any] | None]) -> Delta | None:
        said = [fragment for fragment in fragments if fragment is not None]
        if not said:
            return None
        self.shown = True
        return Delta(tool_calls=said, model=self.model)

    def _stop(self, reason: str) -> None:
        self._reason = reason
        self.finish = _FINISH.get(reason, Finish.OTHER)

    def _check_window(self) -> None:
        """A window that was full before the first word is a prompt that was too long."""
        if self._reason == "model_context_window_exceeded" and not self.shown:
            self.failure = Failure("the prompt fills the model's context window", (self._reason,))

    def _report(self, usage: WireUsage | None) -> None:
        """Counts are cumulative: what a later report names replaces, what it leaves out stays."""
        if usage is None:
            return
        if self._usage is None:
            self._usage = usage
            return
        said = {name: value for name, value in msgspec.structs.asdict(usage).items() if value is not None}
        self._usage = msgspec.structs.replace(self._usage, **said)
