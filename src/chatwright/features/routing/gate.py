"""One gate: everything this process knows about one provider, key and address. State only; `gates.py` drives it."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from chatwright.domain.providers import StatedLimits
from chatwright.features.routing.breaker import Breaker, State
from chatwright.features.routing.limits import KeyLimits
from chatwright.features.routing.permits import Permits

_OTHERS = re.compile(r"[^A-Za-z0-9_-]")
SAMPLES = 64
SAMPLES_FOR_P95 = 20
KEPT_S = 60.0
"""A key's limits differ by model: the largest one stated within this counts, and the provider refuses beyond its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """A gate as health and metrics show it. `since` is Unix time, `retry_in_s` 0.0 when a call may pass or probe.

    `limits` are the ones in force, `learned` the ones that the provider stated. `p95_first_delta_ms` is None below 20
    samples. `recent_failures` are those of the last minute in this process.
    """

    gate: str
    provider: str
    state: State
    since: float
    retry_in_s: float
    recent_failures: int
    p95_first_delta_ms: float | None
    limits: KeyLimits
    learned: KeyLimits


class Admission:
    """May a call be made? If so, it is handed back to the gates as the call goes on; each ending is told once.

    `reason` of a refusal: breaker_open, rate_limited or key_refused, with `wait_s` until another look is worth it
    (0.0: the provider stalls, see Gates.admit).
    """

    __slots__ = ("gate", "ok", "reason", "silent", "token", "tokens", "wait_s")

    def __init__(
        self,
        gate: "Gate | None",
        *,
        ok: bool = True,
        wait_s: float = 0.0,
        reason: str = "",
        token: str = "",
        tokens: int = 0,
    ) -> None:
        self.gate = gate
        self.ok = ok
        self.wait_s = wait_s
        self.reason = reason
        self.token = token
        self.tokens = tokens
        self.silent = ok and gate is not None  # nothing has come from the provider yet

    @property
    def probe(self) -> bool:
        """The call decides for everybody whether the breaker closes."""
        return bool(self.token)


class Delays:
    """The last SAMPLES delays, in seconds, and their 95th percentile."""

    __slots__ = ("_at", "_fresh", "_kept", "_p95_s")

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._at = 0
        self._fresh = 0
        self._p95_s: float | None = None

    def add(self, seconds: float) -> None:
        if len(self._kept) < SAMPLES:
            self._kept.append(seconds)
        else:
            self._kept[self._at] = seconds
            self._at = (self._at + 1) % SAMPLES
        self._fresh += 1

    @property
    def p95_s(self) -> float | None:
        """None below SAMPLES_FOR_P95. Follows within 8 samples: sorting is not for every call."""
        if len(self._kept) < SAMPLES_FOR_P95:
            return None
        if self._p95_s is None or self._fresh >= 8:
            self._fresh = 0
            self._p95_s = sorted(self._kept)[int(len(self._kept) * 0.95)]
        return self._p95_s


class Learned:
    """The largest limit a minute that a provider stated lately; 0 until it stated one."""

    __slots__ = ("_heard_s", "limit")

    def __init__(self) -> None:
        self.limit = 0
        self._heard_s = 0.0

    def hear(self, limit: int | None, now_s: float) -> bool:
        """Returns True if the limit in force changed. Servers that do not limit state 0 or -1."""
        if limit is None or limit <= 0:
            return False
        if limit == self.limit:
            self._heard_s = now_s
            return False
        if limit < self.limit and now_s - self._heard_s < KEPT_S:
            return False
        self.limit, self._heard_s = limit, now_s
        return True


class Gate:
    """`digest` names the gate in Valkey: no address or key shows there."""

    __slots__ = (
        "account",
        "asking",
        "breaker",
        "calls",
        "calls_seen",
        "configured",
        "delays",
        "digest",
        "hear",
        "learned_requests",
        "learned_tokens",
        "limits",
        "name",
        "permits",
        "provider",
        "sign_s",
        "unshared",
        "used_s",
        "waiting",
        "wakers",
        "whole_delays",
    )

    def __init__(self, name: str, provider: str, hear: Callable[[StatedLimits], None], now_s: float) -> None:
        self.name = name
        self.account = ""
        self.digest = digest_of(name)
        self.provider = provider
        self.hear = hear
        self.breaker = Breaker(now_s)
        self.configured: KeyLimits | None = None
        self.learned_requests = Learned()
        self.learned_tokens = Learned()
        self.limits = KeyLimits()
        self.permits: Permits | None = None
        self.delays = Delays()  # to the first visible piece of a stream
        self.whole_delays = Delays()  # to an answer in one piece
        self.waiting = 0  # calls that have heard nothing yet
        self.sign_s = now_s
        self.asking = False  # whether a call asks to be the probe
        self.unshared = False  # opened here, and not yet known to be in Valkey
        self.wakers: set[asyncio.Future[None]] = set()
        self.calls = self.calls_seen = 0
        self.used_s = now_s

    def close(self, now_s: float) -> None:
        """Close the breaker and let everybody who waits for it look."""
        self.unshared = False
        self.breaker.close(now_s)
        self.wake()

    def wake(self) -> None:
        """Let those who wait for the gate look again."""
        for waker in self.wakers:
            if not waker.done():
                waker.set_result(None)


def digest_of(name: str) -> str:
    """`provider:owner:hash`: what health shows of a gate that this process never used. No address is in it, no key."""
    provider, _, rest = name.partition("|")
    owner = rest.partition("|")[0]
    return f"{_plain(provider)}:{_plain(owner)}:{_hash(name)}"


def provider_and_owner(digest: str) -> tuple[str, str]:
    """What `digest_of` left readable."""
    provider, _, rest = digest.partition(":")
    return provider, rest.partition(":")[0]


def _plain(text: str) -> str:
    return _OTHERS.sub("-", text)[:64]


def _hash(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
