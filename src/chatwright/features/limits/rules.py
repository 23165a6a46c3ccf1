"""The arithmetic of rate limits: GCRA, a bucket that holds a minute's worth and fills evenly. Pure.

A bucket is one number, the time at which it will be full again. A limit of N a minute lets N pass at once, and N + N·t/60
in any t seconds. `admit` is what `store.py` runs in Valkey for all processes; `local.py` runs it here while Valkey is
away. Times are microseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chatwright.domain.limits import Allowance, Limits, Standing

MINUTE_US = 60_000_000
SLACK = 0.01
"""Of one unit: times are rounded, and a bucket of N shall let N pass within the same microsecond."""
CONCURRENCY_WAIT_S = 1.0
"""When an answer ends nobody knows: whoever met a limit on concurrency asks again after this."""

ScopeKind = Literal["tenant", "chatbot", "visitor", "key"]


@dataclass(frozen=True, slots=True)
class Rule:
    """The limits of one scope that a request has to pass. `id` is unique within the tenant and the kind."""

    kind: ScopeKind
    id: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit per minute as a request meets it: it takes `need` units."""

    key: str
    kind: ScopeKind
    limit: int
    need: int
    tokens: bool = False


def interval_us(limit: int) -> float:
    """The time in which a bucket gets one unit back."""
    return MINUTE_US / limit


def admit(full_at_us: Sequence[float], now_us: float, buckets: Sequence[Bucket]) -> tuple[int, float, list[float]]:
    """Take from all buckets or from none.

    `full_at_us`: the time at which each bucket is full again, 0.0 for an unknown one. Returns (place, wait, times): the
    place of the bucket that must be waited for longest, counted from 1 (0: let in), the microseconds to wait for it, and
    the buckets afterwards. A need larger than the whole bucket passes a full one; the debt is waited for afterwards.
    """
    place, wait_us = 0, 0.0
    for at, bucket in enumerate(buckets):
        interval = interval_us(bucket.limit)
        debt = max(full_at_us[at] - now_us, 0.0)
        short = debt + (min(bucket.need, bucket.limit) - SLACK) * interval - MINUTE_US
        if short > wait_us:
            place, wait_us = at + 1, short
    if place:
        return place, wait_us, list(full_at_us)
    taken = [
        max(at, now_us) + bucket.need * interval_us(bucket.limit)
        for at, bucket in zip(full_at_us, buckets, strict=True)
    ]
    return 0, 0.0, taken


def correct(full_at_us: float, now_us: float, *, limit: int, tokens: int) -> float:
    """The bucket after `tokens` more were used than had been taken (less than 0: were not used)."""
    return max(full_at_us, now_us) + tokens * interval_us(limit)


def standing_of(buckets: Sequence[Bucket], debts_us: Sequence[float]) -> Standing:
    """The tightest limits on requests and on tokens. `debts_us`: how long each bucket takes to be full again."""
    requests: Allowance | None = None
    tokens: Allowance | None = None
    for bucket, debt in zip(buckets, debts_us, strict=True):
        remaining = max(0, int((MINUTE_US - debt) / interval_us(bucket.limit) + SLACK))
        if bucket.tokens:
            if tokens is None or remaining < tokens.remaining:
                tokens = Allowance(bucket.limit, remaining, debt / 1e6)
        elif requests is None or remaining < requests.remaining:
            requests = Allowance(bucket.limit, remaining, debt / 1e6)
    return Standing(requests, tokens)
