"""How an import makes way for visitors: in small steps with rests between them, while somebody is being answered.

A chat takes some 25 ms of a machine, so looking at who is being answered this very moment finds nobody most of the time: the
queues are asked when anything last happened to a chat. Used by `bulk.py` and `import_summaries.py`, one for each leg.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from chatwright.adapters.queue import QueueAdmin, QueueName
from chatwright.domain.errors import Unavailable
from chatwright.pipeline.services import Services

LOOK_S = 0.25
CALM_S = 30.0
"""So long nobody may have been answered before an import goes at full speed: a visitor who comes then waits for what was
begun, and that should not be every visitor of a quiet hour."""
READING_REST, WRITING_REST = 3.0, 20.0
"""Rests in times of what a step took. A text that is read leaves the event loop and the other processor alone; a unit that is
written holds the loop for some milliseconds and the log of the database for more."""
_REST_AT_MOST_S = 1.0


class Courtesy:
    """Whether visitors are being answered, and the rests that an import takes then. For one event loop."""

    def __init__(self, app: Services) -> None:
        self._admin = QueueAdmin(app.valkey)
        self._looked_at = float("-inf")
        self._imports = 1
        self._looking = asyncio.Lock()
        self._one_at_a_time = asyncio.Lock()
        self.is_making_way = False
        """As of the last look; other threads may read it."""

    async def are_visitors_waiting(self) -> bool:
        """Looks at the queues at most four times a second; Valkey being away counts as nobody."""
        async with self._looking:  # who asks meanwhile waits for the look and does not act on the one before
            if time.monotonic() - self._looked_at > LOOK_S:
                self.is_making_way = await self._look()
                self._looked_at = time.monotonic()
        return self.is_making_way

    async def _look(self) -> bool:
        try:
            queues = await self._admin.activity()
        except Unavailable:
            return False
        self._imports = max(1, queues[QueueName.BATCH].running)
        return any(
            one.running or one.waiting or one.idle_s < CALM_S
            for name, one in queues.items()
            if name is not QueueName.BATCH
        )

    @asynccontextmanager
    async def step(self, rest: float) -> AsyncGenerator[None]:
        """Around a step of an import. While visitors are being answered steps come one after another, and each is followed by
        a rest of `rest` times what it took, longer where several imports run."""
        if not await self.are_visitors_waiting():
            yield
            return
        async with self._one_at_a_time:
            began = time.monotonic()
            yield
            await asyncio.sleep(min(_REST_AT_MOST_S, rest * (time.monotonic() - began)) * self._imports)

    def rest_of_thread(self, took_s: float) -> None:
        """The same in a thread that shares the interpreter with those who answer."""
        if self.is_making_way:
            time.sleep(min(_REST_AT_MOST_S, READING_REST * took_s))
