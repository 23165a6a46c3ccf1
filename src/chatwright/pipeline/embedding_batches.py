"""A long list embedded in batches that are stored as they come. Called by the flows that index and re-embed.

Two batches are under way at a time: one is stored while the next is embedded. Their size follows the embedder's speed, so
that a slow one loses little when it is killed, and a fast one is asked seldom.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from chatwright.adapters.models import Vectors
from chatwright.domain.errors import Unavailable

BATCH_S = 4.0
FIRST_BATCH, LARGEST_BATCH = 16, 256
BATCHES_AT_ONCE = 2

T = TypeVar("T")


class Unfinished(Unavailable):
    """The work takes longer than one run may: what was done is stored, and the next run goes on there.

    The job costs no attempt and comes back after `delay_s`.
    """

    def __init__(self, message: str, *, delay_s: float = 0.0) -> None:
        super().__init__(message)
        self.delay_s = delay_s


async def in_batches(
    items: Sequence[T],
    embed: Callable[[Sequence[T]], Awaitable[Vectors]],
    store: Callable[[Sequence[T], Vectors], Awaitable[bool]],
    *,
    until_s: float,
) -> bool:
    """Embed and store all items. False: `store` said that they are not wanted any more, and the rest was left.

    `until_s` is on time.monotonic's clock: no batch begins after it but the first one. Raises Unfinished then, with all
    that was begun stored; and what `embed` and `store` raise.
    """
    queue = _Queue(items)
    storing = asyncio.Lock()
    wanted = True

    async def work() -> None:
        nonlocal wanted
        while wanted and (batch := queue.take(until_s)):
            began_s = time.monotonic()
            vectors = await embed(batch)
            queue.adapt(len(batch), time.monotonic() - began_s)
            async with storing:  # one at a time, so that what is stored can be counted
                wanted = wanted and await store(batch, vectors)

    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            for number in range(BATCHES_AT_ONCE):
                tasks.create_task(work(), name=f"embed-batches-{number}")
    except BaseExceptionGroup as group:
        failure = group.exceptions[0]
    if failure is not None:
        raise failure
    if wanted and queue.left:
        raise Unfinished(f"{queue.left:,} of {len(items):,} passages are still to be embedded")
    return wanted


class _Queue(Generic[T]):
    """Items handed out in batches of a size that takes about `BATCH_S`."""

    def __init__(self, items: Sequence[T]) -> None:
        self._items = items
        self._at = 0
        self._size = FIRST_BATCH

    @property
    def left(self) -> int:
        return len(self._items) - self._at

    def take(self, until_s: float) -> Sequence[T]:
        if self._at and time.monotonic() >= until_s:
            return ()
        batch = self._items[self._at : self._at + self._size]
        self._at += len(batch)
        return batch

    def adapt(self, size: int, took_s: float) -> None:
        fitting = int(size * BATCH_S / max(took_s, 0.001))
        # At most twice as many at once: one quick answer may have been luck.
        self._size = max(4, min(fitting, 2 * self._size, LARGEST_BATCH))
