"""A stored key is looked at once more before each call: an answer may come to its next provider long after its chain
was made, and a key that was revoked meanwhile makes no further call. Made by `pipeline/targets.py`.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from chatwright.adapters.providers.base import Embeddings, EmbeddingTask, WireFormat
from chatwright.domain.errors import ProviderError, Unavailable
from chatwright.domain.providers import Completion, Delta, Prompt, Route
from chatwright.domain.scope import Scope
from chatwright.features.provider_keys import KeyRing


class KeyedWire:
    """Implements WireFormat over another one. `scope` is the key's owner, None the platform.

    As long as the owner's keys are in memory, which is the rule, this costs a look-up and nothing a delta.
    """

    __slots__ = ("_key_id", "_keys", "_scope", "_wire")

    def __init__(self, wire: WireFormat, keys: KeyRing, scope: Scope | None, key_id: str) -> None:
        self._wire = wire
        self._keys = keys
        self._scope = scope
        self._key_id = key_id

    def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """See WireFormat.stream. Raises ProviderError, also for a key that has ended."""
        if self._keys.holds(self._scope, self._key_id):
            return self._wire.stream(route, prompt)
        return self._stream(route, prompt)

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        """See WireFormat.complete. Raises ProviderError, also for a key that has ended."""
        await self._check(route)
        return await self._wire.complete(route, prompt)

    async def embed(
        self, route: Route, texts: Sequence[str], *, dimensions: int | None = None, task: EmbeddingTask | None = None
    ) -> Embeddings:
        """See WireFormat.embed. Raises ProviderError, also for a key that has ended."""
        await self._check(route)
        return await self._wire.embed(route, texts, dimensions=dimensions, task=task)

    async def _stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        await self._check(route)
        async with aclosing(self._wire.stream(route, prompt)) as deltas:
            async for delta in deltas:
                yield delta

    async def _check(self, route: Route) -> None:
        if self._keys.holds(self._scope, self._key_id):
            return
        try:
            ended = not await self._keys.is_in_use(self._scope, self._key_id)
        except Unavailable as error:
            message = f"{route.provider} is not called: whether its key still holds cannot be read just now."
            raise ProviderError(message, retriable=False, error_class="not_configured") from error
        if ended:
            message = f"{route.provider} is not called: its key has ended."
            raise ProviderError(message, retriable=False, error_class="key_revoked")
