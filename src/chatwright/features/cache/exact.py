"""The exact tier: answers in Valkey under the digest of all that shaped them, and one fetch for many equal questions.

Its memory is bounded here, over all tenants and for each chatbot, oldest first: the server keeps what it has
(`noeviction`), as the queue lives there too. Nobody's answer waits for writing: what is kept, or given up, is handed to
one task. A Valkey that is away means no hits and no waiting, never an error. Called by `pipeline/caching.py` and, to
look and to purge, by `pipeline/cache_admin.py`.
"""

import asyncio
import itertools
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import hiredis
import structlog

from chatwright.adapters.valkey import Link, Script
from chatwright.domain.errors import ChatwrightError, Unavailable
from chatwright.features.cache.entry import CachedAnswer, decode_entry, encode_entry
from chatwright.features.cache.flight import ALONE_S, Flight, Outcome
from chatwright.features.cache.scripts import DROP, EXTEND, FIND, PART, PUT, STATS

log = structlog.get_logger(__name__)

ENTRY_BYTES_AT_MOST = 64 * 1024
OVERHEAD_BYTES = 700
"""What an entry costs in the indexes and in the server's own tables, beside its bytes."""
CHATBOT_SHARE = 4
"""One chatbot may fill this part of the memory: a quarter."""
LEASE_S = 3.0
"""A leader that died is followed after this long; one that lives renews its lease."""
ASK_S = 0.5
SOUR_S = 1.0
"""After Valkey did not answer in time nobody asks it for this long."""
LONGEST_FLIGHT_S = 300.0
"""No answer may take so long: whoever leads has forgotten to say so."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 0.2
WRITES_AT_MOST = 1_000
LINGER_S = 0.004
"""What is handed over within this time is sent at once: nobody in this process waits for it."""
_BATCH = 64
_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Entries and bytes, of all chatbots and of one. Entries that ended a moment ago may still be counted."""

    entries: int
    bytes: int
    chatbot_entries: int
    chatbot_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One entry as it is inspected; `ttl_s` is the time that it has left."""

    key: str
    entry: CachedAnswer
    ttl_s: float


class ExactTier:
    """One per process. Make it with `open_exact_tier`."""

    def __init__(self, link: Link, *, prefix: str = "cw", memory_mib: int = 64) -> None:
        """`memory_mib` 0: the tier is off."""
        self._link = link
        self._prefix = f"{prefix}:{{cache}}:"
        self._epochs = f"{self._prefix}epochs"
        self._at_most = memory_mib * 1024 * 1024
        self._clock = asyncio.get_running_loop().time
        self._sour_until_s = 0.0
        self._process = os.urandom(6).hex()
        self._tokens = itertools.count()
        self._flights: dict[str, Flight] = {}
        self._looks: dict[str, asyncio.Future[CachedAnswer | Outcome]] = {}
        self._writes: deque[tuple[Script, tuple[Any, ...], tuple[Any, ...]]] = deque()
        self._questions: list[tuple[tuple[bytes | str | float, ...], asyncio.Future[Any]]] = []
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    @property
    def is_on(self) -> bool:
        return self._at_most > 0

    async def get(self, key: str) -> CachedAnswer | None:
        """The answer under a key, None if there is none or Valkey is away."""
        try:
            async with asyncio.timeout(ASK_S):
                data = await self._link.execute("GET", f"{self._prefix}e:{key}")
        except (ChatwrightError, TimeoutError):
            return None
        return None if data is None else decode_entry(data)

    async def find(
        self, tenant_id: str, chatbot_id: str, key: str, *, lead: bool, wait_s: float, token: str | None = None
    ) -> CachedAnswer | Flight | None:
        """The answer; or, with `lead`, a Flight for whoever is to fetch it; or None: Valkey is away or the tier off.

        Of equal questions that ask with `lead` at once, in all processes, one is given the Flight; the others wait up to
        `wait_s` seconds for its answer and then go on with Flights of their own that nobody waits for. `token` names
        the question: asked again by another process, after the first one died, it takes its own lead up again.
        """
        if not self.is_on:
            return None
        owner = f"{tenant_id}|{chatbot_id}"
        token = token or f"{self._process}-{next(self._tokens)}"
        until_s = self._clock() + wait_s
        epoch = -1
        while True:
            shared = self._looks.get(key) if lead else None
            if shared is None and lead and (flight := self._flights.get(key)) is not None:
                shared = flight.shared
            if shared is None:
                found = await self._ask(owner, key, token if lead else "")
                if found is None or isinstance(found, CachedAnswer):
                    return found
                state, epoch = found
                if state == 0:
                    return self._lead(owner, key, token, epoch)
                if state == 2 or (remaining_s := until_s - self._clock()) <= 0:
                    return Flight(self, owner, key, token, epoch, alone=True)
                if key not in self._looks and key not in self._flights:
                    outcome = await self._look(owner, key, token, until_s)
                    if isinstance(outcome, (CachedAnswer, Flight)):
                        return outcome
                continue
            remaining_s = until_s - self._clock()
            if remaining_s > 0:
                await asyncio.wait({shared}, timeout=remaining_s)
            outcome = shared.result() if shared.done() else Outcome.ALONE
            if isinstance(outcome, CachedAnswer):
                return outcome
            if outcome is Outcome.ALONE:
                return Flight(self, owner, key, token, await self._epoch(owner), alone=True)

    def ready(self, tenant_id: str, chatbot_id: str, key: str, epoch: int) -> Flight:
        """A Flight of one's own, for what is kept without having been looked up. `epoch`: see `epoch`."""
        return Flight(self, f"{tenant_id}|{chatbot_id}", key, "", epoch, alone=True)

    async def epoch(self, tenant_id: str, chatbot_id: str) -> int:
        """How often the chatbot was purged; -1 if it cannot be asked."""
        return await self._epoch(f"{tenant_id}|{chatbot_id}")

    async def put(self, tenant_id: str, chatbot_id: str, key: str, entry: CachedAnswer, ttl_s: float) -> bool:
        """Keep an answer now. False: it is too large. Raises Unavailable."""
        data = encode_entry(entry)
        if not self.is_on or len(data) > ENTRY_BYTES_AT_MOST:
            return False
        keys, arguments = self._put(f"{tenant_id}|{chatbot_id}", key, data, ttl_s, token="", epoch=-1)
        return await PUT(self._link, keys, arguments) == 1

    async def purge(
        self,
        tenant_id: str,
        chatbot_id: str,
        *,
        document_id: str | None = None,
        text: str | None = None,
        answer_id: str | None = None,
        matches: Callable[[CachedAnswer], bool] | None = None,
    ) -> int:
        """Drop a chatbot's entries that meet every condition given; all of them without one. Returns how many.

        `text` stands in the question or the answer, in any case. What was asked for before this call is not kept after
        it, in any process. Raises Unavailable.
        """
        owner = f"{tenant_id}|{chatbot_id}"
        await self._link.execute("HINCRBY", self._epochs, owner, 1)
        wanted = text.casefold() if text is not None else None

        def meets(entry: CachedAnswer) -> bool:
            return (
                (document_id is None or document_id in entry.document_ids)
                and (answer_id is None or answer_id == entry.answer_id)
                and (wanted is None or wanted in entry.question.casefold() or wanted in entry.text.casefold())
                and (matches is None or matches(entry))
            )

        everything = document_id is None and text is None and answer_id is None and matches is None
        keys = [key.decode() for key in await self._link.execute("ZRANGE", f"{self._prefix}of:{owner}", 0, -1)]
        gone = 0
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            if not everything:
                page = [key for key, entry in await self._read(page) if entry is None or meets(entry)]
            if page:
                gone += await DROP(self._link, [self._epochs], [self._prefix, owner, *page])
        return gone

    async def stats(self, tenant_id: str, chatbot_id: str) -> Stats:
        """Raises Unavailable."""
        reply = await STATS(self._link, [f"{self._prefix}ages"], [self._prefix, f"{tenant_id}|{chatbot_id}"])
        return Stats(entries=reply[0], bytes=reply[1], chatbot_entries=reply[2], chatbot_bytes=reply[3])

    async def entries(self, tenant_id: str, chatbot_id: str, *, offset: int = 0, limit: int = 100) -> list[Kept]:
        """A chatbot's entries, newest first; those that just ended are left out. Raises Unavailable."""
        index = f"{self._prefix}of:{tenant_id}|{chatbot_id}"
        keys = [key.decode() for key in await self._link.execute("ZREVRANGE", index, offset, offset + limit - 1)]
        found: list[Kept] = []
        for key, entry in await self._read(keys):
            left_ms = 0 if entry is None else await self._link.execute("PTTL", f"{self._prefix}e:{key}")
            if entry is not None and left_ms > 0:
                found.append(Kept(key=key, entry=entry, ttl_s=left_ms / 1000))
        return found

    async def settled(self) -> None:
        """Wait until what was handed over is written, or was given up."""
        await self._written.wait()

    # What flights call -------------------------------------------------------------------------------------------

    def keep(self, flight: Flight, entry: CachedAnswer, ttl_s: float) -> None:
        data = encode_entry(entry)
        if len(data) > ENTRY_BYTES_AT_MOST:
            self.give_up(flight, alone_s=ALONE_S)
            return
        token = "" if flight.alone else flight.token
        self._hand_over(PUT, *self._put(flight.owner, flight.key, data, ttl_s, token=token, epoch=flight.epoch))

    def give_up(self, flight: Flight, *, alone_s: float) -> None:
        if not flight.alone:
            self._hand_over(PART, (f"{self._prefix}l:{flight.key}",), (flight.token, round(alone_s * 1000)))

    def landed(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    # The tasks ---------------------------------------------------------------------------------------------------

    async def write(self) -> None:
        """Send what was handed over, until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(LINGER_S)
            self._wake.clear()
            while self._writes:
                batch = [self._writes.popleft() for _ in range(min(_BATCH, len(self._writes)))]
                try:
                    async with asyncio.timeout(ASK_S * 4):
                        await self._send(batch)
                except (ChatwrightError, TimeoutError) as error:
                    log.info("cache.not_written", entries=len(batch), error=str(error))
            self._written.set()

    async def renew(self) -> None:
        """Keep the leases of this process's flights alive, until cancelled."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            for flight in list(self._flights.values()):
                if self._clock() - flight.since_s > LONGEST_FLIGHT_S:
                    flight.fail()
                    continue
                self._hand_over(EXTEND, (f"{self._prefix}l:{flight.key}",), (flight.token, round(LEASE_S * 1000)))

    # Inside ------------------------------------------------------------------------------------------------------

    def _lead(self, owner: str, key: str, token: str, epoch: int) -> Flight:
        flight = Flight(self, owner, key, token, epoch, alone=False)
        self._flights[key] = flight
        return flight

    async def _look(self, owner: str, key: str, token: str, until_s: float) -> CachedAnswer | Flight | None:
        """Look again and again whether another process has the answer; all that wait in this one read the result."""
        shared: asyncio.Future[CachedAnswer | Outcome] = asyncio.get_running_loop().create_future()
        self._looks[key] = shared
        outcome: CachedAnswer | Outcome = Outcome.AGAIN
        pause_s = FIRST_LOOK_S
        try:
            while (left_s := until_s - self._clock()) > 0:
                await asyncio.sleep(min(pause_s, left_s))
                pause_s = min(LONGEST_LOOK_S, pause_s * 1.5)
                found = await self._ask(owner, key, token)
                if found is None:
                    return None
                if isinstance(found, CachedAnswer):
                    outcome = found
                    return found
                state, epoch = found
                if state == 0:
                    return self._lead(owner, key, token, epoch)
                if state == 2:
                    outcome = Outcome.ALONE
                    return Flight(self, owner, key, token, epoch, alone=True)
            return None
        finally:
            if self._looks.get(key) is shared:
                del self._looks[key]
            shared.set_result(outcome)

    async def _ask(self, owner: str, key: str, token: str) -> CachedAnswer | tuple[int, int] | None:
        """One round trip. None: Valkey is away, or slow, and nobody asks it for a moment."""
        if not self._link.connected or self._clock() < self._sour_until_s:
            return None
        keys = (f"{self._prefix}e:{key}", f"{self._prefix}l:{key}", self._epochs)
        arguments = (token, round(LEASE_S * 1000), owner)
        try:
            async with asyncio.timeout(ASK_S):
                reply = await self._send_with_others((b"EVALSHA", FIND.sha, len(keys), *keys, *arguments))
                if isinstance(reply, hiredis.ReplyError):
                    if not str(reply).startswith("NOSCRIPT"):
                        raise Unavailable(f"Valkey refused to look: {reply}")
                    reply = await FIND(self._link, keys, arguments)
        except (ChatwrightError, TimeoutError) as error:
            self._sour_until_s = self._clock() + SOUR_S
            log.info("cache.not_asked", error=str(error))
            return None
        if isinstance(reply, bytes):
            return decode_entry(reply) or (2, -1)
        return reply[0], reply[1]

    def _send_with_others(self, command: tuple[bytes | str | float, ...]) -> asyncio.Future[Any]:
        """Send a command in the loop's next round, in one write with all that are sent in this one: under load a system
        call for each would cost more than the look-up."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._questions.append((command, reply))
        if len(self._questions) == 1:
            asyncio.get_running_loop().call_soon(self._send_questions)
        return reply

    def _send_questions(self) -> None:
        questions, self._questions = self._questions, []
        try:
            self._link.post_all([command for command, _ in questions], [reply for _, reply in questions])
        except Unavailable as error:
            for _, reply in questions:
                if not reply.done():
                    reply.set_exception(error)

    async def _epoch(self, owner: str) -> int:
        try:
            async with asyncio.timeout(ASK_S):
                return int(await self._link.execute("HGET", self._epochs, owner) or 0)
        except (ChatwrightError, TimeoutError):
            return -1

    async def _read(self, keys: list[str]) -> list[tuple[str, CachedAnswer | None]]:
        if not keys:
            return []
        found = await self._link.execute("MGET", *[f"{self._prefix}e:{key}" for key in keys])
        return [(key, None if data is None else decode_entry(data)) for key, data in zip(keys, found, strict=True)]

    def _put(
        self, owner: str, key: str, data: bytes, ttl_s: float, *, token: str, epoch: int
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        keys = (f"{self._prefix}e:{key}", f"{self._prefix}l:{key}")
        size = len(data) + OVERHEAD_BYTES
        lifetime_ms = max(1, round(ttl_s * 1000))
        most_of_one = self._at_most // CHATBOT_SHARE
        return keys, (self._prefix, owner, key, data, lifetime_ms, size, self._at_most, most_of_one, token, epoch)

    def _hand_over(self, script: Script, keys: tuple[Any, ...], arguments: tuple[Any, ...]) -> None:
        if len(self._writes) < WRITES_AT_MOST:  # beyond it Valkey does not keep up: leases end by themselves
            self._writes.append((script, keys, arguments))
            self._written.clear()
            self._wake.set()

    async def _send(self, batch: list[tuple[Script, tuple[Any, ...], tuple[Any, ...]]]) -> None:
        """All at once; the server may have forgotten a script, then its source is sent."""
        sent = self._link.post_all(
            [(b"EVALSHA", script.sha, len(keys), *keys, *arguments) for script, keys, arguments in batch]
        )
        for (script, keys, arguments), reply in zip(batch, await asyncio.gather(*sent), strict=True):
            if isinstance(reply, hiredis.ReplyError):
                if not str(reply).startswith("NOSCRIPT"):
                    raise Unavailable(f"Valkey refused an entry: {reply}")
                await script(self._link, keys, arguments)


@asynccontextmanager
async def open_exact_tier(link: Link, *, prefix: str = "cw", memory_mib: int = 64) -> AsyncGenerator[ExactTier]:
    """Run a tier's two tasks; on leaving, what was handed over is written first (at most a second)."""
    tier = ExactTier(link, prefix=prefix, memory_mib=memory_mib)
    tasks = [
        asyncio.create_task(tier.write(), name="cache-write"),
        asyncio.create_task(tier.renew(), name="cache-renew"),
    ]
    try:
        yield tier
    finally:
        try:
            async with asyncio.timeout(1.0):
                await tier.settled()
        except TimeoutError:
            log.info("cache.left_unwritten")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
