"""What a load process is asked to do, and what it tells afterwards; both cross the process border as JSON."""

from typing import Literal

import msgspec

Mode = Literal["closed", "open", "streams", "talk_closed", "talk_open", "talk_streams"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    closed, open, streams: HTTP requests to an OpenAI-compatible `url` with `model`; talk_*: messages over WebSocket
    to `url`, in conversations with the chatbot `model`. Closed loops keep `clients` busy; open loops send at
    `rate_per_s` whatever comes back; streams hold `clients` open at once.
    """

    mode: Mode
    url: str
    key: str
    model: str
    clients: int = 16
    rate_per_s: float = 0.0
    warm_s: float = 1.0
    duration_s: float = 5.0
    ramp_s: float = 3.0
    """Streams: over how long they are opened."""
    stream: bool = False
    """Open loop: ask for streams and take the time to the first piece."""
    texts: list[str] = []
    """Talk: questions to draw from, each made unique; empty: one of our own."""
    turns: int = 5
    """Talk: messages in one conversation before the next is begun."""
    cores: list[int] = []
    """Processors of the load process."""
    watch_pids: list[int] = []
    """Processes whose CPU time and memory are read at the borders of the measured window."""
    rest_pids: list[int] = []
    """Processes whose CPU time alone is read, as a second sum."""


class Result(msgspec.Struct, kw_only=True):
    """Times in ms, in order of arrival; the reader sorts them."""

    latency_ms: list[float] = []
    """Whole answers."""
    first_ms: list[float] = []
    """To the first visible piece."""
    accepted_ms: list[float] = []
    """Talk: to the receipt."""
    lag_ms: list[float] = []
    """One way, from the simulator's write to our read, of each stamped chunk."""
    late_ms: list[float] = []
    """Open loop: how late the generator itself was."""
    done: int = 0
    bad: int = 0
    errors: dict[str, int] = {}
    window_s: float = 0.0
    watched_cpu_s: float = 0.0
    rest_cpu_s: float = 0.0
    watched_waited_s: float = 0.0
    """How long the watched processes stood in line for a processor: near zero unless the machine is busy otherwise."""
    rest_waited_s: float = 0.0
    own_cpu_s: float = 0.0
    rss_growth: int = 0
    pss_growth: int = 0
    """Streams: of the watched processes, at the peak, in bytes."""

    def fault(self, what: str) -> None:
        self.bad += 1
        what = what[:160]
        if what in self.errors or len(self.errors) < 8:
            self.errors[what] = self.errors.get(what, 0) + 1
