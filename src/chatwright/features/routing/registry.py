"""The gates of this process, and the talk about them with the others: what opened, what closed, what nobody uses.

Owned by `gates.py`, which decides; here is what runs beside the calls.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from chatwright.adapters.valkey import Channel
from chatwright.domain.errors import Unavailable
from chatwright.domain.providers import StatedLimits
from chatwright.features.routing.board import Board, Opening, read_notice
from chatwright.features.routing.gate import Gate

MAX_GATES = 10_000
IDLE_S = 600.0
TICK_S = 1.0
LOAD_EVERY_S = 60.0
"""Notices tell at once; this mends what a wiped or replaced Valkey never told."""
MAX_OUTBOX = 1_000


class Registry:
    """Bounded: gates that were idle for IDLE_S are forgotten, and the longest idle ones beyond MAX_GATES."""

    def __init__(self, board: Board, channel: Channel, clock: Callable[[], float]) -> None:
        self.gates: dict[str, Gate] = {}
        self._board = board
        self._channel = channel
        self._clock = clock
        self._by_digest: dict[str, Gate] = {}
        self._unseen: dict[str, tuple[Opening, float]] = {}  # open gates that nobody asked for here, and until when
        self._outbox: deque[Callable[[], Awaitable[object]]] = deque(maxlen=MAX_OUTBOX)
        self._posted = asyncio.Event()
        self._load_at_s = 0.0

    def make(self, name: str, provider: str, hear: Callable[[StatedLimits], None]) -> Gate:
        """Add a gate, open at once if others are known to have opened its breaker."""
        if len(self.gates) >= MAX_GATES:
            for gate in sorted(self.gates.values(), key=lambda gate: gate.used_s)[: MAX_GATES // 10]:
                self._forget(gate)
        now = self._clock()
        gate = Gate(name, provider, hear, now)
        self.gates[name] = self._by_digest[gate.digest] = gate
        unseen = self._unseen.pop(gate.digest, None)
        if unseen is not None:
            opening, until_s = unseen
            gate.breaker.open(now, opening.cause, until_s - now, opening.level)
        return gate

    def unseen(self) -> list[tuple[Opening, float]]:
        """Breakers that other processes opened and nobody asked for here, and the clock's second until which."""
        return list(self._unseen.values())

    def tell(self, message: Callable[[], Awaitable[object]]) -> None:
        """Have a change written to Valkey, soon and in order. Dropped while it is away: others see for themselves."""
        self._outbox.append(message)
        self._posted.set()

    async def run(self) -> None:
        """Listen, tell and tidy up until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="gates-listen")
            group.create_task(self._post(), name="gates-post")
            group.create_task(self._tick(), name="gates-tick")

    async def _post(self) -> None:
        while True:
            await self._posted.wait()
            self._posted.clear()
            while self._outbox:
                message = self._outbox.popleft()
                if not self._board.connected:
                    continue
                try:
                    async with self._board.in_time():
                        await message()
                except Unavailable:
                    continue

    async def _listen(self) -> None:
        async for text in self._channel.gates():
            if text is None:
                await self._load()
            elif (notice := read_notice(text)) is not None:
                self._hear(*notice)

    def _hear(self, digest: str, opening: Opening | None) -> None:
        gate = self._by_digest.get(digest)
        if opening is not None:
            self._learn(opening, gate)
            return
        self._unseen.pop(digest, None)
        if gate is not None:
            gate.close(self._clock())

    def _learn(self, opening: Opening, gate: Gate | None) -> None:
        now = self._clock()
        if gate is not None:
            gate.breaker.open(now, opening.cause, opening.left_s, opening.level)
            gate.unshared = False
        elif len(self._unseen) < MAX_GATES:
            self._unseen[opening.digest] = (opening, now + opening.left_s)

    async def _load(self) -> None:
        """Take over every open breaker, and close those that others have closed meanwhile."""
        self._load_at_s = self._clock() + LOAD_EVERY_S
        try:
            openings = {opening.digest: opening for opening in await self._board.load()}
        except Unavailable:
            self._load_at_s = 0.0
            return
        self._unseen.clear()
        now = self._clock()
        for digest, opening in openings.items():
            gate = self._by_digest.get(digest)
            if gate is None or now >= gate.breaker.probe_until_s:
                self._learn(opening, gate)
        for gate in self.gates.values():
            if gate.breaker.cause is not None and not gate.unshared and gate.digest not in openings:
                gate.close(now)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            for gate in list(self.gates.values()):
                if gate.calls != gate.calls_seen:
                    gate.calls_seen, gate.used_s = gate.calls, now
                elif now - gate.used_s > IDLE_S and not gate.waiting:
                    self._forget(gate)
                    continue
                if gate.permits is not None:
                    await gate.permits.settle()
            if now >= self._load_at_s and self._board.connected:
                await self._load()

    def _forget(self, gate: Gate) -> None:
        del self.gates[gate.name], self._by_digest[gate.digest]
        gate.wake()
