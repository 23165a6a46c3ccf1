"""Answers "whose key is this?" from process memory, and forgets a revoked key within a second.

Three ways lead to forgetting, so that none of them alone has to hold: a notice over the channel (`drop`, at once), the
`watch` task's look at the latest revocations (twice a second), and the age of every entry (`ttl_s`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from chatwright.adapters.postgres import Database
from chatwright.domain.errors import Unauthenticated, Unavailable
from chatwright.domain.ids import ApiKeyId
from chatwright.features.credentials import store
from chatwright.features.credentials.rules import VisitorTokens, hash_secret, is_key
from chatwright.features.credentials.store import KeyIdentity

_ENTRIES_AT_MOST = 50_000
_UNKNOWN_AT_MOST = 10_000
_UNKNOWN_TTL_S = 5.0
_OVERLAP_S = 10.0  # a revocation's time is set before it commits: look back further than any transaction lasts

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    identity: KeyIdentity
    until: float
    used: bool = False


class KeyDirectory:
    """One per process, all on one event loop. Run `watch` beside it for as long as it is asked."""

    def __init__(
        self,
        db: Database,
        *,
        ttl_s: float = 30.0,
        watch_interval_s: float = 0.5,
        used_interval_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._ttl_s = ttl_s
        self._watch_interval_s = watch_interval_s
        self._used_interval_s = used_interval_s
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._by_key: dict[str, bytes] = {}
        self._unknown: dict[bytes, float] = {}
        self._drops = 0
        self._looking: dict[bytes, asyncio.Lock] = {}
        self._tokens: VisitorTokens | None = None

    async def authenticate(self, secret: str) -> KeyIdentity:
        """Who holds this API key. Raises Unauthenticated for a key that is unknown, revoked or of a tenant that was
        shut out; Unavailable when it is not in memory and PostgreSQL is away."""
        digest = hash_secret(secret)
        entry = self._entries.get(digest)
        if entry is not None and entry.until > self._clock():
            entry.used = True
            return entry.identity
        # Many ask at once when an entry ends or the process is new: one reads, the others wait for it.
        lock = self._looking.setdefault(digest, asyncio.Lock())
        try:
            async with lock:
                entry = self._entries.get(digest)
                if entry is not None and entry.until > self._clock():
                    return entry.identity
                return await self._look_up(secret, digest)
        finally:
            if not lock.locked():
                self._looking.pop(digest, None)

    def drop(self, key_id: str) -> None:
        """Forget a key at once: the next use of it asks the database."""
        self._drops += 1
        digest = self._by_key.pop(key_id, None)
        if digest is not None:
            del self._entries[digest]

    def drop_all(self) -> None:
        """Forget every key: notices of revocation may have been missed."""
        self._drops += 1
        self._entries.clear()
        self._by_key.clear()

    async def visitor_tokens(self) -> VisitorTokens:
        """The signer of visitor tokens; its secret is read (and made, the first time ever) once per process."""
        if self._tokens is None:
            async with self._db.operator() as db:
                secret = await store.load_secret(db, "visitor_tokens")
            self._tokens = VisitorTokens(secret)
        return self._tokens

    async def watch(self) -> None:
        """Run until cancelled: drop keys revoked anywhere, and note once a minute which keys were used."""
        next_note = self._clock() + self._used_interval_s
        while True:
            await asyncio.sleep(self._watch_interval_s)
            try:
                if self._entries:
                    async with asyncio.timeout(5):
                        await self.drop_ended()
                if self._clock() >= next_note:
                    next_note = self._clock() + self._used_interval_s
                    async with asyncio.timeout(5):
                        await self.note_used()
            except (Unavailable, TimeoutError) as error:
                # Nobody can revoke a key while PostgreSQL is away, and what we hold ages out by itself.
                log.warning("keys.watch_failed", error=str(error))

    async def listen(self, notices: AsyncIterator[ApiKeyId | None]) -> None:
        """Drop what is told as revoked, the moment it is told; None means that some may have been missed."""
        async for key_id in notices:
            if key_id is None:
                self.drop_all()
            else:
                self.drop(key_id)

    async def drop_ended(self) -> None:
        """Read which keys stopped working lately and forget them."""
        async with self._db.operator() as db:
            ended = await store.list_lately_ended(db, within_s=self._ttl_s + _OVERLAP_S)
        for key_id in ended:
            if key_id in self._by_key:
                self.drop(key_id)

    async def note_used(self) -> None:
        """Write `last_used_at` of the keys used since the last time."""
        used = [entry for entry in self._entries.values() if entry.used]
        if used:
            async with self._db.operator() as db:
                await store.mark_used(db, [entry.identity.key_id for entry in used])
            for entry in used:
                entry.used = False

    async def _look_up(self, secret: str, digest: bytes) -> KeyIdentity:
        now = self._clock()
        if not is_key(secret) or self._unknown.get(digest, 0.0) > now:
            raise Unauthenticated("the API key is unknown or revoked")
        drops = self._drops
        async with self._db.operator() as db:
            found = await store.find_by_hash(db, digest)
        if found is None:
            self._forget(digest)
            while len(self._unknown) >= _UNKNOWN_AT_MOST:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[digest] = now + _UNKNOWN_TTL_S
            raise Unauthenticated("the API key is unknown or revoked")
        identity, ends_in_s = found
        if drops == self._drops:  # else a revocation came in while we read: serve this once, keep nothing
            self._remember(digest, identity, now + min(self._ttl_s, self._ttl_s if ends_in_s is None else ends_in_s))
        return identity

    def _remember(self, digest: bytes, identity: KeyIdentity, until: float) -> None:
        while len(self._entries) >= _ENTRIES_AT_MOST:
            self._forget(next(iter(self._entries)))
        self._entries[digest] = _Entry(identity, until, used=True)
        self._by_key[identity.key_id] = digest

    def _forget(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._by_key.pop(entry.identity.key_id, None)
