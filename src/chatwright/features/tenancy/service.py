"""Chatbots and known origins kept in process memory for a moment, so that a hot path costs no round trip.

What is handed out is at most `ttl_s` old: a change made on another process shows within that time, one made on this
process at once (`invalidate`).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from chatwright.adapters.postgres import Database
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import NotFound
from chatwright.domain.ids import TenantId
from chatwright.domain.scope import Scope
from chatwright.features.tenancy import store
from chatwright.features.tenancy.rules import is_widget_id

_CHATBOTS_AT_MOST = 10_000
_ORIGINS_AT_MOST = 1_000
_SERVED_TTL_S = 0.4  # with the half second between two looks at an open connection: within a second


class ChatbotDirectory:
    """Looks chatbots up by id or slug within a scope. One per process; no locks, all on one event loop."""

    def __init__(self, db: Database, *, ttl_s: float = 0.8, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._ttl_s = ttl_s
        self._clock = clock
        self._chatbots: dict[tuple[str, str], tuple[float, Chatbot | None]] = {}
        self._origins: dict[str, tuple[float, bool]] = {}
        self._widgets: dict[str, tuple[float, Chatbot | None]] = {}
        self._served: dict[tuple[str, str], tuple[float, bool]] = {}
        self._ratings: dict[TenantId, tuple[float, tuple[str, bool]]] = {}
        self._changes = 0
        self._loading: dict[tuple[str, str], asyncio.Lock] = {}

    async def get(self, scope: Scope, id_or_slug: str) -> Chatbot:
        """The chatbot as it was at most `ttl_s` ago.

        Raises NotFound if the scope's tenant has none of that name, or the scope is bound to another chatbot;
        Unavailable when it is not in memory and PostgreSQL is away.
        """
        key = (scope.tenant_id, id_or_slug)
        entry = self._chatbots.get(key)
        if entry is not None and entry[0] > self._clock():
            chatbot = entry[1]
        else:
            chatbot = await self._load(key)
        if chatbot is None or (scope.chatbot_id is not None and scope.chatbot_id != chatbot.id):
            raise NotFound("no such chatbot")
        return chatbot

    async def find_widget(self, widget_id: str) -> Chatbot:
        """The chatbot behind a widget id. Raises NotFound."""
        if not is_widget_id(widget_id):
            raise NotFound("no such widget")
        entry = self._widgets.get(widget_id)
        if entry is None or entry[0] <= self._clock():
            changes = self._changes
            async with self._db.operator() as db:
                chatbot = await store.find_widget(db, widget_id)
            entry = (self._clock() + self._ttl_s, chatbot)
            if changes == self._changes:
                _make_room(self._widgets, _CHATBOTS_AT_MOST)
                self._widgets[widget_id] = entry
        if entry[1] is None:
            raise NotFound("no such widget")
        return entry[1]

    async def is_served(self, scope: Scope) -> bool:
        """Whether visitors of the scope's chatbot are served: it is there and its tenant is not shut out."""
        key = (scope.tenant_id, scope.chatbot_id or "")
        entry = self._served.get(key)
        if entry is None or entry[0] <= self._clock():
            changes = self._changes
            async with self._db.operator() as db:
                served = await store.is_served(db, scope)
            entry = (self._clock() + min(self._ttl_s, _SERVED_TTL_S), served)
            if changes == self._changes:
                _make_room(self._served, _CHATBOTS_AT_MOST)
                self._served[key] = entry
        return entry[1]

    async def rating(self, tenant_id: TenantId) -> tuple[str, bool]:
        """The tenant's plan, and whether any of its chatbots or keys has rate limits of its own. Raises NotFound."""
        entry = self._ratings.get(tenant_id)
        if entry is None or entry[0] <= self._clock():
            changes = self._changes
            async with self._db.operator() as db:
                rating = await store.get_rating(db, tenant_id)
            if rating is None:
                raise NotFound("no such tenant")
            entry = (self._clock() + self._ttl_s, rating)
            if changes == self._changes:
                _make_room(self._ratings, _CHATBOTS_AT_MOST)
                self._ratings[tenant_id] = entry
        return entry[1]

    async def origin_known(self, origin: str) -> bool:
        """Whether any chatbot allows the origin; for CORS, where the browser does not say which chatbot it wants."""
        entry = self._origins.get(origin)
        if entry is None or entry[0] <= self._clock():
            changes = self._changes
            async with self._db.operator() as db:
                known = await store.origin_known(db, origin)
            entry = (self._clock() + self._ttl_s, known)
            if changes == self._changes:
                _make_room(self._origins, _ORIGINS_AT_MOST)
                self._origins[origin] = entry
        return entry[1]

    def invalidate(self, tenant_id: TenantId) -> None:
        """Forget a tenant's chatbots: the next look-up reads the database."""
        # Readings under way began before this change: they may be handed out once, but are not kept.
        self._changes += 1
        for key in [key for key in self._chatbots if key[0] == tenant_id]:
            del self._chatbots[key]
        self._origins.clear()
        self._served.clear()
        self._widgets.clear()
        self._ratings.pop(tenant_id, None)

    async def _load(self, key: tuple[str, str]) -> Chatbot | None:
        """Read one chatbot. When many ask at the moment an entry ends, one reads and the others wait for it."""
        lock = self._loading.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                entry = self._chatbots.get(key)
                if entry is not None and entry[0] > self._clock():
                    return entry[1]
                changes = self._changes
                scope = Scope(tenant_id=TenantId(key[0]))
                async with self._db.transaction(scope) as db:
                    chatbot = await store.get_chatbot(db, scope, key[1])
                if changes == self._changes:
                    _make_room(self._chatbots, _CHATBOTS_AT_MOST)
                    self._chatbots[key] = (self._clock() + self._ttl_s, chatbot)
                return chatbot
        finally:
            if not lock.locked():
                self._loading.pop(key, None)


def _make_room(entries: dict[Any, Any], at_most: int) -> None:
    """Drop the oldest entries when the memory is full: dicts keep the order of insertion."""
    while len(entries) >= at_most:
        del entries[next(iter(entries))]
