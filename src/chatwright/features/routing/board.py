"""What all processes know of the gates together: open breakers, who probes, and the buckets of the limits, in Valkey.

One hash holds the breakers that are open or were lately (a process that starts reads it whole); every change is told
on the channel's line of gate notices. Valkey's clock is the only clock. Called by `gates.py`, which does without it
while Valkey is away; every method raises Unavailable then.

A record is `cause level until_ms token token_until_ms`; cause `healed` keeps the level of a breaker that closed.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import structlog

from chatwright.adapters.valkey import Link, Script
from chatwright.domain.errors import ChatwrightError, Unavailable
from chatwright.features.routing.breaker import FIRST_OPEN_S, LONGEST_OPEN_S, REMEMBERED_S, Cause
from chatwright.features.routing.limits import Pace

_log = structlog.get_logger(__name__)

FORGOTTEN_MS = 600_000  # an open breaker that nobody has asked about for so long
ASK_S = 0.25
"""Valkey answers in under a millisecond, or a call does not wait for it …"""
SOUR_S = 1.0
"""… and no other call asks for this long."""

_READ = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function read(record)
  if not record then return nil end
  local cause, level, till, token, token_till = string.match(record, '^(%a+) (%d+) (%d+) (%S+) (%d+)$')
  return {cause = cause, level = tonumber(level), till = tonumber(till), token = token, token_till = tonumber(token_till)}
end
local function text(cause, level, till, token, token_till)
  return string.format('%s %.0f %.0f %s %.0f', cause, level, till, token, token_till)
end
"""

OPEN = Script(
    _READ
    + f"""
-- KEYS: the hash. ARGV: digest, cause, fixed ms or 0, jitter 0.75..1, level if nothing is known, token or -, channel.
-- Returns ms that it stays open (0: somebody probes already), level, cause.
local known = read(redis.call('HGET', KEYS[1], ARGV[1]))
local cause, fixed, token = ARGV[2], tonumber(ARGV[3]), ARGV[6]
local level = tonumber(ARGV[5])
if known and known.cause ~= 'healed' then
  if known.token_till > now and known.token ~= token then return {{0, known.level, known.cause}} end
  if known.till > now then
    -- Open already. Only what a provider or its refusal asks for can make it longer: many calls fail together.
    if fixed == 0 or now + fixed <= known.till then return {{known.till - now, known.level, known.cause}} end
    level = known.level
  else
    level = known.level + 1
  end
elseif known then
  local fault = cause == 'failing' or cause == 'cutting'
  level = (fault and now - known.till < {REMEMBERED_S * 1000:.0f}) and known.level + 1 or 0
end
local lasts = fixed
if lasts == 0 then
  lasts = math.min({LONGEST_OPEN_S * 1000:.0f}, {FIRST_OPEN_S * 1000:.0f} * 2 ^ math.min(level, 5)) * tonumber(ARGV[4])
end
lasts = math.floor(lasts)
redis.call('HSET', KEYS[1], ARGV[1], text(cause, level, now + lasts, '-', 0))
redis.call('PUBLISH', ARGV[7], string.format('%s %s %.0f %.0f', ARGV[1], cause, lasts, level))
return {{lasts, level, cause}}
"""
)

PROBE = Script(
    _READ
    + """
-- KEYS: the hash. ARGV: digest, token, ms to hold it, cause and level if nothing is known.
-- Returns what ('yours', 'healed', 'open', 'taken'), ms, level, cause.
local known = read(redis.call('HGET', KEYS[1], ARGV[1]))
if known then
  if known.cause == 'healed' then return {'healed', 0, known.level, known.cause} end
  if known.till > now then return {'open', known.till - now, known.level, known.cause} end
  if known.token_till > now then return {'taken', known.token_till - now, known.level, known.cause} end
else
  -- Wiped or forgotten: the caller remembers that it was open, and one probe is still enough.
  known = {cause = ARGV[4], level = tonumber(ARGV[5]), till = now}
end
redis.call('HSET', KEYS[1], ARGV[1], text(known.cause, known.level, known.till, ARGV[2], now + tonumber(ARGV[3])))
return {'yours', tonumber(ARGV[3]), known.level, known.cause}
"""
)

