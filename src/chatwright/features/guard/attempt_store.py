"""What visitors tried lately, in Valkey, for all processes: one short value a visitor and chatbot, gone within the hours.

`attempts.py` says what it counts for. A Valkey that is away remembers nothing and delays nobody: the verdict is then made
of the message alone.
"""

import asyncio
import hashlib

from chatwright.adapters.valkey import Link
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.scope import Scope
from chatwright.features.guard.attempts import HALF_LIFE_S, Attempts

_KEEP_S = int(12 * HALF_LIFE_S)
"""What is left of an attempt by then changes no verdict."""
_WAIT_S = 0.25


class AttemptMemory:
    """`prefix` as of all keys of ours."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    async def read(self, scope: Scope, visitor: str) -> Attempts | None:
        """What is known of a visitor (or, where there is none, a conversation). Never raises but CancelledError."""
        try:
            async with asyncio.timeout(_WAIT_S):
                value = await self._link.execute("GET", self._key(scope, visitor))
            weight, _, at_s = (value or b"").decode().partition(":")
            return Attempts(weight=float(weight), at_s=float(at_s)) if at_s else None
        except (ChatwrightError, TimeoutError, ValueError):
            return None

    async def write(self, scope: Scope, visitor: str, attempts: Attempts) -> None:
        """Keep it. Never raises but CancelledError."""
        try:
            async with asyncio.timeout(_WAIT_S):
                value = f"{attempts.weight:.3f}:{attempts.at_s:.0f}"
                await self._link.execute("SET", self._key(scope, visitor), value, "EX", _KEEP_S)
        except (ChatwrightError, TimeoutError):
            return

    def _key(self, scope: Scope, visitor: str) -> str:
        mark = hashlib.sha256(visitor.encode("utf-8", "replace")).hexdigest()[:24]
        return f"{self._prefix}:guard:{{{scope.tenant_id}}}:tried:{scope.chatbot_id}:{mark}"
