"""A provider's limits on one key, requests and tokens per minute, kept by two leaky buckets (GCRA). Pure.

`take` is the arithmetic; `board.py` runs the same in Valkey for all processes together, `gates.py` runs this one while
Valkey is away. A bucket is one number, the time at which it will be empty again.
"""

import math
from dataclasses import dataclass

WINDOW_S = 60.5
"""A minute, and the quarter of a second for which a process may hold permits that it was given."""
BURST_SHARE = 5
"""One in so many of a minute's permits may be used at once; the rest comes evenly. Both together make the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """What a key may do in any minute; 0 means unknown or none."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """One bucket: `interval_s` per unit, `burst` units at once. `interval_s` 0 means that nothing is limited."""

    interval_s: float = 0.0
    burst: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """`permits` calls may be made, with `tokens` tokens together; none: ask again in `wait_s` seconds.

    `requests_at_s`, `tokens_at_s` are the buckets afterwards.
    """

    permits: int
    tokens: int
    wait_s: float
    requests_at_s: float
    tokens_at_s: float


NO_PACE = Pace()


def pace_of(limit: int, *, stated: bool = False) -> Pace:
    """The bucket for a limit per minute.

    An operator's limit is kept in every window: no more than `limit` units pass in less than WINDOW_S. A small one is
    mostly burst, so that a key with 3 requests a minute still takes two questions in a row. A limit that the provider
    `stated` is its own bucket, of a minute's size, and it says so itself when the bucket is empty.
    """
    if limit <= 0:
        return NO_PACE
    if stated:
        return Pace(60.0 / limit, limit)
    burst = max(math.ceil(limit / BURST_SHARE), min(math.ceil(limit / 2), 5))
    return Pace(WINDOW_S / (limit - burst + 1), burst)


def take(
    requests_at_s: float,
    tokens_at_s: float,
    now_s: float,
    *,
    want: int,
    need: int,
    mean: int,
    correct: int,
    requests: Pace,
    tokens: Pace,
) -> Grant:
    """Take up to `want` permits: the first for a call of `need` tokens, the others for calls of `mean` tokens each.

    `correct`: tokens that earlier calls used beyond their estimate (less than 0: did not use). A call larger than the
    whole bucket passes when the bucket is empty, and the debt is waited for afterwards. Both limits or nothing.
    """
    r = max(requests_at_s, now_s)
    t = max(tokens_at_s + correct * tokens.interval_s, now_s)
    granted, wait_s = want, 0.0
    if requests.interval_s:
        free = math.floor((now_s + requests.burst * requests.interval_s - r) / requests.interval_s + 1e-6)
        granted = min(granted, free)
        wait_s = r - now_s - (requests.burst - 1) * requests.interval_s
    if tokens.interval_s:
        free = math.floor((now_s + tokens.burst * tokens.interval_s - t) / tokens.interval_s + 1e-6)
        first = min(need, tokens.burst)
        granted = min(granted, 0 if free < first else 1 + max(0, free - need) // max(1, mean))
        wait_s = max(wait_s, t - now_s - (tokens.burst - first) * tokens.interval_s)
    if granted <= 0:
        return Grant(permits=0, tokens=0, wait_s=max(0.0, wait_s), requests_at_s=r, tokens_at_s=t)
    spent = need + (granted - 1) * mean
    return Grant(
        permits=granted,
        tokens=spent,
        wait_s=0.0,
        requests_at_s=r + granted * requests.interval_s,
        tokens_at_s=t + spent * tokens.interval_s,
    )
