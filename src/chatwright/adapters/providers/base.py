"""The port of the providers: what every wire format can do. Implemented beside this file, used by `features/routing`."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from chatwright.adapters.providers.failures import Failure
from chatwright.domain.errors import CutStream
from chatwright.domain.providers import Completion, Delta, Finish, Prompt, Route, Usage

EmbeddingTask = Literal["query", "passage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors of an embeddings call, shape (texts, dimensions), in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage | None
    model: str | None = None


class WireFormat(Protocol):
    """Speaks one provider's HTTP dialect. Knows nothing of tenants, budgets or retries: one call is one attempt."""

    def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Yield deltas in order; the last one, and only it, carries `finish`, together with `usage` if reported.

        Raises ProviderError and its subclasses only: CutStream if the provider's bytes end without a finish marker.
        `usage` of the error holds what was reported before it. `aclose()` closes the connection upstream at once, so
        wrap it in `contextlib.aclosing` wherever the loop may be left early.
        """
        ...

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        """The whole answer in one piece. Raises ProviderError and its subclasses only."""
        ...

    async def embed(
        self, route: Route, texts: Sequence[str], *, dimensions: int | None = None, task: EmbeddingTask | None = None
    ) -> Embeddings:
        """One vector a text. Raises ProviderError and its subclasses only.

        `dimensions` shortens the vectors, where the model can do that; `task` is for providers whose vectors of questions
        differ from those of passages, others are not told.
        """
        ...


class Unreadable(ValueError):
    """Bytes that should have been an answer of the dialect and are not. The message quotes nothing of them."""


class Reader(Protocol):
    """Reads one answer of one dialect, event by event or whole; pure. `exchange.py` drives it and judges its end."""

    done: bool
    """The end marker came: nothing after it is read."""
    shown: bool
    """Text or a tool call was given out."""
    finish: Finish | None
    """The finish reason, once it came: little is due after it."""
    failure: Failure | None
    """What the provider reported inside its answer."""

    def read(self, data: bytes, event: bytes = b"") -> Delta | None:
        """Take one event's payload (`event` is its name); a delta if it brings something to show. Raises Unreadable."""
        ...

    def read_whole(self, body: bytes) -> list[Delta]:
        """Take an answer that is no stream. Raises Unreadable."""
        ...

    def last(self) -> Delta | None:
        """The closing delta, with finish and usage. None if there was no finish marker: the answer was cut off."""
        ...

    def usage_now(self) -> Usage | None:
        """What was reported so far."""
        ...


def join(deltas: Iterable[Delta]) -> Completion:
    """Put the deltas of a finished stream together. Raises CutStream if none carries a finish."""
    text: list[str] = []
    calls: list[dict[str, Any]] = []
    finish: Finish | None = None
    usage: Usage | None = None
    model: str | None = None
    for delta in deltas:
        text.append(delta.text)
        if delta.tool_calls:
            calls.extend(delta.tool_calls)
        finish = delta.finish or finish
        usage = delta.usage or usage
        model = delta.model or model
    if finish is None:
        raise CutStream("The provider's stream ended without a finish marker.")
    return Completion(
        text="".join(text), finish=finish, usage=usage, model=model, tool_calls=join_tool_calls(calls) or None
    )


def join_tool_calls(fragments: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whole tool calls, in OpenAI's form, out of streamed fragments; `index` tells which belong together.

    A fragment without an index goes on with the last call, or starts a new one if it brings an id.
    """
    calls: dict[int, dict[str, Any]] = {}
    last = -1
    for fragment in fragments:
        index = fragment.get("index")
        if not isinstance(index, int):
            index = last + 1 if fragment.get("id") or last < 0 else last
        last = index
        call = calls.setdefault(index, {"id": None, "type": "function"})
        for name, value in fragment.items():
            if name == "index" or value is None:
                continue
            if isinstance(value, dict):
                _append(call.setdefault(name, {}), value)
            else:
                call[name] = value
    return [calls[index] for index in sorted(calls)]


def _append(into: dict[str, Any], part: dict[str, Any]) -> None:
    """Add one fragment's function part: arguments grow, anything else (the name) is taken as it comes."""
    for name, value in part.items():
        if value is None:
            continue
        if name in ("arguments", "input") and isinstance(value, str) and isinstance(into.get(name), str):
            into[name] += value
        else:
            into[name] = value
