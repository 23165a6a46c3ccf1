"""Live fan-out: one pub/sub connection per process, shared by every open stream in it, and some lines of notices.

Owns the connection and the subscriptions (by reference count); `follower.py` owns what one reader sees. A connection
that breaks, or hears nothing for `silence_s` although it pings, is replaced, and every follower then looks into its
log; a follower therefore needs no timer of its own.
Called by the sockets and event streams of `entrypoints/`, by the worker (`cancels`), by authentication (`revoked`), by
the choice of providers (`gates`), by the semantic cache (`learned`) and by the readers of custom intents (`intents`).
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self

from chatwright.adapters.valkey.follower import Follower
from chatwright.adapters.valkey.link import FIRST_PAUSE_S, LONGEST_PAUSE_S, Endpoint, Wire, connect, stop
from chatwright.adapters.valkey.log import StreamLog
from chatwright.domain.errors import Unavailable
from chatwright.domain.ids import ApiKeyId, ChatbotId, ConversationId, MessageId, TenantId

NOTICES = 10_000  # kept for a reader of notices that lags; past that it is told to look up all it holds


class _Listener(Protocol):
    def resumed(self) -> None: ...
    def interrupted(self) -> None: ...
    def told(self, data: bytes) -> None: ...
    def end(self) -> None: ...


class _Topic:
    __slots__ = ("listeners", "live", "ordinal")

    def __init__(self) -> None:
        self.listeners: list[_Listener] = []
        self.ordinal = -1  # which confirmation on this connection is ours
        self.live = False


class Channel:
    """Make it with `open_channel`."""

    def __init__(
        self,
        endpoint: Endpoint,
        log: StreamLog,
        *,
        buffer_events: int,
        buffer_bytes: int,
        heartbeat_s: float,
        silence_s: float,
        patience_s: float,
    ) -> None:
        self.log = log
        self.buffer_events = buffer_events
        self.buffer_bytes = buffer_bytes
        self.patience_s = patience_s
        self._endpoint = endpoint
        self._heartbeat_s = heartbeat_s
        self._silence_s = silence_s
        self._topics: dict[bytes, _Topic] = {}
        self._wire: Wire | None = None
        self._sent = 0
        self._confirmed = 0
        self._closed = False
        self._clock = asyncio.get_running_loop().time

    @property
    def quiet_s(self) -> float:
        """Seconds since the server was last heard on this connection; infinite while there is none.

        Notices published up to then have arrived. Whoever trusts its memory because of `revoked` looks here first.
        """
        return float("inf") if self._wire is None else self._clock() - self._wire.heard_at_s

    def follow(self, tenant_id: TenantId, conversation_id: ConversationId, *, after_seq: int | None) -> "Follower":
        """Follow one conversation's events after `after_seq` (None: only what comes from now on).

        ``async with channel.follow(…) as events: async for event in events``: (seq, payload without seq) in order,
        none missing, none twice, or Lost. Ends when the channel closes.
        """
        return Follower(self, tenant_id, conversation_id, after_seq)

    async def publish_cancel(self, message_id: MessageId) -> None:
        """Tell every worker to stop answering this message. Raises Unavailable."""
        await self.log.link.execute("PUBLISH", f"{self.log.prefix}:cancel", message_id)

    async def publish_revoked(self, key_id: ApiKeyId) -> None:
        """Tell every API process to forget this key. Raises Unavailable."""
        await self.log.link.execute("PUBLISH", f"{self.log.prefix}:revoked", key_id)

    async def publish_learned(self, chatbot_id: ChatbotId) -> None:
        """Tell every process that what it remembers of this chatbot's semantic cache is out of date. Raises Unavailable."""
        await self.log.link.execute("PUBLISH", f"{self.log.prefix}:learned", chatbot_id)

    async def publish_intents(self, chatbot_id: ChatbotId) -> None:
        """Tell every process that this chatbot's own intents, or their model, changed. Raises Unavailable."""
        await self.log.link.execute("PUBLISH", f"{self.log.prefix}:intents", chatbot_id)

    async def cancels(self) -> AsyncIterator[MessageId | None]:
        """Messages whose answer must stop. None, first and after every break: look up those that you work on."""
        async with _Notices(self, "cancel") as notices:
            async for text in notices:
                yield None if text is None else MessageId(text)

    async def revoked(self) -> AsyncIterator[ApiKeyId | None]:
        """Keys that were revoked. None, first and at and after every break: forget all of them."""
        async with _Notices(self, "revoked") as notices:
            async for text in notices:
                yield None if text is None else ApiKeyId(text)

    async def learned(self) -> AsyncIterator[ChatbotId | None]:
        """Chatbots whose semantic cache changed. None, first and at and after every break: look all of them up."""
        async with _Notices(self, "learned") as notices:
            async for text in notices:
                yield None if text is None else ChatbotId(text)

    async def intents(self) -> AsyncIterator[ChatbotId | None]:
        """Chatbots whose own intents changed. None, first and at and after every break: look all of them up."""
        async with _Notices(self, "intents") as notices:
            async for text in notices:
                yield None if text is None else ChatbotId(text)

    async def gates(self) -> AsyncIterator[str | None]:
        """Circuit breakers that opened or closed, as their scripts publish it. None: look up all that are open."""
        async with _Notices(self, "gates") as notices:
            async for text in notices:
                yield text

    def join(self, name: bytes, listener: _Listener) -> bool:
        """Add a listener. Returns True if the subscription already stands; else `resumed` is called once it does."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic()
            if self._wire is not None:
                self._subscribe(self._wire, name, topic)
        topic.listeners.append(listener)
        return topic.live

    def leave(self, name: bytes, listener: _Listener) -> None:
        topic = self._topics.get(name)
        if topic is None or listener not in topic.listeners:
            return
        topic.listeners.remove(listener)
        if not topic.listeners:
            del self._topics[name]
            if self._wire is not None:
                self._sent += 1
                self._wire.send("UNSUBSCRIBE", name)

    @property
    def closed(self) -> bool:
        return self._closed

    def _subscribe(self, wire: Wire, name: bytes, topic: _Topic) -> None:
        self._sent += 1
        topic.ordinal = self._sent
        wire.send("SUBSCRIBE", name)

    def _on_reply(self, reply: Any) -> None:
        if not isinstance(reply, list):  # a PONG, or an error: the server ends the connection by itself then
            return
        kind: bytes = reply[0]
        if kind == b"message":
            topic = self._topics.get(reply[1])
            if topic is not None:
                for listener in topic.listeners:
                    listener.told(reply[2])
        elif kind == b"subscribe":
            # Replies come in order, so a number tells a new subscription from an old one to the same name.
            self._confirmed += 1
            topic = self._topics.get(reply[1])
            if topic is not None and topic.ordinal == self._confirmed:
                topic.live = True
                for listener in topic.listeners:
                    listener.resumed()
        elif kind == b"unsubscribe":
            self._confirmed += 1

    async def run(self) -> None:
        """Keep the connection up until cancelled. `open_channel` is the parent of this."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                wire = await connect(self._endpoint, timeout_s=self._silence_s)
            except Unavailable:
                await asyncio.sleep(pause_s * (0.5 + random.random() / 2))  # noqa: S311 - spreads reconnects
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            wire.on_reply = self._on_reply
            self._wire = wire
            self._sent = self._confirmed = 0
            for name, topic in self._topics.items():
                self._subscribe(wire, name, topic)
            try:
                while not wire.lost.done() and self.quiet_s < self._silence_s:
                    wire.send("PING")
                    await asyncio.wait({wire.lost}, timeout=self._heartbeat_s)
            finally:
                self._wire = None
                wire.abort()
                for topic in self._topics.values():
                    topic.live = False
                    for listener in topic.listeners:
                        listener.interrupted()

    def close(self) -> None:
        """End every follower and every line of notices."""
        self._closed = True
        for topic in self._topics.values():
            for listener in topic.listeners:
                listener.end()


