"""What Gemini and Vertex AI answer, read leniently: whole answers and streamed chunks to deltas, usage, embeddings.

Pure, no connection. A streamed chunk has the shape of a whole answer and holds only what is new; there is no end
marker, the last chunk carries the finish reason. Unknown fields and parts are skipped. Called by `gemini.py` only.
"""

import types
from collections.abc import Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from chatwright.adapters.providers.base import Embeddings, Unreadable
from chatwright.adapters.providers.failures import Failure, failure_of
from chatwright.adapters.providers.gemini_arguments import GrowingCall, PartialArgument
from chatwright.domain.providers import Delta, Finish, Usage

_FILTERED = (
    "SAFETY",
    "RECITATION",
    "PROHIBITED_CONTENT",
    "BLOCKLIST",
    "SPII",
    "MODEL_ARMOR",
    "JAILBREAK",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
)
_FINISH = {"STOP": Finish.STOP, "MAX_TOKENS": Finish.LENGTH} | dict.fromkeys(_FILTERED, Finish.CONTENT_FILTER)
_BROKEN = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})
"""The model lost its way: with nothing shown yet, another try may go well."""


class _Struct(msgspec.Struct, rename="camel"):
    pass


class _Call(_Struct):
    """A function call: whole with `args`, or piece by piece (only if the request asked for it)."""

    id: str | None = None
    name: str | None = None
    args: dict[str, Any] | None = None
    partial_args: list[PartialArgument] | None = None
    will_continue: bool | None = None


class _Part(_Struct):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None


class _Content(_Struct):
    parts: list[_Part] | None = None


class _Candidate(_Struct):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None


class _PromptFeedback(_Struct):
    block_reason: str | None = None
    block_reason_message: str | None = None


class WireUsage(_Struct):
    """`usageMetadata` as sent: cumulative over a stream; early chunks lack counts, Vertex's may hold none at all."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class Answer(_Struct):
    """A streamed chunk, or a whole answer."""

    candidates: list[_Candidate] | None = None
    usage_metadata: WireUsage | None = None
    prompt_feedback: _PromptFeedback | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


_S = TypeVar("_S", bound=msgspec.Struct)
_decoder = msgspec.json.Decoder(Answer)


def decode(data: bytes) -> Answer:
    """Decode one chunk or answer. Raises Unreadable if it is not a JSON object."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        return _fitting(_value(data), Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The decoder's own message may quote what it read.
        raise Unreadable("not JSON") from error


