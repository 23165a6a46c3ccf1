"""The simulator's own record of every request that reached it: the outside witness of tests, drills and benches."""

import os
import time
from collections import deque
from pathlib import Path

import msgspec


class Call(msgspec.Struct, kw_only=True, gc=False):
    """One request. `ended` is empty while it runs, then complete | cut | client_closed | refused | reset | error."""

    n: int
    """Unique and ascending, also over restarts on one log file."""
    path: str
    at: float
    """Arrival, seconds since the epoch."""
    at_mono_ns: int
    """Arrival on CLOCK_MONOTONIC."""
    model: str = ""
    stream: bool = False
    sha256: str = ""
    """Of the whole last user message, in UTF-8."""
    head: str = ""
    """The first 80 characters of the last user message."""
    call_id: str | None = None
    """The request's `x-chatwright-call-id`."""
    key: str = ""
    """The last 4 characters of the caller's key; empty without one."""
    fault: str = ""
    """The fault that `fault_rate` drew."""
    status: int = 200
    ended: str = ""
    chunks_sent: int = 0
    """Content chunks written (embeddings: inputs)."""
    text: str = ""
    """The visible text that was written."""
    took_ms: float = 0.0
    input_tokens: int = 0
    """Reported, or to be reported had it ended well; cached and cache-written ones included."""
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    pieces: int = 0
    """Content chunks that the whole answer has."""
    answers: bool = False
    """It is a good answer, not an error: it costs something."""
    begun: bool = False
    """Something of the answer was written: of a stream the headers and all that comes before the text."""
    billed_input_tokens: int = 0
    billed_output_tokens: int = 0
    """What the provider charges for, known once the call has ended: `bill` says how."""


def bill(call: Call) -> tuple[int, int]:
    """(input tokens, output tokens) that an ended call is charged.

    A complete answer: what it reports. An error, or a connection closed without a byte of an answer: nothing. A stream
    that broke off: the prompt, and the share of the output that had been written, whole tokens; it is noticed at once
    that nobody listens. An answer in one piece: all of it, because it is written before anybody can be found gone.
    """
    if not call.answers or (call.ended in ("refused", "reset") and not call.begun):
        return 0, 0
    if call.ended == "complete" or not call.stream:
        return call.input_tokens, call.output_tokens
    if not call.begun:
        return call.input_tokens, 0
    visible = max(0, call.output_tokens - call.reasoning_tokens)
    said = -(-visible * min(call.chunks_sent, call.pieces) // call.pieces) if call.pieces else visible
    return call.input_tokens, min(call.output_tokens, call.reasoning_tokens + said)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Call)


class CallLog:
    """Keeps the last `limit` calls in memory and, with `path`, appends each to a file.

    A call that is answered at once is one line; any other has a line on arrival and one when it ended, so a kill of
    the simulator loses no arrival. `read_log_file` puts them together.
    """

    def __init__(self, path: Path | None = None, *, limit: int = 200_000) -> None:
        self._calls: deque[Call] = deque(maxlen=limit)
        self._file: int | None = None
        self.next_n = 1
        self.requests = 0
        self.ends: dict[str, int] = {}
        self.open_now = 0
        self.open_most = 0
        if path is not None:
            if path.exists():
                self.next_n = max((call.n for call in read_log_file(path)), default=0) + 1
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def arrived(self, call: Call) -> None:
        """Take a call in; `n` is given here."""
        call.n = self.next_n
        self.next_n += 1
        self.requests += 1
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        self._calls.append(call)

    def write(self, call: Call) -> None:
        """Append the call as it stands to the file, if there is one (O_APPEND: it survives our kill)."""
        if self._file is not None:
            os.write(self._file, _encoder.encode(call) + b"\n")

    def ended(self, call: Call, how: str) -> None:
        """Close a call; only the first end counts."""
        if call.ended:
            return
        call.ended = how
        call.billed_input_tokens, call.billed_output_tokens = bill(call)
        call.took_ms = (time.monotonic_ns() - call.at_mono_ns) / 1e6
        self.open_now -= 1
        self.ends[how] = self.ends.get(how, 0) + 1
        self.write(call)

    def calls(self) -> list[Call]:
        """A copy of what is in memory, oldest first."""
        return list(self._calls)

    def lines(self) -> bytes:
        """The same as JSON lines."""
        return b"".join(_encoder.encode(call) + b"\n" for call in self._calls)

    def reset(self) -> None:
        """Forget all calls and counts (the file stays). Numbers go on, so that no number is used twice."""
        self._calls.clear()
        self.requests = 0
        self.ends.clear()
        self.open_most = self.open_now

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_log_file(path: Path) -> list[Call]:
    """Read a log file: one Call per number, as its last line says, ascending. A half-written last line is skipped."""
    calls: dict[int, Call] = {}
    for line in path.read_bytes().split(b"\n"):
        try:
            call = _decoder.decode(line)
        except msgspec.DecodeError:
            continue
        calls[call.n] = call
    return [calls[n] for n in sorted(calls)]
