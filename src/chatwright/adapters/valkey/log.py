"""The numbered event log of each conversation, kept in Valkey for readers that come late or come back.

Owns the numbering (`seq`: gapless per conversation, given out inside one Lua call), the fence between attempts, the cap
and the lifetime, and the notice to live followers (`channel.py`). Written by `pipeline/accept.py` and by the sink in
`pipeline/stream.py`; read by `channel.py` on behalf of every transport. PostgreSQL stays the truth: a log that is gone
is made anew from there, above every number given out before.
"""

import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio.client import Pipeline

from chatwright.adapters.valkey.link import Link, LinkLost
from chatwright.adapters.valkey.scripts import Script
from chatwright.domain.errors import LostLock
from chatwright.domain.ids import ConversationId, MessageId, TenantId

# Meta hash: `seq` last number given out · `base` the number before the first of this log · `a:<message>` attempt, token
# and last seq of an open message · `done` message, attempt, token and last seq of the last terminal append.
APPEND = Script("""
-- KEYS: event list, meta hash. Returns the last seq, 0 when the caller must prove its right, -1 when it has none.
local message, attempt, token = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local base, floor = tonumber(ARGV[4]), tonumber(ARGV[5])
local cap, lifetime_ms, channel, terminal = tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9] == '1'
local meta = redis.call('HMGET', KEYS[2], 'seq', 'a:' .. message, 'done')
local seq = tonumber(meta[1] or nil)
if meta[2] then
  local known, last_token, last_seq = string.match(meta[2], '^(%d+):([^:]*):(%d+)$')
  if attempt < tonumber(known) then return -1 end
  -- The reply was lost and the caller asks again: the events are there.
  if token == last_token and seq >= floor then return tonumber(last_seq) end
elseif meta[3] then
  -- A last event is told once: a teller that never heard of its success asks with another token.
  local done_message, done_attempt, done_token, done_seq = string.match(meta[3], '^(.*):(%d+):([^:]*):(%d+)$')
  if done_message == message and (done_token == token or (terminal and attempt <= tonumber(done_attempt))) then
    return tonumber(done_seq)
  end
end
if seq and seq < floor then
  -- The server came back with less than it had confirmed: these numbers must not be given out twice.
  if not base then return 0 end
  seq = nil
end
if not seq then
  if not base then return 0 end
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[2], 'base', ARGV[4])
  seq = base
elseif not meta[2] and not base then
  return 0
end
local count = #ARGV - 9
local first = seq + 1
local length = 0
for from = 10, #ARGV, 1000 do
  length = redis.call('RPUSH', KEYS[1], unpack(ARGV, from, math.min(from + 999, #ARGV)))
end
if length > cap then redis.call('LTRIM', KEYS[1], -cap, -1) end
seq = seq + count
local last = string.format('%.0f', seq)
if terminal then
  redis.call('HSET', KEYS[2], 'seq', last, 'done', message .. ':' .. ARGV[2] .. ':' .. token .. ':' .. last)
  redis.call('HDEL', KEYS[2], 'a:' .. message)
else
  redis.call('HSET', KEYS[2], 'seq', last, 'a:' .. message, ARGV[2] .. ':' .. token .. ':' .. last)
end
redis.call('PEXPIRE', KEYS[1], lifetime_ms)
redis.call('PEXPIRE', KEYS[2], lifetime_ms)
redis.call('PUBLISH', channel, string.format('%.0f', first) .. '\\n' .. table.concat(ARGV, '\\n', 10))
return seq
""")

READ = Script("""
-- KEYS: event list, meta hash. ARGV: after seq, limit. Returns exists, base, first kept, last, events.
local meta = redis.call('HMGET', KEYS[2], 'seq', 'base')
if not meta[1] then return {0, 0, 1, 0, {}} end
local last = tonumber(meta[1])
local first = last - redis.call('LLEN', KEYS[1]) + 1
local start = math.max(tonumber(ARGV[1]) + 1 - first, 0)
local limit = tonumber(ARGV[2])
local events = {}
if limit > 0 then events = redis.call('LRANGE', KEYS[1], start, start + limit - 1) end
return {1, tonumber(meta[2]), first, last, events}
""")

