"""Answers "which keys may this tenant use?" from process memory, and learns of every change within a second.

What is held is sealed; a secret is open only while a call is being made. As with API keys, three ways lead to
forgetting, so that none of them alone has to hold: a notice over the channel (`drop_owner`, at once), the `watch` task's
look at the latest changes (twice a second), and the age of every entry (`ttl_s`). A notice names the owner whose keys
changed, so the same one tells of keys that came, were rotated or ended.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from chatwright.adapters.postgres import Database
from chatwright.domain.errors import NotFound, Unavailable
from chatwright.domain.ids import TenantId, is_id
from chatwright.domain.scope import Scope
from chatwright.features.provider_keys import store
from chatwright.features.provider_keys.rules import (
    KeyEncryptionKeys,
    ProviderKey,
    ProviderSecret,
    SealBroken,
    seal,
    sealed_secret,
)

PLATFORM = "00000000-0000-0000-0000-000000000000"
"""Stands in notices for the owner of the platform's keys."""
_OWNERS_AT_MOST = 10_000
_OVERLAP_S = 10.0  # a change's time is set before it commits: look back further than any transaction lasts
_RETRY_S = 2.0  # a key that did not open is tried again so soon: its key-encryption key may still be on its way

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Held:
    """One owner's keys. `known` holds the ids of all in use, also of those that did not open."""

    until: float
    by_provider: dict[str, tuple[ProviderKey, ...]] = field(default_factory=dict[str, tuple[ProviderKey, ...]])
    by_id: dict[str, ProviderKey] = field(default_factory=dict[str, ProviderKey])
    successors: dict[str, str] = field(default_factory=dict[str, str])
    known: set[str] = field(default_factory=set[str])
    shut: set[str] = field(default_factory=set[str])
    """Providers of which a key did not open."""


