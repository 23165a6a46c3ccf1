"""The limits that all processes share, in Valkey: one Lua call decides over all scopes of a request, on Valkey's clock.

Buckets are numbers, leases sorted sets of who holds one until when. Every key holds the tenant in braces, so a request's
keys lie together in a cluster, and every key ends by itself. Called by `service.py`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis

from chatwright.adapters.valkey import Link, Script
from chatwright.adapters.valkey.client import refusal
from chatwright.domain.errors import Unavailable
from chatwright.features.limits.rules import CONCURRENCY_WAIT_S, MINUTE_US, SLACK, Bucket

ASK_S = 0.04
"""Valkey answers in well under a millisecond; who waits longer than this goes on without it …"""
LAST_LOOK_S = 0.01
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
-- KEYS: buckets, then leases, then the message's estimate if ARGV[5] is not empty.
-- ARGV: how many buckets, how many leases, who takes them, for how many ms, its tokens or '', then limit and need of
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

SETTLE_MESSAGE = Script(
    _NOW
    + f"""
-- KEYS: the message's estimate, buckets, then leases. ARGV: tokens used or -1, member, how many buckets, their limits.
-- Once: the estimate is gone afterwards.
local buckets = tonumber(ARGV[3])
local used, taken = tonumber(ARGV[1]), redis.call('GETDEL', KEYS[1])
if taken and used >= 0 then
  for i = 1, buckets do
    local full = math.max(tonumber(redis.call('GET', KEYS[1 + i]) or 0), now)
    keep(KEYS[1 + i], full + (used - tonumber(taken)) * {MINUTE_US} / tonumber(ARGV[3 + i]))
  end
end
for i = 2 + buckets, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[2])
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
    estimate: tuple[str, int] | None = None,
) -> tuple[int, float, list[float]]:
    """Take from all buckets and leases or from none: (place of what refuses or 0, µs to wait, µs until each is full).

    `leases`: (key, limit); `member` holds them for `hold_s`. `estimate`: (key, tokens) to be found again by
    `settle_message`. Raises Unavailable within 50 ms, LinkLost when nobody knows whether it was done.
    """
    keys: list[str] = [bucket.key for bucket in buckets]
    numbers: list[int | str] = [len(buckets), len(leases), member, round(hold_s * 1000), ""]
    for bucket in buckets:
        numbers += (bucket.limit, bucket.need)
    for key, limit in leases:
        keys.append(key)
        numbers.append(limit)
    if estimate is not None:
        keys.append(estimate[0])
        numbers[4] = estimate[1]
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


async def settle_message(
    link: Link,
    estimate: str,
    buckets: Sequence[tuple[str, int]],
    leases: Iterable[str],
    member: str,
    *,
    used_tokens: int | None,
) -> None:
    """Correct by what a queued message was estimated at, and give its leases back. Twice is once. Raises Unavailable."""
    keys = [estimate, *(key for key, _ in buckets), *leases]
    used = -1 if used_tokens is None else used_tokens
    await SETTLE_MESSAGE(link, keys, (used, member, len(buckets), *(limit for _, limit in buckets)))


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
