"""What one process remembers of custom intents: the models of the chatbots asked last. Bounded, lost without harm.

Owned by `Services`; read and filled by `pipeline/intents.py`. For one event loop.
"""

import asyncio
from collections import OrderedDict

from chatwright.domain.ids import ChatbotId, TenantId
from chatwright.features.analysis.custom import CustomIntents

MODELS_AT_MOST_BYTES = 128 * 1024 * 1024
CHATBOTS_AT_MOST = 10_000
"""Most have no intents of their own, and take next to nothing."""

Key = tuple[TenantId, ChatbotId]


class IntentMemory:
    """One per process."""

    def __init__(self) -> None:
        self.stale: set[Key] = set()
        """Chatbots of which something newer is known to be there; what is held serves until it is read."""
        self.came = asyncio.Event()
        """Something became stale."""
        self.due = asyncio.Event()
        """Some chatbot's intents changed: there may be a model to train."""
        self.changes = 0
        """Notices heard: who reads a model compares, so that a notice in between is not lost."""
        self._known: OrderedDict[Key, tuple[CustomIntents | None, int]] = OrderedDict()
        self._bytes = 0

    def holds(self, key: Key) -> bool:
        return key in self._known

    def get(self, key: Key) -> CustomIntents | None:
        """A chatbot's model, None if it has none; ask `holds` first."""
        self._known.move_to_end(key)
        return self._known[key][0]

    def put(self, key: Key, model: CustomIntents | None, size_bytes: int) -> None:
        self._bytes += size_bytes - (self._known[key][1] if key in self._known else 0)
        self._known[key] = (model, size_bytes)
        self._known.move_to_end(key)
        while len(self._known) > 1 and (len(self._known) > CHATBOTS_AT_MOST or self._bytes > MODELS_AT_MOST_BYTES):
            gone, (_, freed) = self._known.popitem(last=False)
            self._bytes -= freed
            self.stale.discard(gone)

    def want(self, key: Key) -> None:
        """Have a chatbot's model read, although nothing of it is held."""
        self.stale.add(key)
        self.came.set()

    def changed(self, chatbot_id: ChatbotId | None) -> None:
        """Note that a chatbot's intents changed, or (None) that any may have."""
        self.changes += 1
        self.due.set()
        stale = {key for key in self._known if chatbot_id is None or key[1] == chatbot_id}
        if stale:
            self.stale |= stale
            self.came.set()