CLOSE = Script(
    _READ
    + """
-- KEYS: the hash. ARGV: digest, token, channel. Closes unless it was opened anew since the probe began.
local known = read(redis.call('HGET', KEYS[1], ARGV[1]))
if not known or known.cause == 'healed' or known.till > now then return 0 end
if known.token_till > now and known.token ~= ARGV[2] then return 0 end
local fault = known.cause == 'failing' or known.cause == 'cutting'
redis.call('HSET', KEYS[1], ARGV[1], text('healed', fault and known.level or 0, now, '-', 0))
redis.call('PUBLISH', ARGV[3], ARGV[1] .. ' healed 0 0')
return 1
"""
)

RELEASE = Script(
    _READ
    + """
-- KEYS: the hash. ARGV: digest, token. Gives a probe back that found nothing out.
local known = read(redis.call('HGET', KEYS[1], ARGV[1]))
if not known or known.token ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], text(known.cause, known.level, known.till, '-', 0))
return 1
"""
)

LOAD = Script(
    _READ
    + f"""
-- KEYS: the hash. Returns digest, cause, ms still open, level of each open or half-open breaker; forgets old ones.
local found = {{}}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local known = read(all[i + 1])
  local age = now - (known and known.till or 0)
  if not known or age > (known.cause == 'healed' and {REMEMBERED_S * 1000:.0f} or {FORGOTTEN_MS}) then
    redis.call('HDEL', KEYS[1], all[i])
  elseif known.cause ~= 'healed' then
    found[#found + 1] = {{all[i], known.cause, math.max(0, -age), known.level}}
  end
end
return found
"""
)

TAKE = Script("""
-- KEYS: the gate's buckets. ARGV: want, need, mean, correct, then interval in µs and burst of requests and of tokens.
-- Returns permits, tokens, µs to wait. `limits.take` is the same in Python.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local want, need, mean, correct = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local r_interval, r_burst = tonumber(ARGV[5]), tonumber(ARGV[6])
local t_interval, t_burst = tonumber(ARGV[7]), tonumber(ARGV[8])
local kept = redis.call('HMGET', KEYS[1], 'r', 't')
local r = math.max(tonumber(kept[1] or 0), now)
local t = math.max(tonumber(kept[2] or 0) + correct * t_interval, now)
local granted, wait = want, 0
if r_interval > 0 then
  granted = math.min(granted, math.floor((now + r_burst * r_interval - r) / r_interval + 0.000001))
  wait = r - now - (r_burst - 1) * r_interval
end
if t_interval > 0 then
  local free = math.floor((now + t_burst * t_interval - t) / t_interval + 0.000001)
  local first = math.min(need, t_burst)
  if free < first then
    granted = 0
  else
    granted = math.min(granted, 1 + math.floor(math.max(0, free - need) / math.max(1, mean)))
  end
  wait = math.max(wait, t - now - (t_burst - first) * t_interval)
end
local spent = 0
if granted > 0 then
  spent = need + (granted - 1) * mean
  r = r + granted * r_interval
  t = t + spent * t_interval
  wait = 0
else
  granted = 0
end
redis.call('HSET', KEYS[1], 'r', string.format('%.0f', r), 't', string.format('%.0f', t))
redis.call('PEXPIRE', KEYS[1], math.floor(math.max(r - now, t - now) / 1000) + 1000)
return {granted, spent, math.max(0, math.ceil(wait))}
""")


