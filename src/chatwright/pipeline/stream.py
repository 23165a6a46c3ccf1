"""From a provider's deltas to the visitor: coalesced by time, numbered, fenced, the same way for every transport.

`relay` is the only way an answer's text goes out, so `HoldBack` is the one place where a filter may look at it first.
Called by `pipeline/answer.py` with a `ConversationSink`, and by the stateless endpoint with a sink of its own.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from chatwright.adapters.providers.base import join_tool_calls
from chatwright.adapters.valkey import StreamLog
from chatwright.domain.errors import CutStream, ProviderError, Unavailable
from chatwright.domain.events import MessageReplace, StreamChunk, StreamEvent, StreamReset, encode
from chatwright.domain.ids import ConversationId, MessageId, TenantId
from chatwright.domain.providers import Delta, Finish, Usage
from chatwright.pipeline.hold_back import HoldBack, PassThrough, Stoppable

MAX_PENDING_CHARS = 65_536  # text waiting for a slow sink; past that the upstream waits too
CLOSE_TIMEOUT_S = 5.0


class Sink(Protocol):
    """Where the visible text goes. Calls never overlap."""

    async def chunk(self, text: str) -> None:
        """Send one piece, never empty. Raises LostLock when somebody else owns the answer now."""
        ...


@runtime_checkable
class ToolCallSink(Protocol):
    """A sink that also passes on fragments of tool calls as they come (OpenAI's delta form)."""

    async def tool_calls(self, fragments: list[dict[str, Any]]) -> None: ...


class _Stopped(Exception):
    """The hold-back has ended the answer."""


@dataclass(slots=True)
class Progress:
    """What a relay has done so far, readable by its caller at any time, above all after a cancellation.

    `text` is what was given to the sink, a piece whose sending was cut short included. `first_text_at_s` is
    `time.monotonic()` when the first piece had been sent.
    """

    parts: list[str] = field(default_factory=list[str])
    finish: Finish | None = None
    usage: Usage | None = None
    model: str | None = None
    first_text_at_s: float | None = None
    fragments: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def chunks(self) -> int:
        return len(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """A stream's end. `error` is None for a good one; else the provider failed after `text` (maybe none) went out."""

    text: str
    finish: Finish | None
    usage: Usage | None
    tool_calls: list[dict[str, Any]] | None
    first_text_at_s: float | None
    chunks: int
    model: str | None
    error: ProviderError | None


async def relay(
    deltas: AsyncIterator[Delta],
    sink: Sink,
    *,
    coalesce_s: float = 0.03,
    hold_back: HoldBack | None = None,
    progress: Progress | None = None,
) -> Relayed:
    """Pass the deltas' text to `sink` until the stream ends, and close the stream.

    The first text goes out at once; later text at most `coalesce_s` seconds after the piece before it, or as soon as
    that piece is through if the sink is slower: so a slow sink makes the pieces longer, not the queue. A provider's
    failure is returned in `Relayed.error`, after what it had sent has gone out; a stream without a finish is one.

    A hold-back that is `Stoppable` may end the answer: the upstream is stopped at once, and that is no error; the finish is
    `content_filter` then.

    Raises what the sink or the hold-back raises (LostLock …), having stopped the upstream. On cancellation nothing
    more is sent, the upstream is closed, and `progress` tells how far it came.
    """
    progress = Progress() if progress is None else progress
    pump = _Pump(sink, PassThrough() if hold_back is None else hold_back, coalesce_s, progress)
    error: ProviderError | None = None
    async with _closed_after(deltas):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump.run(), name="relay-pump")
                try:
                    async for delta in deltas:
                        if (delta.text or delta.tool_calls) and not pump.put(delta.text, delta.tool_calls):
                            await pump.room()
                        if delta.finish is not None:
                            progress.finish = delta.finish
                        if delta.usage is not None:
                            progress.usage = delta.usage
                        if delta.model is not None:
                            progress.model = delta.model
                    if progress.finish is None:
                        raise CutStream("the provider's stream ended without a finish")
                except ProviderError as failure:
                    error = failure
                pump.end()
        except BaseExceptionGroup as failures:
            failure = _first(failures)
            if not isinstance(failure, _Stopped):
                raise failure from None
            progress.finish, error = Finish.CONTENT_FILTER, None
    return Relayed(
        text=progress.text,
        finish=progress.finish,
        usage=progress.usage,
        tool_calls=join_tool_calls(progress.fragments) or None,
        first_text_at_s=progress.first_text_at_s,
        chunks=progress.chunks,
        model=progress.model,
        error=error,
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure itself: only the pump and the reader run in the group, and the first to fail ends the other."""
    failure: BaseException = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


@asynccontextmanager
async def _closed_after(deltas: AsyncIterator[Delta]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        close = getattr(deltas, "aclose", None)
        if close is not None:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await close()


class _Pump:
    """Takes text from the reader at once and gives it to the sink in its own time: one task, at most one timer."""

    def __init__(self, sink: Sink, hold_back: HoldBack, coalesce_s: float, progress: Progress) -> None:
        self._sink = sink
        self._tool_sink = sink if isinstance(sink, ToolCallSink) else None
        self._hold_back = hold_back
        self._stoppable = hold_back if isinstance(hold_back, Stoppable) else None
        self._coalesce_s = coalesce_s
        self._progress = progress
        self._text: list[str] = []
        self._chars = 0
        self._fragments: list[dict[str, Any]] = []
        self._ended = False
        self._idle: asyncio.Future[None] | None = None  # the pump waits for text
        self._pause: asyncio.Future[None] | None = None  # the pump waits until the next piece is due
        self._full: asyncio.Future[None] | None = None  # the reader waits for room

    def put(self, text: str, fragments: list[dict[str, Any]] | None) -> bool:
        """Add what came. Returns False when so much waits that the reader should call `room` first."""
        if text:
            self._text.append(text)
            self._chars += len(text)
        if fragments:
            self._fragments.extend(fragments)
            self._progress.fragments.extend(fragments)
        _wake(self._idle)
        return self._chars < MAX_PENDING_CHARS

    async def room(self) -> None:
        """Wait until the pump has taken what waits. The sink's own time-outs bound it."""
        self._full = asyncio.get_running_loop().create_future()
        await self._full

    def end(self) -> None:
        self._ended = True
        _wake(self._idle)
        _wake(self._pause)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = 0.0
        while True:
            if not (self._text or self._fragments or self._ended):
                self._idle = loop.create_future()
                await self._idle
                self._idle = None
            if not self._ended and due_s > loop.time():
                self._pause = loop.create_future()
                timer = loop.call_at(due_s, _wake, self._pause)
                try:
                    await self._pause
                finally:
                    timer.cancel()
                    self._pause = None
            ended = self._ended
            due_s = loop.time() + self._coalesce_s
            if not await self._send(last=ended):
                due_s = 0.0  # nothing went out: what comes next need not wait
            if ended:
                return

    async def _send(self, *, last: bool) -> bool:
        taken, self._text, self._chars = "".join(self._text), [], 0
        fragments, self._fragments = self._fragments, []
        _wake(self._full)
        text = self._hold_back.feed(taken) if taken else ""
        if last:
            text += self._hold_back.finish()
        if text:
            progress = self._progress
            progress.parts.append(text)
            await self._sink.chunk(text)
            if progress.first_text_at_s is None:
                progress.first_text_at_s = time.monotonic()
        if self._stoppable is not None and self._stoppable.stopped:
            raise _Stopped
        if fragments and self._tool_sink is not None:
            await self._tool_sink.tool_calls(fragments)
        return bool(text or fragments)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


class ConversationSink:
    """Writes one attempt's events of one message into its conversation's log.

    A Valkey that is away does not stop an answer: chunks are then only remembered, and the first one that gets through
    again goes out as `message_replace` with the whole text. The same heals a log that had to be made anew.
    """

    def __init__(
        self,
        log: StreamLog,
        *,
        tenant_id: TenantId,
        conversation_id: ConversationId,
        message_id: MessageId,
        stream_id: str,
        attempt: int,
        on_missing: Callable[[], Awaitable[int]] | None = None,
        animate: Callable[[str], str | None] | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """`on_missing`: see `StreamLog.append`. `animate` chooses the animation that goes with a piece of text."""
        self._log = log
        self._tenant_id = tenant_id
        self._conversation_id = conversation_id
        self._message_id = message_id
        self._stream_id = stream_id
        self._attempt = attempt
        self._on_missing = on_missing
        self._animate = animate
        self._now_s = now_s
        self._index = 0
        self._shown: list[str] = []
        self._behind = False
        self.last_seq = 0

    async def chunk(self, text: str) -> None:
        """Append one piece of the answer. Raises LostLock."""
        self._shown.append(text)
        animation = None if self._animate is None else self._animate(text)
        event = StreamChunk(index=self._index, text=text, animation=animation)
        self._index += 1
        try:
            await self.send(event)
        except Unavailable:
            self._behind = True

    async def chunks(self, texts: Sequence[str]) -> None:
        """Append several pieces, none empty, in one call. Raises LostLock."""
        events: list[StreamEvent] = []
        for text in texts:
            self._shown.append(text)
            animation = None if self._animate is None else self._animate(text)
            events.append(StreamChunk(index=self._index, text=text, animation=animation))
            self._index += 1
        try:
            await self.send(*events)
        except Unavailable:
            self._behind = True

    async def replace(self, text: str) -> None:
        """Put `text` in the place of all that was shown. Raises LostLock."""
        if not self._shown:
            return await self.chunk(text)
        self._shown[:] = [text]
        try:
            await self.send(MessageReplace(text=text))
        except Unavailable:
            self._behind = True
        return None

    async def send(self, *events: StreamEvent, terminal: bool = False) -> int:
        """Append events in one call; `terminal` closes the message. Returns the last seq. Raises LostLock, Unavailable.

        A StreamReset among them forgets the text sent so far.
        """
        if any(isinstance(event, StreamReset) for event in events):
            self._shown.clear()
            self._index = 0
        self.last_seq = await self._log.append(
            self._tenant_id,
            self._conversation_id,
            message_id=self._message_id,
            attempt=self._attempt,
            events=self._replay(events) if self._behind else self._encode(events),
            terminal=terminal,
            floor_seq=self.last_seq,
            on_missing=self._on_missing,
            replay=lambda: self._replay(events),
        )
        self._behind = False
        return self.last_seq

    def _replay(self, events: Sequence[StreamEvent]) -> list[bytes]:
        """The whole text in the place of its last piece."""
        others = [event for event in events if not isinstance(event, StreamChunk)]
        if not self._shown:
            return self._encode(others)
        return self._encode([MessageReplace(text="".join(self._shown)), *others])

    def _encode(self, events: Sequence[StreamEvent]) -> list[bytes]:
        ts = self._now_s()
        return [
            encode(
                event,
                conversation_id=self._conversation_id,
                message_id=self._message_id,
                stream_id=self._stream_id,
                ts=ts,
            )
            for event in events
        ]
