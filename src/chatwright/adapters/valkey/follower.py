"""One reader's view of one conversation: the log first, then what is told live, with no gap and no doubling.

Owns position, bounded buffer and the decision when to read the log again: at the start, after a break of the
connection, when a number is missing or repeated, when the reader was too slow for its buffer. Made by `Channel.follow`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from chatwright.adapters.valkey.link import FIRST_PAUSE_S, LONGEST_PAUSE_S
from chatwright.adapters.valkey.log import LogPage
from chatwright.domain.errors import Unavailable
from chatwright.domain.ids import ConversationId, TenantId

if TYPE_CHECKING:
    from chatwright.adapters.valkey.channel import Channel

PAGE_EVENTS = 256  # one read of a log: about 60 kB in memory at a time
_ANEW = -1  # position: there was no log; whatever comes is new to the reader


@dataclass(frozen=True, slots=True)
class Lost:
    """What the follower asked for is no longer kept: send the state from PostgreSQL, under this number.

    Iteration goes on after `seq`: from the first event of a log that was made anew (it begins with whole messages),
    from the newest one if old events were trimmed. 0 when there is no log at all.
    """

    seq: int


Followed = tuple[int, bytes] | Lost


class Follower:
    """Use as ``async with``, then ``async for``, in one task. Make it with `Channel.follow`."""

    __slots__ = (
        "_channel",
        "_conversation_id",
        "_cursor",
        "_joined",
        "_name",
        "_ready",
        "_reread",
        "_standing",
        "_tenant_id",
        "_told",
        "_told_bytes",
        "_told_events",
        "_waiter",
    )

    def __init__(
        self, channel: "Channel", tenant_id: TenantId, conversation_id: ConversationId, after_seq: int | None
    ) -> None:
        self._channel = channel
        self._tenant_id = tenant_id
        self._conversation_id = conversation_id
        self._name = channel.log.channel_name(tenant_id, conversation_id).encode()
        self._cursor = after_seq  # last seq handed out; None: start at the newest
        self._ready: list[tuple[int, bytes]] = []  # to hand out next, the nearest last
        self._told: deque[bytes] = deque()  # notices: the first seq, then the events, one a line
        self._told_bytes = 0
        self._told_events = 0
        self._joined = False
        self._standing = False  # the subscription stands
        self._reread = False  # the log must be read before anything told is looked at
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        # Subscribe first, read the log second: nothing can fall between.
        self._joined = True
        if self._channel.join(self._name, self):
            self.resumed()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._joined = False
        self._channel.leave(self._name, self)
        self._forget()
        self._ready.clear()

    def __aiter__(self) -> AsyncIterator[Followed]:
        return self

    async def __anext__(self) -> Followed:
        """Raises Unavailable when Valkey was away for the channel's `patience_s`."""
        while True:
            if self._ready:
                event = self._ready.pop()
                self._cursor = event[0]
                return event
            if self._channel.closed or not self._joined:
                raise StopAsyncIteration
            if self._reread and self._standing:
                lost = self._place(await self._page())
                if lost is not None:
                    return lost
            elif self._told and not self._reread:
                self._take()
            else:
                await self._wait()

    # Called by the channel.

    def resumed(self) -> None:
        self._standing = self._reread = True
        self._forget()
        self.end()

    def interrupted(self) -> None:
        self._standing = False
        self.end()

    def end(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def told(self, data: bytes) -> None:
        if self._reread:
            return  # the log is about to be read, and these events are in it
        self._told_events += data.count(b"\n")
        self._told_bytes += len(data)
        if self._told_events > self._channel.buffer_events or self._told_bytes > self._channel.buffer_bytes:
            self._reread = True  # too slow to keep up: forget the buffer, go on from the log page by page
            self._forget()
        else:
            self._told.append(data)
        self.end()

    def _forget(self) -> None:
        self._told.clear()
        self._told_bytes = self._told_events = 0

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            if self._standing:
                await self._waiter  # the connection's heartbeat ends this wait if the server is gone
            else:
                async with asyncio.timeout(self._channel.patience_s):
                    await self._waiter
        except TimeoutError as error:
            raise Unavailable("live events cannot be followed: Valkey cannot be reached") from error
        finally:
            self._waiter = None

    def _pop(self) -> bytes:
        data = self._told.popleft()
        self._told_bytes -= len(data)
        self._told_events -= data.count(b"\n")
        return data

    def _take(self) -> None:
        head, *events = self._pop().split(b"\n")
        first = int(head)
        if self._cursor is not None and first == self._cursor + 1:
            self._ready = list(enumerate(events, first))[::-1]
        else:
            # A gap; or a number seen before, which a server that lost its newest data may give out again.
            self._reread = True
            self._forget()

    async def _page(self) -> LogPage:
        cursor = self._cursor
        known = cursor is not None and cursor != _ANEW
        log = self._channel.log
        pause_s = FIRST_PAUSE_S
        try:
            async with asyncio.timeout(self._channel.patience_s):
                while True:
                    self._reread = False  # from here on, what is told is kept: the page may not have it
                    try:
                        return await log.read(
                            self._tenant_id,
                            self._conversation_id,
                            after_seq=cursor if cursor is not None and known else 0,
                            limit=PAGE_EVENTS if known else 0,
                        )
                    except Unavailable:
                        await asyncio.sleep(pause_s)
                        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        except TimeoutError as error:
            self._reread = True
            raise Unavailable("the event log cannot be read: Valkey cannot be reached") from error
        except BaseException:  # above all a caller's time-out, who then asks again
            self._reread = True
            raise

    def _place(self, page: LogPage) -> Lost | None:
        """Find our place in a page just read: fill `_ready`, or say that our place is gone."""
        cursor, last = self._cursor, page.last_seq
        lost = False
        more = False
        upto = last  # what was told up to here is known: by this page or, if lost, by the state that is sent instead
        if not page.exists:
            lost = cursor is not None and cursor > 0
            self._cursor = 0 if cursor == 0 else _ANEW
        elif cursor is None:
            self._cursor = last
        elif cursor < page.base_seq:  # the log was made anew, above all that we know (or we knew nothing)
            lost = cursor != _ANEW
            more = page.first_seq == page.base_seq + 1
            self._cursor = page.base_seq if more else last
            lost = lost or not more
        elif cursor > last or cursor < page.first_seq - 1:
            lost = True
            self._cursor = last
        else:
            self._ready = page.events[::-1]
            upto = page.events[-1][0] if page.events else last
            more = upto < last
        if more:
            self._reread = True
            self._forget()
        else:
            while self._told:
                head, count = self._told[0].split(b"\n", 1)[0], self._told[0].count(b"\n")
                if int(head) + count - 1 > upto:
                    break
                self._pop()
        return Lost(max(self._cursor or 0, 0)) if lost else None
