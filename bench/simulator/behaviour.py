"""What the simulator does with one request: the verbs, how they are written down and which of them wins.

A directive is `verb=value,verb=value`; a bare verb means `verb=1`; values are percent-decoded, so a comma inside one
is `%2C`. For one request the verbs are layered, the first of these to name a verb wins:

1. request header `x-sim: status=429,retry_after=2`
2. model name `sim:latency=200,chunks=20,interval=10` (everything after `sim:`)
3. last user message, anywhere in it: `[[sim:cut=3]]`; `[[sim@NAME:cut=3]]` is for the simulator of that name only
4. the defaults, set at the start and changed live by `GET /control?latency=50` (`GET /control?restore=1` restores them)
"""

import functools
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import unquote

FAULTS = ("500", "529", "429", "cut", "garble", "error_in_stream", "error_in_200", "html_error", "refuse", "reset")
"""What `fault_rate` draws from unless `faults` names others (`stall` is left out: it costs a time-out each)."""


class UnknownVerb(ValueError):
    """A directive names a verb that does not exist, or its value does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one answer is given. Times are milliseconds; -1 means "not at all" where 0 has a meaning of its own."""

    latency: float = 0.0
    """Before the status line."""
    ttft: float = 0.0
    """Streams: between the headers and the first chunk."""
    interval: float = 0.0
    """Streams: between two chunks."""
    chunks: int = 0
    """Content chunks of the answer; 0: one a word."""
    drip: bool = False
    """Every byte of the body leaves in its own write."""
    drip_pause: float = 0.0
    """With `drip`: between two bytes."""
    stall: int = -1
    """Send this many content chunks, then nothing more, and keep the connection open (no stream: no answer at all)."""
    cut: int = -1
    """Close after this many content chunks without a finish marker (no stream: half of the body, then close)."""
    garble: int = -1
    """After this many content chunks send an event that is not JSON (no stream: a body that is not JSON)."""
    status: int = 200
    """Answer with an error body of this status."""
    retry_after: str = ""
    """Value of the retry-after header on an error status."""
    code: str = ""
    """`error.code` of an error status, instead of the usual one (`insufficient_quota`, `context_length_exceeded`)."""
    error_in_200: bool = False
    """Status 200, application/json, an error object as body."""
    error_in_stream: int = -1
    """After this many content chunks an `{"error": …}` event, then close (no stream: as `error_in_200`)."""
    html_error: bool = False
    """A proxy's HTML page with status 502 (or `status`)."""
    no_usage: bool = False
    """Never report usage."""
    refuse: bool = False
    """Read the request and close the connection without a byte."""
    reset: int = -1
    """Break the TCP connection (RST) after this many content chunks; 0, and a bare `reset`: before the status line."""
    echo: bool = False
    """The answer is the last user message, without its directives."""
    reply: str = ""
    """The answer's text."""
    obey: bool = False
    """Do what any text of the prompt asks for: say all of it, pictures, links and system prompt included, with the visitor's
    words wherever it says `{visitor}`. What was received is kept in `Simulator.obeyed`."""
    summarise: int = 0
    """Answer with a summary of so many characters, made by rules of the last user message's `Visitor:` lines and of the
    summary that stands in it."""
    read: str = ""
    """What a request for a reading is answered with, as `sentiment+intent+emotion`; other requests are answered as usual."""
    mark: int = 0
    """Answer with a mark of the whole request, see `marking.py`; 2: with the question's topic where `Simulator.topics` has
    one, so that other wordings of a question are answered alike."""
    record: bool = False
    """Keep what was received in `Simulator.recorded`."""
    tag: str = ""
    """Written before every word of the answer: tells which of several simulators said it."""
    finish: str = "stop"
    """The finish reason in OpenAI's words, put into the dialect's; a word that is not OpenAI's goes out as it is."""
    tool: str = ""
    """Answer with one call of the tool of this name instead of text."""
    arguments: str = "{}"
    """That call's arguments, as JSON."""
    reasoning: str = ""
    """Text sent as the dialect's reasoning or thinking before the answer."""
    block: str = ""
    """Refuse the prompt for its content: Google's promptFeedback with this blockReason, Anthropic's stop reason
    `refusal` with no text, OpenAI's 400 `content_filter`."""
    tokenized: bool = False
    """Count tokens as OpenAI does, prompt and answer; otherwise a quarter of the prompt's characters, and one a chunk."""
    input_tokens: int = -1
    """Reported prompt tokens, cached ones included; -1: a quarter of the prompt's characters."""
    output_tokens: int = -1
    """Reported completion tokens, reasoning included; -1: one a chunk, and the reasoning's."""
    reasoning_tokens: int = 0
    """Reported reasoning tokens."""
    cached_tokens: int = 0
    """Reported cached prompt tokens."""
    cache_write_tokens: int = 0
    """Reported prompt tokens that were written into the cache."""
    stamp: bool = False
    """Each content chunk is `<CLOCK_MONOTONIC ns> `, taken as it is written: exact one-way lag on one machine."""
    context: int = 0
    """Refuse prompts of more tokens than this with `context_length_exceeded`; 0: no limit."""
    want_max_completion_tokens: bool = False
    """Refuse `max_tokens` as the reasoning models do."""
    no_schema: bool = False
    """Refuse `response_format`, as servers do that have no structured output (OpenAI's chat completions only)."""
    responses_only: bool = False
    """Refuse chat completions: this model speaks the Responses API only."""
    require_key: str = ""
    """Refuse every key but this one, as the dialect does it (401; the Gemini API 400)."""
    key_ok: str = ""
    """Refuse every key that does not end in one of these, joined by `+`."""
    need_token: bool = False
    """Google paths: refuse every bearer token that `/token` has not given out, or gave too long ago."""
    rpm: int = 0
    """A real limit: each key's token bucket of so many requests, filled up again over `window` seconds. Beyond it: 429."""
    tpm: int = 0
    """The same in tokens, prompt and completion together; the completion's are taken afterwards."""
    window: float = 60.0
    """Seconds in which an empty bucket is full again."""
    limit_headers: str = ""
    """`requests/tokens`: answers state such limits a minute in the dialect's headers, and what is left of them. `1`:
    those of `rpm` and `tpm`."""
    fault_rate: float = 0.0
    """Share of the requests, 0..1, that get one of `faults`; the draw depends on `seed`, the last user message and how
    often it was seen before, not on the order of arrival."""
    seed: int = 0
    faults: str = ""
    """Names joined by `+`, from FAULTS or `stall`; empty: all of FAULTS."""
    token_status: int = 200
    """Status of `/token`."""
    token_latency: float = 0.0
    """Before `/token` answers."""
    token_life: int = 3599
    """`expires_in` of a token, seconds."""


