"""The limits that all processes share, in Valkey: one Lua call decides over all scopes of a request, on Valkey's clock.

Buckets are numbers, leases sorted sets of who holds one until when. Every key holds the tenant in braces, so a request's
keys lie together in a cluster, and every key ends by itself. Called by `service.py`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from chatwright.adapters.valkey import Link, Script
from chatwright.adapters.valkey.client import refusal
from chatwright.domain.errors import Unavailable
from chatwright.features.limits.rules import CONCURRENCY_WAIT_S, MINUTE_US, SLACK, Bucket

ASK_S = 0.45
"""Valkey answers in well under a millisecond. One that is slow, on a busy machine or while it writes its file, is waited
for: who goes on without it lets a limit in anew. After this it is taken for stuck, and nobody asks for a second …"""
LAST_LOOK_S = 0.05
"""… after one more look: a loop that was busy itself has not read yet what came in time."""

# Counted from 2023-11-14, so that a double holds sixteenths of a microsecond.
_NOW = """
local time = redis.call('TIME')
local now = (tonumber(time[1]) - 1700000000) * 1000000 + tonumber(time[2])
local function keep(key, full)
  if full > now then
    redis.call('SET', key, string.format('%.3f', full), 'PX', math.floor((full - now) / 1000) + 1000)
  else
    redis.call('DEL', key)
  end
end
"""

ADMIT = Script(
    _NOW
    + f"""
-- KEYS: buckets, then leases, then the message's record if ARGV[5] is not empty.
-- ARGV: how many buckets, how many leases, who takes them, for how many ms, the record or '', then limit and need of
-- each bucket, then the limit of each lease. Returns the place of what refuses (0: let in), the µs to wait, and the µs
-- until each bucket is full again. A refusal changes nothing. `rules.admit` is the same in Python.
local buckets, leases = tonumber(ARGV[1]), tonumber(ARGV[2])
local place, wait = 0, 0
local reply, fulls, kept = {{0, 0}}, {{}}, {{}}
if buckets > 0 then kept = redis.call('MGET', unpack(KEYS, 1, buckets)) end
for i = 1, buckets do
  local limit, need = tonumber(ARGV[4 + 2 * i]), tonumber(ARGV[5 + 2 * i])
  local interval = {MINUTE_US} / limit
  local full = math.max(tonumber(kept[i] or 0), now)
  local short = full - now + (math.min(need, limit) - {SLACK}) * interval - {MINUTE_US}
  if short > wait then place, wait = i, short end
  fulls[i] = full + need * interval
  reply[2 + i] = math.ceil(full - now)
end
local text = string.format('%.0f', now)
for i = 1, leases do
  local held = redis.call('ZCOUNT', KEYS[buckets + i], '(' .. text, '+inf')
  if held >= tonumber(ARGV[5 + 2 * buckets + i]) and wait < {CONCURRENCY_WAIT_S * 1e6:.0f} then
    place, wait = buckets + i, {CONCURRENCY_WAIT_S * 1e6:.0f}
  end
end
if place > 0 then
  reply[1], reply[2] = place, math.ceil(wait)
  return reply
end
for i = 1, buckets do
  keep(KEYS[i], fulls[i])
  reply[2 + i] = math.ceil(fulls[i] - now)
end
local hold = tonumber(ARGV[4])
for i = buckets + 1, buckets + leases do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', text)
  redis.call('ZADD', KEYS[i], string.format('%.0f', now + hold * 1000), ARGV[3])
  if redis.call('PTTL', KEYS[i]) < hold then redis.call('PEXPIRE', KEYS[i], hold + 1000) end
end
if ARGV[5] ~= '' then redis.call('SET', KEYS[buckets + leases + 1], ARGV[5], 'PX', hold) end
return reply
"""
)

SETTLE = Script(
    _NOW
    + f"""
-- KEYS: buckets, then one lease a member. ARGV: how many buckets, limit and correction in tokens of each, members.
local buckets = tonumber(ARGV[1])
for i = 1, buckets do
  local full = math.max(tonumber(redis.call('GET', KEYS[i]) or 0), now)
  keep(KEYS[i], full + tonumber(ARGV[1 + 2 * i]) * {MINUTE_US} / tonumber(ARGV[2 * i]))
end
for i = buckets + 1, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[1 + buckets + i])
end
return 0
"""
)


async def admit(
    link: Link,
    buckets: Sequence[Bucket],
    leases: Sequence[tuple[str, int]],
    member: str,
    *,
    hold_s: float,
    record: tuple[str, str] | None = None,
) -> tuple[int, float, list[float]]:
    """Take from all buckets and leases or from none: (place of what refuses or 0, µs to wait, µs until each is full).

    `leases`: (key, limit); `member` holds them for `hold_s`. `record`: (key, text) that `take_record` finds again. Raises Unavailable within half a second, LinkLost when nobody knows whether it was done.
    """
    keys: list[str] = [bucket.key for bucket in buckets]
    numbers: list[int | str] = [len(buckets), len(leases), member, round(hold_s * 1000), ""]
    for bucket in buckets:
        numbers += (bucket.limit, bucket.need)
    for key, limit in leases:
        keys.append(key)
        numbers.append(limit)
    if record is not None:
        keys.append(record[0])
        numbers[4] = record[1]
    place, wait_us, *debts = await _ask(link, ADMIT, keys, numbers)
    return place, wait_us, debts


async def settle(link: Link, corrections: Sequence[tuple[str, int, int]], releases: Sequence[tuple[str, str]]) -> None:
    """Correct buckets, each (key, limit, tokens), and give leases back, each (key, member). Raises Unavailable."""
    keys: list[str] = []
    numbers: list[int | str] = [len(corrections)]
    for key, limit, tokens in corrections:
        keys.append(key)
        numbers += (limit, tokens)
    for key, member in releases:
        keys.append(key)
        numbers.append(member)
    await SETTLE(link, keys, numbers)


async def take_record(link: Link, key: str) -> str | None:
    """What `admit` left for a message, once: the next one who asks gets None. Raises Unavailable."""
    found = await link.execute("GETDEL", key)
    return None if found is None else bytes(found).decode()


async def _ask(link: Link, script: Script, keys: Sequence[str], numbers: Sequence[int | str]) -> Any:
    reply = await _in_time(link.post(b"EVALSHA", script.sha, len(keys), *keys, *numbers))
    if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
        reply = await _in_time(link.post(b"EVAL", script.source, len(keys), *keys, *numbers))
    if isinstance(reply, hiredis.ReplyError):
        raise refusal(str(reply))
    return reply


async def _in_time(future: asyncio.Future[Any]) -> Any:
    """The reply. Raises Unavailable when it does not come in time.

    No `asyncio.timeout`: under a burst the loop itself is late, timers fire before sockets are read, and a reply that
    lies there already would count as missed. Everybody would fall back, and the limit would be let in twice.
    """
    timer = asyncio.get_running_loop().call_later(ASK_S, _look_again, future)
    try:
        return await future
    finally:
        timer.cancel()


def _look_again(future: asyncio.Future[Any]) -> None:
    if not future.done():
        asyncio.get_running_loop().call_later(LAST_LOOK_S, _give_up, future)


def _give_up(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(Unavailable("Valkey does not answer in time"))
