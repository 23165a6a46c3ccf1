"""What goes to a language model and what comes back, in no provider's dialect."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


class Finish(StrEnum):
    """Why a completion ended, normalised over providers."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call. `input_tokens` includes the cached and cache-written ones, `output_tokens` the reasoning.

    `estimated` is True when the provider reported nothing and the counts are ours.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a prompt. `extra` carries fields of an OpenAI-compatible caller that we pass through untouched
    (tool_calls, tool_call_id, name, content parts)."""

    role: Role
    content: str
    extra: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A passage that the answer may quote. `n` is the citation number shown to the visitor, counted from 1.

    `score` is a relevance in 0..1. `quote` is shown to the visitor, `text` is the whole passage for the prompt.
    `suspicious`: the guard found that it speaks to a model; never shown.
    """

    n: int
    document_id: str
    title: str
    url: str | None
    score: float
    quote: str
    text: str = ""
    suspicious: bool = False

    def shown(self) -> dict[str, Any]:
        """Its fields for whoever reads the answer."""
        fields = asdict(self)
        del fields["suspicious"]
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Everything a provider needs for one completion.

    `turns` are in order and end with the visitor's message. `sources` are the knowledge passages already framed
    inside the turns as data; the extractive provider reads them from here. `question` is the visitor's text alone.
    `options` are caller's fields passed through on the OpenAI-compatible endpoint (tools, response_format, stop …).
    `stable_turns` counts the first turns that the chatbot's next prompt will repeat word for word: what a provider's
    prompt cache can hold. `cache_key` names that prefix's owner for providers that route by it.
    """

    turns: Sequence[Turn]
    question: str = ""
    sources: Sequence[Source] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    no_answer_text: str = "I don't know."
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    stable_turns: int = 0
    cache_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One limit of a key as its provider stated it: None where nothing was said. `reset_s` counts from the answer."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedLimits:
    """What the headers of one answer say about the key's limits, requests and tokens apart."""

    requests: Window | None = None
    tokens: Window | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where one completion is sent: provider name, its wire format's endpoint and the model.

    `api_key` never shows in `repr`. `guarded` is True when a tenant chose the address: the call then goes through the
    address guard. `call_id` is sent as `x-chatwright-call-id`: the provider's log and the ledger can be compared by it.
    """

    provider: str
    model: str
    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    key_id: str | None = None
    guarded: bool = False
    call_id: str | None = None
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 30.0
    idle_timeout_s: float = 20.0
    heard: Callable[[StatedLimits], None] | None = field(default=None, repr=False, compare=False)
    """Told what the answer's headers say about the key's limits, before its body is read."""


# Not frozen: one is made for every piece of every answer, and a frozen one takes three times as long to make.
@dataclass(slots=True, kw_only=True)
class Delta:
    """One streamed piece. Nobody changes one that was given out.

    `text` is new visible text (may be empty). `tool_calls` are the provider's fragments in OpenAI's delta form. The
    last delta of a good stream carries `finish`; `usage` is set when the provider reported it (on or after it).
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] | None = None
    finish: Finish | None = None
    usage: Usage | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A finished answer of a provider: the deltas joined. `tool_calls` are in OpenAI's form."""

    text: str
    finish: Finish
    usage: Usage | None
    model: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    upstream_request_id: str | None = None
