"""Which budgets have nothing left at all, kept in memory for a moment: a refusal that needs no round trip.

A glance only: what holds is decided when a call is opened (`ledger.py`). Asked by `pipeline/accept.py`, so that a
message nobody may answer is not even stored.
"""

import asyncio
import time
from collections.abc import Callable

from chatwright.adapters.postgres import Database
from chatwright.domain.ids import ChatbotId, TenantId
from chatwright.domain.scope import Scope
from chatwright.features.budgets.refusals import Refuser, refuser_of

SPENT_UP = """
SELECT b.id, b.scope, b.scope_id, b.period, b.limit_nano, b.set_by, b.action, p.ends_at
  FROM budgets b JOIN budget_periods p ON p.tenant_id = b.tenant_id AND p.budget_id = b.id
 WHERE b.tenant_id = $1 AND b.action = 'block' AND b.scope IN ('tenant', 'chatbot', 'visitor')
   AND p.starts_at <= now() AND now() < p.ends_at AND p.spent_nano >= b.limit_nano
"""

_TENANTS_AT_MOST = 10_000


class Headroom:
    """Blocking budgets of tenants, chatbots and visitors that are spent up, as of at most `ttl_s` ago. One per process."""

    def __init__(self, db: Database, *, ttl_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: dict[str, tuple[float, dict[tuple[str, str], Refuser]]] = {}
        self._loading: dict[str, asyncio.Lock] = {}

    async def check(self, tenant_id: TenantId, chatbot_id: ChatbotId | None, visitor_id: str | None = None) -> None:
        """Raise BudgetExceeded if the tenant's, the chatbot's or the visitor's blocking budget has nothing left.

        Raises Unavailable when it is not in memory and PostgreSQL is away.
        """
        entry = self._entries.get(tenant_id)
        spent_up = entry[1] if entry is not None and entry[0] > self._clock() else await self._load(tenant_id)
        if spent_up:
            for scope, scope_id in (("tenant", tenant_id), ("chatbot", chatbot_id), ("visitor", visitor_id)):
                if scope_id is not None and (refuser := spent_up.get((scope, scope_id))) is not None:
                    raise refuser.spent_up()

    async def _load(self, tenant_id: TenantId) -> dict[tuple[str, str], Refuser]:
        """Read one tenant's. When many ask at the moment an entry ends, one reads and the others wait for it."""
        lock = self._loading.setdefault(tenant_id, asyncio.Lock())
        try:
            async with lock:
                entry = self._entries.get(tenant_id)
                if entry is not None and entry[0] > self._clock():
                    return entry[1]
                asked_s = self._clock()
                async with self._db.transaction(Scope(tenant_id=tenant_id)) as db:
                    rows = await db.fetch(SPENT_UP, tenant_id)
                found = {(row["scope"], row["scope_id"]): refuser_of(row) for row in rows}
                while len(self._entries) >= _TENANTS_AT_MOST:
                    del self._entries[next(iter(self._entries))]
                self._entries[tenant_id] = (asked_s + self._ttl_s, found)
                return found
        finally:
            if not lock.locked():
                self._loading.pop(tenant_id, None)