def _value(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("not JSON") from error


def _fitting(value: object, kind: type[_S]) -> _S:
    """Convert field by field; what does not fit is as if it were not there. Raises Unreadable if it is no object."""
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    hints = get_type_hints(kind)
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        found: Any = value.get(field.encode_name)
        if found is None:
            continue
        try:
            kept[field.name] = msgspec.convert(found, field.type, strict=False)
        except msgspec.ValidationError:
            inner, listed = _inner(hints[field.name])
            if inner is None:
                continue
            if listed and isinstance(found, list):
                kept[field.name] = [_fitting(item, inner) for item in found if isinstance(item, dict)]
            elif not listed and isinstance(found, dict):
                kept[field.name] = _fitting(found, inner)
    return kind(**kept)


def _inner(hint: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The struct inside `Struct | None` or `list[Struct] | None`, and whether it is a list."""
    for option in get_args(hint) if get_origin(hint) is types.UnionType else (hint,):
        listed = get_origin(option) is list
        kind = get_args(option)[0] if listed else option
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return kind, listed
    return None, False


def normal_usage(wire: WireUsage | None) -> Usage | None:
    """One record out of what was reported; None if no side of it was.

    What the model's own tools fetched counts as input, its thoughts as output; the cached part is inside the prompt.
    """
    if wire is None or not _counts(wire):
        return None
    thoughts = max(0, wire.thoughts_token_count or 0)
    return Usage(
        input_tokens=max(0, wire.prompt_token_count or 0) + max(0, wire.tool_use_prompt_token_count or 0),
        cached_tokens=max(0, wire.cached_content_token_count or 0),
        output_tokens=max(0, wire.candidates_token_count or 0) + thoughts,
        reasoning_tokens=thoughts,
    )


def _counts(wire: WireUsage) -> bool:
    return (
        wire.prompt_token_count is not None
        or wire.candidates_token_count is not None
        or wire.thoughts_token_count is not None
    )


class GeminiReader:
    """Turns the chunks of one stream, or one whole answer, into deltas; the closing one comes from `last`.

    `failure` is set if the server reported an error or blocked the prompt. `done` stays False but for a `[DONE]` that
    some gateways add: whatever follows the finish reason, usage above all, is still wanted.
    """

    __slots__ = ("_answer_id", "_calls", "_growing", "_usage", "done", "failure", "finish", "model", "shown")

    def __init__(self) -> None:
        self.done = False
        self.failure: Failure | None = None
        self.finish: Finish | None = None
        self.model: str | None = None
        self.shown = False
        """Text or a tool call was given out."""
        self._answer_id: str | None = None
        self._calls = 0
        self._growing: GrowingCall | None = None
        self._usage: WireUsage | None = None

    def read(self, data: bytes, event: bytes = b"") -> Delta | None:
        """Take one chunk; a delta if it brings something to show. Raises Unreadable."""
        del event  # Google names no events
        if data == b"[DONE]":
            self.done = True
            return None
        return self._answer(decode(data))

    def read_whole(self, body: bytes) -> list[Delta]:
        """Take a whole answer, or the array of chunks that a stream without events is. Raises Unreadable."""
        if body.lstrip()[:1] != b"[":
            found = [self._answer(decode(body))]
        else:
            found = [self._answer(_fitting(item, Answer)) for item in _value(body)]
        return [delta for delta in found if delta is not None]

    def usage_now(self) -> Usage | None:
        """What was reported so far."""
        return normal_usage(self._usage)

    def last(self) -> Delta | None:
        """The closing delta, with finish and usage. None if there was no finish reason: the answer was cut off."""
        finish = self.finish
        if finish is None:
            return None
        if finish is Finish.STOP and self._calls:
            finish = Finish.TOOL_CALLS
        return Delta(finish=finish, usage=normal_usage(self._usage), model=self.model)

    def _answer(self, answer: Answer) -> Delta | None:
        if answer.error:
            self.failure = failure_of(answer.error)
        if answer.usage_metadata is not None:
            self._report(answer.usage_metadata)
        if answer.model_version:
            self.model = answer.model_version
        if answer.response_id:
            self._answer_id = answer.response_id
        if answer.candidates:
            for candidate in answer.candidates:
                # Further candidates are alternatives to the answer, no part of it.
                if not candidate.index:
                    return self._candidate(candidate)
        elif (blocked := answer.prompt_feedback) is not None and blocked.block_reason:
            words = f"the prompt was blocked ({blocked.block_reason[:40]}) {blocked.block_reason_message or ''}"
            self.failure = self.failure or Failure(words.strip(), codes=("content_filter",), status=400)
        return None

    def _report(self, new: WireUsage) -> None:
        """The later report counts. A count it leaves out is the earlier one's: tokens once used stay used."""
        if not _counts(new):
            return
        old = self._usage
        if old is not None:
            if new.prompt_token_count is None:
                new.prompt_token_count = old.prompt_token_count
            if new.candidates_token_count is None:
                new.candidates_token_count = old.candidates_token_count
            if new.thoughts_token_count is None:
                new.thoughts_token_count = old.thoughts_token_count
        self._usage = new

    def _candidate(self, candidate: _Candidate) -> Delta | None:
        text = reasoning = ""
        calls: list[dict[str, Any]] | None = None
        content = candidate.content
        for part in content.parts or () if content is not None else ():
            if part.text:
                if part.thought:
                    reasoning += part.text
                else:
                    text += part.text
            elif part.function_call is not None:
                calls = calls or []
                self._call(part.function_call, part.thought_signature, calls)
        reason = candidate.finish_reason
        if reason:
            if self._growing is not None:
                calls = calls or []
                self._close_call(calls)
            self.finish = _FINISH.get(reason, Finish.OTHER)
            if reason in _BROKEN and not (self.shown or text or calls):
                self.failure = self.failure or Failure(f"the answer was broken off: {reason}", codes=("broken_answer",))
        if self.failure is not None:
            return None
        if text or calls:
            self.shown = True
        elif not reasoning:
            return None
        return Delta(text=text, reasoning=reasoning, tool_calls=calls or None, model=self.model)

    def _call(self, call: _Call, signature: str | None, calls: list[dict[str, Any]]) -> None:
        """Add a whole call to `calls`, or take a piece of one and add it once it is whole."""
        if call.name:
            self._close_call(calls)
            if not call.will_continue and not call.partial_args:
                self._emit(call.id, call.name, call.args or {}, signature, calls)
                return
            self._growing = GrowingCall(call.id, call.name, signature)
        growing = self._growing
        if growing is None:
            return
        growing.signature = growing.signature or signature
        for piece in call.partial_args or ():
            growing.take(piece)
        if not call.will_continue:
            self._close_call(calls)

    def _close_call(self, calls: list[dict[str, Any]]) -> None:
        growing, self._growing = self._growing, None
        if growing is not None:
            self._emit(growing.id, growing.name, growing.arguments, growing.signature, calls)

    def _emit(
        self,
        call_id: str | None,
        name: str,
        arguments: dict[str, Any],
        signature: str | None,
        calls: list[dict[str, Any]],
    ) -> None:
        """One whole call as OpenAI's fragment. Google's own compatible endpoint puts the signature where we do."""
        index = self._calls
        self._calls += 1
        call: dict[str, Any] = {
            "index": index,
            # Google names a call only at times, and a caller needs a name to answer it by.
            "id": call_id or f"call_{self._answer_id or 'google'}_{index}",
            "type": "function",
            "function": {"name": name, "arguments": msgspec.json.encode(arguments).decode()},
        }
        if signature:
            call["extra_content"] = {"google": {"thought_signature": signature}}
        calls.append(call)


class _Vector(_Struct):
    values: list[float]


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _PredictedVector(_Struct):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(_Struct):
    embeddings: _PredictedVector


class _EmbeddingsAnswer(_Struct):
    """Of `batchEmbedContents` (embeddings), `embedContent` (embedding) and Vertex's `predict` (predictions)."""

    embeddings: list[_Vector] | None = None
    embedding: _Vector | None = None
    predictions: list[_Prediction] | None = None
    usage_metadata: WireUsage | None = None


_embeddings_decoder = msgspec.json.Decoder(_EmbeddingsAnswer)


def read_embeddings(data: bytes, count: int) -> Embeddings:
    """The vectors in the order of the texts. Raises Unreadable unless there are `count` of them, of one size."""
    try:
        answer = _embeddings_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("not an embeddings answer") from error
    usage = normal_usage(answer.usage_metadata)
    if answer.predictions is not None:
        vectors = [prediction.embeddings.values for prediction in answer.predictions]
        usage = usage or _predicted_usage(answer.predictions)
    elif answer.embedding is not None:
        vectors = [answer.embedding.values]
    else:
        vectors = [vector.values for vector in answer.embeddings or ()]
    if len(vectors) != count or len({len(vector) for vector in vectors}) > 1 or not all(vectors):
        raise Unreadable(f"{len(vectors)} vectors for {count} texts")
    return Embeddings(vectors=vectors, usage=usage)


def _predicted_usage(predictions: Sequence[_Prediction]) -> Usage | None:
    counted = [one.embeddings.statistics for one in predictions]
    tokens = [int(one.token_count) for one in counted if one is not None and one.token_count is not None]
    return Usage(input_tokens=max(0, sum(tokens))) if tokens else None