class _Notices:
    """A line of short notices: texts as published, None where some may have been missed."""

    def __init__(self, channel: Channel, kind: str) -> None:
        self._channel = channel
        self._name = f"{channel.log.prefix}:{kind}".encode()
        self._items: deque[str | None] = deque()
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        if self._channel.join(self._name, self):
            self._put(None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._channel.leave(self._name, self)

    def __aiter__(self) -> AsyncIterator[str | None]:
        return self

    async def __anext__(self) -> str | None:
        while not self._items:
            if self._channel.closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._items.popleft()

    def resumed(self) -> None:
        self._put(None)

    def interrupted(self) -> None:
        self._put(None)

    def end(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def told(self, data: bytes) -> None:
        self._put(data.decode("ascii", "replace"))

    def _put(self, item: str | None) -> None:
        if item is None or len(self._items) >= NOTICES:
            self._items.clear()  # None says it all
            item = None
        self._items.append(item)
        self.end()


@asynccontextmanager
async def open_channel(
    url: str,
    log: StreamLog,
    *,
    buffer_events: int = 1000,
    buffer_bytes: int = 1 << 20,
    heartbeat_s: float = 0.5,
    silence_s: float = 5.0,
    patience_s: float = 30.0,
) -> AsyncGenerator[Channel]:
    """Yield a Channel and keep its connection up; at the end every follower ends.

    `buffer_events`, `buffer_bytes`: what one follower may have waiting before it goes on from the log instead.
    `heartbeat_s`: between pings. `silence_s`: without a sign of life the connection is replaced. `patience_s`: how
    long a follower waits for a Valkey that is away.
    """
    channel = Channel(
        Endpoint.parse(url),
        log,
        buffer_events=buffer_events,
        buffer_bytes=buffer_bytes,
        heartbeat_s=heartbeat_s,
        silence_s=silence_s,
        patience_s=patience_s,
    )
    task = asyncio.create_task(channel.run(), name="valkey-channel")
    task.add_done_callback(lambda _: channel.close())  # nobody may wait for a connection that nobody mends
    try:
        yield channel
    finally:
        channel.close()
        await stop(task)