OnMissing = Callable[[], Awaitable[int]]
Replay = Callable[[], Sequence[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Part of a log at one instant. `events` are (seq, payload without seq), ascending and gapless.

    `base_seq` is the number before the first event of this log's life (0, unless it was made anew), `first_seq` the
    first that is still kept, `last_seq` the last given out. `exists` is False when nothing is known: new, expired or
    wiped.
    """

    events: list[tuple[int, bytes]]
    base_seq: int
    first_seq: int
    last_seq: int
    exists: bool


def with_seq(payload: bytes, seq: int) -> bytes:
    """Splice the number into an event's JSON object: nobody decodes an event on its way to the visitor."""
    return b'{"seq":%d,' % seq + payload[1:]


class StreamLog:
    """Appends to and reads from the logs. One per process; holds no state of a conversation."""

    def __init__(self, link: Link, *, cap: int = 4000, lifetime_s: int = 3600, prefix: str = "cw") -> None:
        """`cap`: events kept per conversation; `lifetime_s`: seconds a log lives after its last event."""
        self.link = link
        self.prefix = prefix
        self._cap = cap
        self._lifetime_ms = lifetime_s * 1000
        self._process = os.urandom(6).hex()
        self._calls = itertools.count()

    def keys(self, tenant_id: TenantId, conversation_id: ConversationId) -> tuple[str, str]:
        """The log's two keys: the list of events and the meta hash, in one cluster slot."""
        log = f"{self.prefix}:log:{{{tenant_id}:{conversation_id}}}"
        return log, log + ":meta"

    def channel_name(self, tenant_id: TenantId, conversation_id: ConversationId) -> str:
        """The pub/sub channel on which appends to this log are told."""
        return f"{self.prefix}:live:{{{tenant_id}:{conversation_id}}}"

    async def append(
        self,
        tenant_id: TenantId,
        conversation_id: ConversationId,
        *,
        message_id: MessageId,
        attempt: int,
        events: Sequence[bytes],
        terminal: bool = False,
        floor_seq: int = 0,
        base_seq: int | None = None,
        on_missing: OnMissing | None = None,
        replay: Replay | None = None,
    ) -> int:
        """Number `events` (JSON objects without seq), store them and tell the followers. Returns the last one's seq.

        `terminal` closes the message: from then on nobody but a caller with proof appends for it. `base_seq` is such
        a proof: "this attempt owns this message; if there is no log, start it after this number" (0 for a new
        conversation). Without it, a log that is missing, does not know the message as open or lost numbers
        (`floor_seq`: the last seq this writer got) makes it call `on_missing`, which checks the fence in PostgreSQL,
        raises LostLock if it is lost and returns the base to go on from: above every number given out before. Then
        `replay`, if given, says what to append instead of `events`, because followers have lost what came before.

        Raises LostLock, having written nothing, when a higher attempt was seen or the message is finished.
        A lost reply is asked for again with the same token, so that events stand in the log once.
        """
        keys = self.keys(tenant_id, conversation_id)
        channel = self.channel_name(tenant_id, conversation_id)
        fence: _Fence = (message_id, attempt, self._token())
        reply = await _twice(self.link, keys, self._arguments(fence, events, channel, terminal, floor_seq, base_seq))
        if reply == 0 and base_seq is None:
            if on_missing is None:
                raise LostLock("the message is not open in its conversation's event log")
            base = await on_missing()
            events = events if replay is None else replay()
            reply = await _twice(self.link, keys, self._arguments(fence, events, channel, terminal, floor_seq, base))
        return self.checked(reply)

    def queue_append(
        self,
        pipeline: Pipeline,
        tenant_id: TenantId,
        conversation_id: ConversationId,
        *,
        message_id: MessageId,
        attempt: int,
        events: Sequence[bytes],
        base_seq: int,
        terminal: bool = False,
    ) -> None:
        """Like `append` with proof, inside a caller's pipeline; pass its reply there through `checked`."""
        channel = self.channel_name(tenant_id, conversation_id)
        fence: _Fence = (message_id, attempt, self._token())
        arguments = self._arguments(fence, events, channel, terminal, 0, base_seq)
        APPEND.queue(pipeline, self.keys(tenant_id, conversation_id), arguments)

    @staticmethod
    def checked(reply: Any) -> int:
        """Turn the reply of an append into the last seq. Raises LostLock if it was refused."""
        seq = cast("int", reply)
        if seq <= 0:
            raise LostLock("a later attempt writes this message's events now")
        return seq

    async def read(
        self, tenant_id: TenantId, conversation_id: ConversationId, *, after_seq: int, limit: int = 1000
    ) -> LogPage:
        """Read up to `limit` events after `after_seq`, or from the first one kept if that is later; one round trip."""
        keys = self.keys(tenant_id, conversation_id)
        try:
            reply = await READ(self.link, keys, (after_seq, limit))
        except LinkLost:  # a stale connection: the next one answers
            reply = await READ(self.link, keys, (after_seq, limit))
        exists, base_seq, first_seq, last_seq, events = cast("tuple[int, int, int, int, list[bytes]]", reply)
        start = max(after_seq + 1, first_seq)
        return LogPage(
            events=list(enumerate(events, start)),
            base_seq=base_seq,
            first_seq=first_seq,
            last_seq=last_seq,
            exists=exists == 1,
        )

    async def is_open(self, tenant_id: TenantId, conversation_id: ConversationId, message_id: MessageId) -> bool:
        """Whether the log knows the message and has not seen its terminal event. Raises Unavailable."""
        meta = self.keys(tenant_id, conversation_id)[1]
        return bool(await self.link.execute("HEXISTS", meta, f"a:{message_id}"))

    def _token(self) -> str:
        return f"{self._process}{next(self._calls):x}"

    def _arguments(
        self,
        fence: "_Fence",
        events: Sequence[bytes],
        channel: str,
        terminal: bool,  # noqa: FBT001 - in the script's order
        floor_seq: int,
        base_seq: int | None,
    ) -> list[str | int | bytes]:
        if fence[1] < 1 or not events:
            raise ValueError("an append needs an attempt >= 1 and at least one event")
        for event in events:
            # The shape that `with_seq` and the one-message-per-append notice rely on.
            if event[:1] != b"{" or event[:2] == b"{}" or b"\n" in event:
                raise ValueError("an event must be one JSON object with fields, on one line")
        base = "" if base_seq is None else base_seq
        return [*fence, base, floor_seq, self._cap, self._lifetime_ms, channel, int(terminal), *events]


_Fence = tuple[MessageId, int, str]  # message, attempt, token of this append


async def _twice(link: Link, keys: Sequence[str], arguments: list[str | int | bytes]) -> Any:
    """Run an append; if the connection broke under it, ask again: the token keeps it from being written twice."""
    try:
        return await APPEND(link, keys, arguments)
    except LinkLost:
        return await APPEND(link, keys, arguments)
