"""What one process holds for guarding: tenants' rules, chatbots' policies made of them, events on their way to the log.

Opened by `app/services.py`, used by `pipeline/guarding.py` and `pipeline/guard_log.py`. No I/O of its own.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from chatwright.adapters.postgres import Database
from chatwright.adapters.valkey import Link
from chatwright.domain.chatbot import Chatbot
from chatwright.features.guard.attempt_store import AttemptMemory
from chatwright.features.guard.directory import GuardDirectory
from chatwright.features.guard.events import EventLine
from chatwright.features.guard.injection import InjectionModel
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.guard.store import TenantRules
from chatwright.features.guard.waves import WaveCounter

_log = structlog.get_logger(__name__)
_CHATBOTS_AT_MOST = 10_000
_RETRY_S = 60.0
_JOINED = ("banned_terms", "categories", "redact", "link_hosts")
"""A chatbot's own lists stand beside its tenant's, they do not replace them."""


@dataclass(slots=True)
class GuardDesk:
    """One per process."""

    directory: GuardDirectory
    waves: WaveCounter
    attempts: AttemptMemory
    line: EventLine = field(default_factory=EventLine)
    _guarded: dict[str, tuple[Chatbot, TenantRules, Chatbot, GuardPolicy]] = field(
        default_factory=dict[str, tuple[Chatbot, TenantRules, Chatbot, GuardPolicy]]
    )
    _model: InjectionModel | None = None
    _retry_at_s: float = 0.0
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def under_tenant(self, chatbot: Chatbot, rules: TenantRules) -> tuple[Chatbot, GuardPolicy]:
        """The chatbot with its tenant's rules in its policy, and that policy as a value."""
        known = self._guarded.get(chatbot.id)
        if known is not None and known[1] is rules and (known[0] is chatbot or known[2] is chatbot):
            return known[2], known[3]
        merged = chatbot
        if rules.policy:
            merged = replace(chatbot, guard_policy=inherit(rules.policy, chatbot.guard_policy))
        policy = GuardPolicy.of(merged.guard_policy)
        while len(self._guarded) >= _CHATBOTS_AT_MOST:
            del self._guarded[next(iter(self._guarded))]
        self._guarded[chatbot.id] = (chatbot, rules, merged, policy)
        return merged, policy

    async def model(self) -> InjectionModel | None:
        """The injection model, read from its files when it is first asked for. None where they cannot be read: that is
        logged, and tried again after a minute."""
        if self._model is None and self._retry_at_s <= time.monotonic():
            async with self._loading:
                if self._model is None and self._retry_at_s <= time.monotonic():
                    try:
                        self._model = await asyncio.to_thread(InjectionModel.load)
                    except (OSError, ValueError, KeyError) as error:
                        self._retry_at_s = time.monotonic() + _RETRY_S
                        _log.error("guard.without_model", error=str(error))
        return self._model


def inherit(tenant: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A chatbot's policy over its tenant's: its own fields stand before the tenant's, lists are joined. Pure."""
    merged = {**tenant, **own}
    for name in _JOINED:
        both = [fields[name] for fields in (tenant, own) if isinstance(fields.get(name), list)]
        if len(both) > 1:
            merged[name] = list(dict.fromkeys([*both[0], *both[1]]))  # each was bounded where it was written
    return merged


def open_desk(db: Database, link: Link, *, prefix: str) -> GuardDesk:
    return GuardDesk(
        directory=GuardDirectory(db), waves=WaveCounter(link, prefix), attempts=AttemptMemory(link, prefix)
    )
