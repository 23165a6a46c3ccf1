"""Attack waves: far more flagged messages of one tenant than usual. Counted in Valkey over all processes.

A tenant is compared with itself: its last ten minutes (two ten-minute windows, the older one counted for the share of it
that lies within) with its mean window of the last day. A wave begins at 20 flagged messages and five times the usual, and
ends once fewer than half as many come, or none for twenty minutes. It is told once: `WaveCounter.told` is called after the
alert was written, and until then every count says that it is still to be told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.adapters.valkey import Link, Script

WINDOW_S = 600
FLOOR = 20
FACTOR = 5.0
DAY_WINDOWS = 144
_QUIET_S = 1_200
_KEEP_S = 26 * 3_600

# KEYS: windows (hash), wave (string). ARGV: how many, window seconds, floor, factor, windows of a day, seconds of quiet that
# end a wave, seconds that the windows are kept. The wave's key holds "<seconds when it began>:<0 or 1: told>".
_COUNT = Script("""
local time = redis.call('TIME')
local now = tonumber(time[1])
local size = tonumber(ARGV[2])
local window = math.floor(now / size)
if tonumber(ARGV[1]) > 0 then
    redis.call('HINCRBY', KEYS[1], window, ARGV[1])
    redis.call('EXPIRE', KEYS[1], ARGV[7])
end
local all = redis.call('HGETALL', KEYS[1])
local current, before, earlier = 0, 0, 0
for i = 1, #all, 2 do
    local at, count = tonumber(all[i]), tonumber(all[i + 1])
    if at == window then current = count
    elseif at == window - 1 then before = count
    elseif at < window - tonumber(ARGV[5]) - 1 then redis.call('HDEL', KEYS[1], all[i])
    else earlier = earlier + count end
end
local share = 1 - (now % size) / size
local count = current + math.floor(before * share)
local usual = earlier / tonumber(ARGV[5])
local wave = redis.call('GET', KEYS[2])
local high = count >= tonumber(ARGV[3]) and count >= tonumber(ARGV[4]) * usual
if wave then
    if count * 2 >= tonumber(ARGV[3]) and count * 2 >= tonumber(ARGV[4]) * usual then
        redis.call('EXPIRE', KEYS[2], ARGV[6])
    else
        redis.call('DEL', KEYS[2])
        wave = false
    end
end
if not wave and high then
    wave = now .. ':0'
    redis.call('SET', KEYS[2], wave, 'EX', ARGV[6])
end
return {count, tostring(usual), wave or ''}
""")

# KEYS: wave. ARGV: when it began.
_TOLD = Script("""
local ttl = redis.call('TTL', KEYS[1])
if redis.call('GET', KEYS[1]) == ARGV[1] .. ':0' and ttl > 0 then
    redis.call('SET', KEYS[1], ARGV[1] .. ':1', 'EX', ttl)
end
return 1
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tide:
    """How much comes now. `lately`: flagged messages of the last ten minutes, `usual`: of a mean ten minutes of the last
    day. `began_at_s`: Unix seconds since when a wave is under way, None: none is; `told`: whether its alert was written."""

    lately: int
    usual: float
    began_at_s: int | None = None
    told: bool = False


class WaveCounter:
    """Counts flagged messages. `prefix` as of all keys of ours."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    async def count(self, tenant_id: str, messages: int) -> Tide:
        """Add flagged messages (0: only look) and say where that leaves the tenant. Raises Unavailable."""
        keys = (self._key(tenant_id, "flagged"), self._key(tenant_id, "wave"))
        reply = await _COUNT(self._link, keys, (messages, WINDOW_S, FLOOR, FACTOR, DAY_WINDOWS, _QUIET_S, _KEEP_S))
        return _tide(reply)

    async def told(self, tenant_id: str, tide: Tide) -> None:
        """The wave's alert was written. Raises Unavailable."""
        await _TOLD(self._link, (self._key(tenant_id, "wave"),), (str(tide.began_at_s),))

    def _key(self, tenant_id: str, what: str) -> str:
        return f"{self._prefix}:guard:{{{tenant_id}}}:{what}"  # both of a tenant on one node of a cluster


def _tide(reply: Sequence[bytes | int]) -> Tide:
    lately, usual, wave = reply
    began, _, told = (wave.decode() if isinstance(wave, bytes) else str(wave)).partition(":")
    return Tide(
        lately=int(lately),
        usual=round(float(usual), 2),
        began_at_s=int(began) if began else None,
        told=told == "1",
    )
