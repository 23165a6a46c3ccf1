"""One fetch of an answer, by one question for all that are equal to it. Made by `exact.py`, ended by `pipeline/caching.py`."""

import asyncio
from enum import Enum
from typing import Protocol

from chatwright.features.cache.entry import CachedAnswer

ALONE_S = 2.0
"""For how long after an answer that is not for others nobody waits for the next one."""


class _Tier(Protocol):
    def keep(self, flight: "Flight", entry: CachedAnswer, ttl_s: float) -> None: ...
    def give_up(self, flight: "Flight", *, alone_s: float) -> None: ...
    def landed(self, flight: "Flight") -> None: ...


class Outcome(Enum):
    """How a flight ended without an answer."""

    AGAIN = "the leader failed: the next one leads"
    ALONE = "there is nothing to share: everybody goes on"


class Flight:
    """The fetching of one answer, by one question for all that are equal. End it with `land`, `part` or `fail`; the
    first counts. `alone` flights have nobody behind them."""

    __slots__ = ("_tier", "alone", "ended", "epoch", "key", "owner", "shared", "since_s", "token")

    def __init__(self, tier: _Tier, owner: str, key: str, token: str, epoch: int, *, alone: bool) -> None:
        self._tier = tier
        self.owner = owner
        self.key = key
        self.token = token
        self.epoch = epoch
        self.alone = alone
        self.ended = False
        self.since_s = asyncio.get_running_loop().time()
        self.shared: asyncio.Future[CachedAnswer | Outcome] = asyncio.get_running_loop().create_future()

    def land(self, entry: CachedAnswer, ttl_s: float) -> None:
        """Keep the answer, and give it to all that wait for it."""
        if not self.ended:
            self._end(entry)
            self._tier.keep(self, entry, ttl_s)

    def part(self) -> None:
        """The answer is not for others: all that wait go on by themselves, at once."""
        if not self.ended:
            self._end(Outcome.ALONE)
            if not self.alone:
                self._tier.give_up(self, alone_s=ALONE_S)

    def fail(self) -> None:
        """There is no answer: one of those that wait takes over."""
        if not self.ended:
            self._end(Outcome.AGAIN)
            if not self.alone:
                self._tier.give_up(self, alone_s=0)

    def _end(self, outcome: CachedAnswer | Outcome) -> None:
        self.ended = True
        self._tier.landed(self)
        self.shared.set_result(outcome)
