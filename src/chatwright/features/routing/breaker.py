"""The circuit breaker of one gate (provider, key and address) as one process sees it. Pure: time comes as an argument.

Closed: calls pass and failures are counted. Open: nobody calls until `until_s`. Half-open: after that, one call, the
probe, finds out; its success closes the breaker, its failure opens it for longer. `gates.py` drives it and agrees with
the other processes through Valkey; `board.py` holds the same arithmetic in Lua.
"""

from collections import deque
from enum import StrEnum

RUN = 5
"""Failures in a row that open: at 10 % of independent failures that happens once in 100,000 calls."""
RUN_WITHIN_S = 60.0
"""A run is a run only if it lies within this: five failures of a chatbot that is asked once a day say nothing."""
SHARE = 0.5
SHARE_FROM = 8
"""Where calls succeed in between: half of at least 16 calls within WINDOW_S."""
WINDOW_S = 10.0
FIRST_OPEN_S = 1.0
LONGEST_OPEN_S = 30.0
KEY_REFUSED_S = 60.0
"""A refused key or an empty account is mended by a person: one call a minute finds out soon enough."""
LONGEST_ASKED_S = 300.0
"""What a provider may ask for at most; whoever asks for a day is asked again after this, by one probe."""
REMEMBERED_S = 30.0
"""A breaker that opens again within this after it closed opens for longer than the last time."""


class Cause(StrEnum):
    """Why a breaker is open. CUTTING: the failures came after visible text, so a first piece proves nothing."""

    FAILING = "failing"
    CUTTING = "cutting"
    LIMITED = "limited"
    REFUSED = "refused"


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    LIMITED = "limited"
    KEY_REFUSED = "key_refused"


_OPEN_STATES = {
    Cause.FAILING: State.OPEN,
    Cause.CUTTING: State.OPEN,
    Cause.LIMITED: State.LIMITED,
    Cause.REFUSED: State.KEY_REFUSED,
}


def open_s(level: int, jitter: float) -> float:
    """How long a breaker stays open the `level`-th time in a row (from 0): 1 s doubled up to 30 s, 75-100 % of it.

    `jitter` is a random number in 0..1: processes and gates that failed together do not all come back together.
    """
    return min(LONGEST_OPEN_S, FIRST_OPEN_S * 2 ** min(level, 5)) * (0.75 + 0.25 * jitter)


def asked_s(cause: Cause, retry_after_s: float | None, jitter: float) -> float:
    """The fixed time that a cause brings with it, or 0 where the level decides. Never shorter than asked for."""
    if cause is Cause.REFUSED:
        return KEY_REFUSED_S * (1 + 0.1 * jitter)
    if cause is Cause.LIMITED and retry_after_s:
        return min(LONGEST_ASKED_S, max(0.05, retry_after_s) * (1 + 0.1 * jitter))
    return 0.0


class Breaker:
    """Times are seconds on the caller's clock. `cause` None means closed: that is all that a good call looks at."""

    __slots__ = ("_failures", "cause", "good", "healed_s", "level", "probe_until_s", "since_s", "streak", "until_s")

    def __init__(self, now_s: float) -> None:
        self.cause: Cause | None = None
        self.level = 0
        self.until_s = 0.0
        self.probe_until_s = 0.0
        self.since_s = now_s
        self.healed_s = float("-inf")
        self.good = 0
        self.streak = 0
        self._failures: deque[tuple[float, int]] = deque(maxlen=64)  # (when, calls that went well before)

    def succeed(self) -> None:
        """Count a call that went well."""
        self.good += 1
        self.streak = 0

    def fail(self, now_s: float) -> bool:
        """Count a failure. Returns True when it is time to open."""
        self.streak += 1
        failures = self._failures
        failures.append((now_s, self.good))
        while failures[0][0] < now_s - RUN_WITHIN_S:
            failures.popleft()
        if min(self.streak, len(failures)) >= RUN:
            return True
        recent = [good for at_s, good in failures if at_s >= now_s - WINDOW_S]
        return len(recent) >= SHARE_FROM and len(recent) >= SHARE * (len(recent) + self.good - recent[0])

    def recent_failures(self, now_s: float) -> int:
        """Failures of the last RUN_WITHIN_S seconds, at most 64."""
        return sum(at_s >= now_s - RUN_WITHIN_S for at_s, _ in self._failures)

    def next_level(self, now_s: float, cause: Cause) -> int:
        """The level of an opening now: one more for a failed probe or a fault that came back, else 0."""
        if self.cause is not None:
            return self.level + 1
        came_back = cause in (Cause.FAILING, Cause.CUTTING) and now_s - self.healed_s < REMEMBERED_S
        return self.level + 1 if came_back else 0

    def open(self, now_s: float, cause: Cause, for_s: float, level: int) -> None:
        """Let nobody pass for `for_s` seconds; then a probe."""
        if self.cause is None:
            self.since_s = now_s
        self.cause = cause
        self.level = level
        self.until_s = now_s + for_s
        self.probe_until_s = 0.0
        self.streak = 0

    def close(self, now_s: float) -> None:
        """Let everybody pass."""
        if self.cause is None:
            return
        self.level = self.level if self.cause in (Cause.FAILING, Cause.CUTTING) else 0
        self.cause = None
        self.healed_s = self.since_s = now_s
        self.until_s = self.probe_until_s = 0.0
        self.streak = 0

    def wait_s(self, now_s: float) -> float:
        """Seconds until a call may try to pass; 0.0 when it may now."""
        return 0.0 if self.cause is None else max(0.0, self.until_s - now_s, self.probe_until_s - now_s)

    def state(self, now_s: float) -> State:
        if self.cause is None:
            return State.CLOSED
        return _OPEN_STATES[self.cause] if now_s < self.until_s else State.HALF_OPEN
