"""The tenants' own rules in process memory, so that a verdict costs no round trip.

A change made here shows at once (`drop`); one made by another process within half a second: `watch` asks PostgreSQL
twice a second whose rules changed. Where that cannot be asked, what is held ages out by itself.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from chatwright.adapters.postgres import Database
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.ids import TenantId
from chatwright.domain.scope import Scope
from chatwright.features.guard import store
from chatwright.features.guard.store import TenantRules

log = structlog.get_logger(__name__)
_TENANTS_AT_MOST = 5_000
_OVERLAP_S = 5.0
_AGAIN_S = 1.0
"""While PostgreSQL is away."""


@dataclass(slots=True)
class _Held:
    until_s: float
    rules: TenantRules


class GuardDirectory:
    """Looks a tenant's rules up. One per process; all on one event loop."""

    def __init__(
        self,
        db: Database,
        *,
        ttl_s: float = 30.0,
        watch_interval_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._ttl_s = ttl_s
        self._watch_interval_s = watch_interval_s
        self._clock = clock
        self._held: dict[TenantId, _Held] = {}
        self._loading: dict[TenantId, asyncio.Lock] = {}
        self._drops = 0

    async def rules_of(self, tenant_id: TenantId) -> TenantRules:
        """The tenant's policy and allow list; as they were last read while PostgreSQL is away. Raises Unavailable when they
        never were."""
        held = self._held.get(tenant_id)
        if held is not None and held.until_s > self._clock():
            return held.rules
        return await self._load(tenant_id)

    def drop(self, tenant_id: TenantId) -> None:
        """A tenant's rules are out of date: the next look reads the database."""
        self._drops += 1
        held = self._held.get(tenant_id)
        if held is not None:
            held.until_s = -math.inf

    async def watch(self) -> None:
        """Run until cancelled: forget what other processes changed."""
        asked_at_s = self._clock()
        while True:
            await asyncio.sleep(self._watch_interval_s)
            if not self._held:
                asked_at_s = self._clock()
                continue
            try:
                async with asyncio.timeout(5):
                    began_s = self._clock()
                    changed = await store.list_lately_changed(self._db, within_s=began_s - asked_at_s + _OVERLAP_S)
                asked_at_s = began_s
            except (ChatwrightError, TimeoutError) as error:
                # Nobody can change rules while PostgreSQL is away, and what is held ages out.
                log.warning("guard.watch_failed", error=str(error))
                continue
            for tenant_id in changed:
                self.drop(tenant_id)

    async def _load(self, tenant_id: TenantId) -> TenantRules:
        lock = self._loading.setdefault(tenant_id, asyncio.Lock())
        try:
            async with lock:
                held = self._held.get(tenant_id)
                if held is not None and held.until_s > self._clock():
                    return held.rules
                drops = self._drops
                scope = Scope(tenant_id=tenant_id)
                try:
                    async with self._db.transaction(scope) as db:
                        rules = await store.load_rules(db, scope)
                except (ChatwrightError, TimeoutError) as error:
                    if held is None:
                        raise
                    # What was banned a minute ago is not said because nobody can look it up; others need not wait for it.
                    log.warning("guard.rules_of_before", error=str(error))
                    held.until_s = self._clock() + _AGAIN_S
                    return held.rules
                if drops == self._drops:  # else a change came in while we read: serve this once, keep nothing
                    self._held.pop(tenant_id, None)
                    while len(self._held) >= _TENANTS_AT_MOST:
                        del self._held[next(iter(self._held))]
                    self._held[tenant_id] = _Held(self._clock() + self._ttl_s, rules)
                return rules
        finally:
            if not lock.locked():
                self._loading.pop(tenant_id, None)