@dataclass(frozen=True, slots=True)
class Opening:
    """An open breaker: seconds that it stays so (0.0: half-open), how often in a row, and why."""

    digest: str
    cause: Cause
    left_s: float
    level: int


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer to a wish to probe: `yours`, `healed` (just call), `open` or `taken` for `left_s` more seconds."""

    said: str
    left_s: float
    level: int
    cause: Cause


class Board:
    """The shared state under one key prefix."""

    def __init__(self, link: Link, prefix: str) -> None:
        self.link = link
        self._prefix = prefix
        self._hash = f"{prefix}:gates"
        self._channel = f"{prefix}:gates"
        self._sour_until_s = 0.0
        self._clock = asyncio.get_running_loop().time

    @property
    def connected(self) -> bool:
        """Whether it is worth asking now."""
        return self.link.connected and self._clock() >= self._sour_until_s

    @asynccontextmanager
    async def in_time(self) -> AsyncGenerator[None]:
        """Bounds what a call may wait for. Raises Unavailable, and nothing else: no answer ends because of Valkey."""
        try:
            async with asyncio.timeout(ASK_S):
                yield
        except TimeoutError as error:
            self._sour_until_s = self._clock() + SOUR_S
            raise Unavailable("Valkey does not answer in time") from error
        except Unavailable:
            raise
        except ChatwrightError as error:
            self._sour_until_s = self._clock() + SOUR_S
            _log.error("gates.valkey_refused", error=error.message)
            raise Unavailable(error.message) from error

    async def open(
        self, digest: str, cause: Cause, *, fixed_s: float, jitter: float, level: int, token: str
    ) -> Opening | None:
        """Open the breaker for everybody. Returns what holds now; None while another process's probe finds out."""
        arguments = (digest, cause, round(fixed_s * 1000), 0.75 + 0.25 * jitter, level, token or "-", self._channel)
        left_ms, known_level, known = await OPEN(self.link, (self._hash,), arguments)
        return Opening(digest, Cause(_text(known)), left_ms / 1000, known_level) if left_ms else None

    async def probe(self, digest: str, token: str, *, hold_s: float, cause: Cause, level: int) -> Probe:
        """Ask to be the one that probes, for at most `hold_s` seconds."""
        arguments = (digest, token, round(hold_s * 1000), cause, level)
        said, left_ms, known_level, known = await PROBE(self.link, (self._hash,), arguments)
        word = _text(known)
        return Probe(_text(said), left_ms / 1000, known_level, cause if word == "healed" else Cause(word))

    async def close(self, digest: str, token: str) -> bool:
        """Close the breaker for everybody after a probe that went well."""
        return bool(await CLOSE(self.link, (self._hash,), (digest, token, self._channel)))

    async def release(self, digest: str, token: str) -> None:
        """Let somebody else probe."""
        await RELEASE(self.link, (self._hash,), (digest, token))

    async def load(self) -> list[Opening]:
        """Every breaker that is open or half-open."""
        rows = cast("Sequence[tuple[bytes, bytes, int, int]]", await LOAD(self.link, (self._hash,)))
        return [Opening(_text(digest), Cause(_text(cause)), ms / 1000, level) for digest, cause, ms, level in rows]

    async def take(
        self, digest: str, *, want: int, need: int, mean: int, correct: int, requests: Pace, tokens: Pace
    ) -> tuple[int, int, float]:
        """`limits.take` for all processes together. Returns permits, tokens and seconds to wait if there are none."""
        arguments = (
            *(want, need, mean, correct),
            *(requests.interval_s * 1e6, requests.burst, tokens.interval_s * 1e6, tokens.burst),
        )
        permits, spent, wait_us = await TAKE(self.link, (f"{self._prefix}:gate:{digest}",), arguments)
        return permits, spent, wait_us / 1e6


def read_notice(text: str) -> tuple[str, Opening | None] | None:
    """A notice as published: the digest, and its opening or None if it closed. None for what is no notice of ours."""
    try:
        digest, cause, left_ms, level = text.split()
        if cause == "healed":
            return digest, None
        return digest, Opening(digest, Cause(cause), int(left_ms) / 1000, int(level))
    except ValueError:
        return None


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
