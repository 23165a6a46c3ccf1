"""The same limits in this process alone, for the time that Valkey is away. They go on from what Valkey said last, so that
its absence fills no bucket. Called by `service.py`."""

import math
from collections.abc import Sequence

from chatwright.features.limits.rules import CONCURRENCY_WAIT_S, Bucket, admit, correct

KEPT_AT_MOST = 20_000


class LocalLimits:
    """Buckets and leases in memory. Bounded: what is full or has ended is forgotten when there are many."""

    def __init__(self) -> None:
        self._full_at_us: dict[str, float] = {}
        self._leases: dict[str, dict[str, float]] = {}

    def admit(
        self, now_us: float, buckets: Sequence[Bucket], leases: Sequence[tuple[str, int]], member: str, hold_us: float
    ) -> tuple[int, float, list[float]]:
        """Like `store.ADMIT`: (place of what refuses or 0, microseconds to wait, debts of the buckets)."""
        before = [self._full_at_us.get(bucket.key, 0.0) for bucket in buckets]
        place, wait_us, after = admit(before, now_us, buckets)
        for at, (key, limit) in enumerate(leases):
            held = sum(1 for until_us in self._leases.get(key, {}).values() if until_us > now_us)
            if held >= limit and wait_us < CONCURRENCY_WAIT_S * 1e6:
                place, wait_us = len(buckets) + at + 1, CONCURRENCY_WAIT_S * 1e6
        if place == 0:
            self._make_room(now_us)
            for bucket, full_at_us in zip(buckets, after, strict=True):
                self._full_at_us[bucket.key] = full_at_us
            for key, _ in leases:
                self._leases.setdefault(key, {})[member] = now_us + hold_us
        else:
            after = before
        return place, math.ceil(wait_us), [max(0.0, at - now_us) for at in after]

    def learn(self, now_us: float, buckets: Sequence[Bucket], debts_us: Sequence[float]) -> None:
        """Remember how the shared buckets stand: `debts_us` says how long each takes to be full again."""
        if len(self._full_at_us) >= KEPT_AT_MOST:
            self._make_room(now_us)
        for bucket, debt_us in zip(buckets, debts_us, strict=True):
            self._full_at_us[bucket.key] = now_us + debt_us

    def correct(self, now_us: float, key: str, *, limit: int, tokens: int) -> None:
        """Take `tokens` more from a bucket, or give them back (less than 0)."""
        full_at_us = self._full_at_us.get(key)
        if full_at_us is not None:
            self._full_at_us[key] = correct(full_at_us, now_us, limit=limit, tokens=tokens)

    def release(self, key: str, member: str) -> None:
        held = self._leases.get(key)
        if held is not None:
            held.pop(member, None)
            if not held:
                del self._leases[key]

    def _make_room(self, now_us: float) -> None:
        if len(self._full_at_us) >= KEPT_AT_MOST:
            full = sorted(self._full_at_us.items(), key=lambda entry: entry[1])[: KEPT_AT_MOST // 2]
            for key, _ in full:
                del self._full_at_us[key]
        if len(self._leases) >= KEPT_AT_MOST:
            for key, held in list(self._leases.items()):
                if all(until_us <= now_us for until_us in held.values()):
                    del self._leases[key]