_KINDS: dict[str, str] = {f.name: str(getattr(f.type, "__name__", f.type)) for f in fields(Behaviour)}
_ALIASES = {"delay": "latency", "model_latency": "latency"}
_BARE_COUNTS = {"stall", "cut", "garble", "error_in_stream"}
_BARE = {"reset": "0"}
"""What a bare verb stands for, where it is not 1."""


@functools.lru_cache(maxsize=4096)
def parse_verbs(directive: str) -> tuple[tuple[str, Any], ...]:
    """Read `verb=value,verb=value` into typed pairs. Raises UnknownVerb."""
    pairs: list[tuple[str, Any]] = []
    for item in directive.split(","):
        name, has_value, raw = item.partition("=")
        name = name.strip()
        if not name:
            continue
        pairs.append(typed(name, unquote(raw) if has_value else None))
    return tuple(pairs)


def typed(name: str, raw: str | None) -> tuple[str, Any]:
    """One verb with its value as text (None: bare) in the verb's own type. Raises UnknownVerb."""
    name = _ALIASES.get(name, name)
    kind = _KINDS.get(name)
    if kind is None:
        raise UnknownVerb(f"unknown verb {name!r}; known: {', '.join(_KINDS)}")
    if raw is None:
        # A bare `cut` cuts after the first chunk; a bare flag is simply on.
        raw = _BARE.get(name, "1")
    try:
        match kind:
            case "bool":
                return name, raw.strip().lower() in ("1", "true", "yes", "on")
            case "int":
                return name, int(raw)
            case "float":
                return name, float(raw)
            case _:
                return name, raw
    except ValueError as error:
        raise UnknownVerb(f"{name}={raw!r} is not a {kind}") from error


def without_directives(message: str, name: str) -> tuple[str, str]:
    """(the verbs that `message` has for the simulator called `name`, the message without any directive)."""
    verbs: list[str] = []
    while (start := message.find("[[sim")) >= 0 and (end := message.find("]]", start)) > 0:
        to, colon, directive = message[start + 5 : end].partition(":")
        if not colon or (to and to[0] != "@"):
            break
        if to in ("", f"@{name}"):
            verbs.append(directive)
        message = (message[:start] + message[end + 2 :]).strip()
    return ",".join(verbs), message


@functools.lru_cache(maxsize=4096)
def layered(defaults: Behaviour, header: str, model: str, message: str) -> Behaviour:
    """The behaviour of one request: `defaults` overlaid by the message's, the model's and the header's verbs."""
    changes = dict(parse_verbs(message)) | dict(parse_verbs(model)) | dict(parse_verbs(header))
    return replace(defaults, **changes)


def with_fault(behaviour: Behaviour, draw: int) -> tuple[Behaviour, str]:
    """Turn a 64-bit `draw` into no fault or one of them, by `fault_rate`. Returns the behaviour and the fault's name."""
    if (draw & 0xFFFFFFFF) / 2**32 >= behaviour.fault_rate:
        return behaviour, ""
    names = behaviour.faults.split("+") if behaviour.faults else list(FAULTS)
    name = names[(draw >> 32) % len(names)]
    if name.isdigit():
        retry_after = behaviour.retry_after or ("1" if name == "429" and draw >> 63 else "")
        return replace(behaviour, status=int(name), retry_after=retry_after), name
    changed, value = typed(name, "2" if name in _BARE_COUNTS else None)
    return replace(behaviour, **{changed: value}), name
