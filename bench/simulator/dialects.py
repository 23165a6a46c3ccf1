"""What every dialect's answers have in common. Pure; the dialects stand beside this file, `player.py` plays them.

A `Dialect` is made for one answer and keeps count of its events; faults are neutral until a dialect puts them in words.
"""

import hashlib
import itertools
import math
from typing import ClassVar, Literal, NamedTuple, Protocol

import msgspec

from bench.simulator.behaviour import Behaviour
from bench.simulator.limits import Standing
from bench.simulator.log import Call
from bench.simulator.requests import Asked

DEFAULT_REPLY = "This answer comes from the provider simulator, which only pretends to think."
CREATED = 1_780_000_000

encode = msgspec.json.Encoder().encode

Kind = Literal[
    "auth", "permission", "rate", "quota", "context", "model", "filter", "parameter", "responses_only", "overloaded",
    "server", "invalid",
]  # fmt: skip


class Fault(NamedTuple):
    """An error in no dialect. `wait` is what `retry-after` shall say; empty: nothing."""

    status: int
    kind: Kind
    message: str = ""
    code: str = ""
    wait: str = ""


class Failed(NamedTuple):
    """An error in a dialect: status line, further header lines, body."""

    status: int
    headers: bytes
    body: bytes


class Dialect(Protocol):
    """How one provider's answer looks. Streams are made of events, not yet framed as HTTP chunks."""

    stream_type: ClassVar[bytes]
    """Content type of a stream."""
    garbled: ClassVar[bytes]
    """An event that is broken off in the middle."""

    def __init__(self, call: Call, behaviour: Behaviour) -> None: ...

    def opening(self) -> list[bytes]:
        """Events before the first text."""
        ...

    def piece(self, text: str) -> bytes:
        """One event with visible text."""
        ...

    def closing(self, *, usage: bool) -> list[bytes]:
        """Finish marker, usage and end of stream; the call holds the text by now."""
        ...

    def blocked(self, *, usage: bool) -> Failed | list[bytes]:
        """The prompt is refused for its content: an error, or the events of a stream that says so."""
        ...

    def body(self, text: str) -> bytes:
        """A whole answer as JSON; for a blocked prompt `text` is empty."""
        ...

    def failed(self, fault: Fault) -> Failed:
        """An error instead of an answer."""
        ...

    def error_event(self) -> bytes:
        """An error inside a stream."""
        ...

    def headers(self, requests: Standing | None, tokens: Standing | None) -> bytes:
        """Header lines of every answer: request id and limits."""
        ...

    def embeddings(self, asked: Asked) -> bytes:
        """The vectors of an embeddings request."""
        ...


def fault_of(status: int, code: str) -> Fault:
    """The fault that `status` and OpenAI's word `code` stand for."""
    words: dict[str, Kind] = {
        "insufficient_quota": "quota",
        "context_length_exceeded": "context",
        "content_filter": "filter",
        "model_not_found": "model",
        "invalid_api_key": "auth",
    }
    kinds: dict[int, Kind] = {
        401: "auth",
        402: "quota",
        403: "permission",
        404: "model",
        413: "context",
        429: "rate",
        529: "overloaded",
    }
    kind = words.get(code) or kinds.get(status) or ("server" if status >= 500 else "invalid")
    return Fault(status, kind, code=code)


def pieces_of(text: str, count: int, *, own_text: bool) -> list[str]:
    """Cut the answer into `count` content chunks (0: one a word).

    Without a text of its own (`own_text` False) an answer of `count` chunks is `count` numbered words, so that its
    length follows from the number of chunks; a given text shorter than `count` characters makes fewer chunks.
    """
    if count and not own_text:
        return [f"token{i} " for i in range(1, count + 1)]
    if count:
        count = min(count, len(text))
        edges = [len(text) * i // count for i in range(count + 1)]
        return [text[a:b] for a, b in itertools.pairwise(edges)]
    words = text.split(" ")
    return [word if i == 0 else " " + word for i, word in enumerate(words)]


def tagged(text: str, tag: str) -> str:
    """The text with `tag` before every word."""
    return " ".join(tag + word for word in text.split())


def vector(text: str, size: int) -> list[float]:
    """A unit vector of `size` numbers that depends on the text alone."""
    raw = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(size)
    values = [byte - 127.5 for byte in raw]
    length = math.sqrt(sum(value * value for value in values))
    return [round(value / length, 6) for value in values]


def retry_headers(wait: str) -> bytes:
    """`retry-after`, if there is anything to say."""
    return b"retry-after: %b\r\n" % wait.encode("latin-1", "replace") if wait else b""