class KeyRing:
    """One per process, all on one event loop. Run `watch` and `listen` beside it for as long as it is asked."""

    def __init__(
        self,
        db: Database,
        keks: KeyEncryptionKeys,
        *,
        ttl_s: float = 30.0,
        watch_interval_s: float = 0.5,
        used_interval_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._keks = keks
        self._ttl_s = ttl_s
        self._watch_interval_s = watch_interval_s
        self._used_interval_s = used_interval_s
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        self._drops = 0
        self._used: set[str] = set()

    async def keys_for(self, scope: Scope, provider: str) -> Sequence[ProviderKey]:
        """The tenant's own keys of a provider that are in use, the newest first; none if it has none.

        No round trip while the tenant's keys are in memory. Raises Unavailable when they are not and PostgreSQL is away.
        """
        held = self._held.get(scope.tenant_id)
        if held is None or held.until <= self._clock():
            held = await self._load(scope.tenant_id, scope)
        return held.by_provider.get(provider, ())

    async def platform_keys(self, provider: str) -> Sequence[ProviderKey]:
        """The platform's stored keys of a provider, the newest first. Raises Unavailable as `keys_for`."""
        held = self._held.get(PLATFORM)
        if held is None or held.until <= self._clock():
            held = await self._load(PLATFORM, None)
        return held.by_provider.get(provider, ())

    async def providers_of(self, scope: Scope | None) -> Mapping[str, int]:
        """How many keys in use the tenant (the platform for scope None) has stored, by provider."""
        held = await self._owned(scope)
        return {provider: len(keys) for provider, keys in held.by_provider.items()}

    async def ids_of(self, scope: Scope) -> Collection[str]:
        """The ids of the tenant's keys in use."""
        held = self._held.get(scope.tenant_id)
        if held is None or held.until <= self._clock():
            held = await self._load(scope.tenant_id, scope)
        return held.by_id.keys()

    def is_shut(self, scope: Scope, provider: str) -> bool:
        """Whether the tenant has a key of the provider that did not open when its keys were read."""
        held = self._held.get(scope.tenant_id)
        return held is not None and provider in held.shut

    def is_platform(self, key_id: str) -> bool:
        """Whether a key in memory is the platform's."""
        held = self._held.get(PLATFORM)
        return held is not None and key_id in held.by_id

    async def get(self, scope: Scope | None, key_id: str) -> ProviderKey:
        """One key of the tenant (of the platform for scope None), or the one it was rotated to.

        Raises NotFound for a key that is unknown, ended, or another owner's; Unavailable as `keys_for`.
        """
        held = await self._owned(scope)
        found, seen = held.by_id.get(key_id), {key_id}
        while (successor := held.successors.get(key_id)) is not None and successor not in seen:
            key_id = successor
            seen.add(key_id)
            found = held.by_id.get(key_id, found)
        if found is None:
            raise NotFound("no such provider key")
        return found

    def holds(self, scope: Scope | None, key_id: str) -> bool:
        """Whether the key of the tenant (of the platform for scope None) is in memory as one in use; False: ask."""
        held = self._held.get(PLATFORM if scope is None else scope.tenant_id)
        return held is not None and key_id in held.by_id and held.until > self._clock()

    async def is_in_use(self, scope: Scope | None, key_id: str) -> bool:
        """Whether this very key is still in use. Raises Unavailable as `keys_for`."""
        return self.holds(scope, key_id) or key_id in (await self._owned(scope)).by_id

    def used(self, key_id: str) -> None:
        """Note that a call was made with this key; `watch` writes it down once a minute."""
        self._used.add(key_id)

    def seal(self, secret: str, *, tenant_id: TenantId | None, row_id: str) -> tuple[bytes, str]:
        """Seal a new row's secret. Returns (ciphertext, id of the key-encryption key). Raises Unavailable without one."""
        kek = self._keks.newest()
        if kek is None:
            raise Unavailable(
                "secrets cannot be stored: this server has no key-encryption key; set "
                "CHATWRIGHT_KEY_ENCRYPTION_KEYS, or run `chatwright provider-key rotate-kek` on its data folder"
            )
        return seal(kek, secret, tenant_id=tenant_id, row_id=row_id, version=1), kek.id

    def unseal(
        self, sealed: bytes, sealed_by: str, *, tenant_id: TenantId | None, row_id: str, version: int
    ) -> ProviderSecret:
        """A secret that `seal` sealed for a row of another table. Raises SealBroken."""
        kek = self._keks.find(sealed_by)
        if kek is None:
            raise SealBroken(f"the key-encryption key {sealed_by!r} is not here")
        return sealed_secret(kek, sealed, tenant_id=tenant_id, row_id=row_id, version=version)

    def drop_owner(self, owner: str) -> None:
        """Forget a tenant's keys (the platform's for PLATFORM) at once: the next call asks the database."""
        self._drops += 1
        self._held.pop(owner, None)

    def drop_all(self) -> None:
        """Forget everybody's keys: notices may have been missed."""
        self._drops += 1
        self._held.clear()

    async def watch(self) -> None:
        """Run until cancelled: drop what changed anywhere, and note once a minute which keys were used."""
        next_note = self._clock() + self._used_interval_s
        while True:
            await asyncio.sleep(self._watch_interval_s)
            try:
                if self._held:
                    async with asyncio.timeout(5):
                        await self.drop_changed()
                if self._clock() >= next_note:
                    next_note = self._clock() + self._used_interval_s
                    async with asyncio.timeout(5):
                        await self.note_used()
            except (Unavailable, TimeoutError) as error:
                # Nobody can change a key while PostgreSQL is away, and what we hold ages out by itself.
                log.warning("provider_keys.watch_failed", error=str(error))

    async def listen(self, notices: AsyncIterator[str | None]) -> None:
        """Drop an owner's keys the moment it is told; None means that some notices may have been missed.

        The line carries API keys' ids too, which are nobody's owner: they find nothing here.
        """
        async for owner in notices:
            if owner is None:
                self.drop_all()
            else:
                self.drop_owner(owner)

    async def drop_changed(self) -> None:
        """Read which keys came or ended lately, and forget the owners of those that we know otherwise."""
        async with self._db.operator() as db:
            changes = await store.list_lately_changed(db, within_s=self._ttl_s + _OVERLAP_S)
        for change in changes:
            held = self._held.get(change.tenant_id or PLATFORM)
            if held is not None and (change.key_id in held.known) is not change.active:
                self.drop_owner(change.tenant_id or PLATFORM)

    async def note_used(self) -> None:
        """Write `last_used_at` of the keys used since the last time."""
        used = [key_id for key_id in self._used if is_id(key_id)]  # a key of the environment has no row
        self._used.clear()
        if used:
            async with self._db.operator() as db:
                await store.mark_used(db, used)

    async def _owned(self, scope: Scope | None) -> _Held:
        """The keys of the tenant, of the platform for scope None."""
        owner = PLATFORM if scope is None else scope.tenant_id
        held = self._held.get(owner)
        if held is None or held.until <= self._clock():
            held = await self._load(owner, scope)
        return held

    async def _load(self, owner: str, scope: Scope | None) -> _Held:
        # Many ask at once when an entry ends or the process is new: one reads, the others wait for it.
        lock = self._loading.setdefault(owner, asyncio.Lock())
        try:
            async with lock:
                held = self._held.get(owner)
                if held is not None and held.until > self._clock():
                    return held
                drops, now = self._drops, self._clock()
                async with self._db.operator() if scope is None else self._db.transaction(scope) as db:
                    rows = await store.load_keys(db, scope)
                held = self._open(rows, scope, now)
                if drops == self._drops:  # else a change came in while we read: serve this once, keep nothing
                    while len(self._held) >= _OWNERS_AT_MOST:
                        del self._held[next(iter(self._held))]
                    self._held[owner] = held
                return held
        finally:
            if not lock.locked():
                self._loading.pop(owner, None)

    def _open(self, rows: Sequence[Mapping[str, Any]], scope: Scope | None, now: float) -> _Held:
        """Rows of `store.load_keys` as keys. One that does not open is left out and told; the others go on."""
        held = _Held(now + self._ttl_s)
        for row in rows:
            if row["successor_id"] is not None:
                held.successors[row["id"]] = row["successor_id"]
            if not row["active"]:
                continue
            held.known.add(row["id"])
            if row["ends_in_s"] is not None:
                held.until = min(held.until, now + row["ends_in_s"])
            try:
                key = self._key(row, None if scope is None else scope.tenant_id)
            except SealBroken:
                held.until = min(held.until, now + _RETRY_S)
                held.shut.add(row["provider"])
                log.error("provider_keys.not_opened", key_id=row["id"], sealed_by=row["sealed_by"])
                continue
            held.by_id[key.id] = key
            held.by_provider[key.provider] = (*held.by_provider.get(key.provider, ()), key)
        return held

    def _key(self, row: Mapping[str, Any], tenant_id: TenantId | None) -> ProviderKey:
        kek = self._keks.find(row["sealed_by"])
        if kek is None:
            raise SealBroken("a stored provider key was sealed by a key-encryption key that this process lacks")
        secret = sealed_secret(kek, bytes(row["sealed"]), tenant_id=tenant_id, row_id=row["id"], version=row["version"])
        return ProviderKey(
            id=row["id"],
            tenant_id=tenant_id,
            provider=row["provider"],
            name=row["name"],
            hint=row["hint"],
            secret=secret,
            base_url=row["base_url"],
            request_limit=row["request_limit"],
            token_limit=row["token_limit"],
        )
