"""One process's share of a key's limits: permits taken in slices from the bucket that all processes share.

A quiet process asks Valkey once a call; a busy one takes what it is about to use in the next tenth of a second, so it
pays one round trip for that time and not one a call. What is not used lapses. While Valkey is away the same arithmetic
runs on a bucket of this process alone. Owned by `gates.py`, one a gate whose limits are known.
"""

import asyncio
import math
from collections.abc import Callable

from chatwright.domain.errors import Unavailable
from chatwright.features.routing.board import Board
from chatwright.features.routing.limits import Pace, take

SLICE_S = 0.1
LAPSE_S = 0.25
LOOK_AGAIN_S = 0.1
"""After a refusal nobody asks Valkey again for this long; a smaller call may fit where a large one did not."""
RATE_OVER_S = 0.3
"""What "lately" means for the rate that sizes a slice: a burst is followed, an hour's silence is not carried over."""


class Permits:
    """Keeps requests and tokens of one gate within its limits. Times are seconds on the loop's clock."""

    def __init__(self, board: Board, digest: str, clock: Callable[[], float]) -> None:
        self.requests = Pace()
        self.tokens = Pace()
        self._board = board
        self.digest = digest
        self._clock = clock
        self._left = 0
        self._tokens_left = 0
        self._lapse_s = 0.0
        self._dry_until_s = 0.0
        self._free_at_s = 0.0
        self._taking: asyncio.Future[None] | None = None
        self._waiting = 0
        self._taken_at_s = clock()
        self._since_take = 0
        self._rate = 0.0  # calls a second, lately
        self._mean = 0.0  # tokens a call, lately
        self._owed = 0
        self._local = (0.0, 0.0)

    async def admit(self, tokens: int) -> float:
        """Use one permit for a call of about `tokens` tokens. Returns 0.0, or the seconds after which to ask again."""
        self._since_take += 1
        while True:
            now = self._clock()
            if self._left > 0 and now < self._lapse_s and (not self.tokens.burst or self._tokens_left >= tokens):
                self._left -= 1
                self._tokens_left -= tokens
                return 0.0
            if now < self._dry_until_s:
                return max(self._free_at_s - now, 0.01)
            if self._taking is None:
                await self._take(tokens, now)
                continue
            self._waiting += 1
            try:
                await asyncio.shield(self._taking)
            finally:
                self._waiting -= 1

    def correct(self, reserved: int, used: int) -> None:
        """Note how many tokens a call used in truth; told to the bucket with the next take."""
        if self.tokens.burst:
            self._owed += used - reserved

    async def settle(self) -> None:
        """Tell corrections that no take has carried for a second: another process may be waiting for these tokens."""
        if self._owed and self._taking is None and self._clock() - self._taken_at_s > 1.0:
            await self._ask(want=0, need=0)

    async def _take(self, tokens: int, now: float) -> None:
        taking = self._taking = asyncio.get_running_loop().create_future()
        try:
            elapsed_s = max(now - self._taken_at_s, 0.001)
            self._rate += (1 - math.exp(-elapsed_s / RATE_OVER_S)) * (self._since_take / elapsed_s - self._rate)
            self._mean = 0.9 * self._mean + 0.1 * tokens if self._mean else float(tokens)
            self._taken_at_s, self._since_take = now, 0
            want = max(round(self._rate * SLICE_S), 1 + self._waiting)
            for burst in (self.requests.burst, self.tokens.burst // max(1, round(self._mean))):
                want = min(want, max(1, burst // 4)) if burst else want
            permits, granted, wait_s = await self._ask(want=want, need=tokens)
            now = self._clock()
            if permits == 0:
                self._free_at_s = now + wait_s
                self._dry_until_s = now + min(wait_s, LOOK_AGAIN_S)
                return
            if now >= self._lapse_s:
                self._left = self._tokens_left = 0
            self._left += permits
            self._tokens_left += granted
            self._lapse_s = now + LAPSE_S
        finally:
            self._taking = None
            if not taking.done():
                taking.set_result(None)

    async def _ask(self, *, want: int, need: int) -> tuple[int, int, float]:
        owed, self._owed = self._owed, 0
        mean = max(1, round(self._mean))
        if self._board.connected:
            try:
                async with self._board.in_time():
                    return await self._board.take(
                        self.digest,
                        want=want,
                        need=need,
                        mean=mean,
                        correct=owed,
                        requests=self.requests,
                        tokens=self.tokens,
                    )
            except Unavailable:
                pass
        grant = take(
            *self._local,
            self._clock(),
            want=want,
            need=need,
            mean=mean,
            correct=owed,
            requests=self.requests,
            tokens=self.tokens,
        )
        self._local = (grant.requests_at_s, grant.tokens_at_s)
        return grant.permits, grant.tokens, grant.wait_s
