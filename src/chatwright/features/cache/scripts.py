"""Lua of the exact tier. All keys share one hash tag, so that a cluster holds them in one slot.

e:<key>         an answer's bytes, with its lifetime
l:<key>         who is fetching that answer just now; "-": nobody need wait for it
ages            member -> when it was written (µs), over all tenants; member = <tenant>|<chatbot>|<key>
ends            member -> when its lifetime ends (ms)
sizes           member -> bytes it is counted with
totals          "" -> bytes of all; <tenant>|<chatbot> -> bytes of that chatbot's
of:<owner>      key -> when it was written (µs), of one chatbot
epochs          owner -> how often it was purged: what was asked for before a purge is not kept after it
"""

from chatwright.adapters.valkey import Script

FIND = Script("""
-- KEYS answer, lease, epochs. ARGV token, lease ms, owner. An answer's bytes, or {state, epoch}:
-- 0 the lease is the caller's, 1 somebody else's, 2 nobody need wait.
local found = redis.call('GET', KEYS[1])
if found then return found end
local epoch = tonumber(redis.call('HGET', KEYS[3], ARGV[3]) or '0')
if ARGV[1] == '' then return {2, epoch} end
local holder = redis.call('GET', KEYS[2])
if holder == '-' then return {2, epoch} end
if holder and holder ~= ARGV[1] then return {1, epoch} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {0, epoch}
""")

EXTEND = Script("""
-- KEYS lease. ARGV token, ms.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")


PART = Script("""
-- The leader has no answer to share. KEYS lease. ARGV token, ms for which nobody need wait (0: the next one leads).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[1], '-', 'PX', ARGV[2]) else redis.call('DEL', KEYS[1]) end
return 1
""")

_DROP = """
local function drop(prefix, member)
  local owner, key = string.match(member, '^(.*)|([^|]*)$')
  local size = tonumber(redis.call('HGET', prefix .. 'sizes', member) or '0')
  redis.call('DEL', prefix .. 'e:' .. key)
  redis.call('ZREM', prefix .. 'ages', member)
  redis.call('ZREM', prefix .. 'ends', member)
  redis.call('ZREM', prefix .. 'of:' .. owner, key)
  redis.call('HDEL', prefix .. 'sizes', member)
  redis.call('HINCRBY', prefix .. 'totals', '', -size)
  if redis.call('HINCRBY', prefix .. 'totals', owner, -size) <= 0 then redis.call('HDEL', prefix .. 'totals', owner) end
end
"""

PUT = Script(
    _DROP
    + """
-- KEYS answer, lease. ARGV prefix, owner, key, bytes, lifetime ms, size, bytes of all at most, of one chatbot at most,
-- token, epoch (-1: any). 1: it is kept; 0: its chatbot was purged meanwhile, or it is larger than may be.
local prefix, owner, key = ARGV[1], ARGV[2], ARGV[3]
local size, most, most_of_one = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if ARGV[9] ~= '' and redis.call('GET', KEYS[2]) == ARGV[9] then redis.call('DEL', KEYS[2]) end
local epoch = tonumber(ARGV[10])
if epoch >= 0 and epoch ~= tonumber(redis.call('HGET', prefix .. 'epochs', owner) or '0') then return 0 end
if size > most or size > most_of_one then return 0 end
local time = redis.call('TIME')
local written = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(written / 1000)
local member = owner .. '|' .. key
for _, ended in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'ends', '-inf', now, 'LIMIT', 0, 50)) do
  drop(prefix, ended)
end
if redis.call('HEXISTS', prefix .. 'sizes', member) == 1 then drop(prefix, member) end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
redis.call('ZADD', prefix .. 'ages', written, member)
redis.call('ZADD', prefix .. 'ends', now + tonumber(ARGV[5]), member)
redis.call('ZADD', prefix .. 'of:' .. owner, written, key)
redis.call('HSET', prefix .. 'sizes', member, size)
local of_one = redis.call('HINCRBY', prefix .. 'totals', owner, size)
local total = redis.call('HINCRBY', prefix .. 'totals', '', size)
while of_one > most_of_one do
  drop(prefix, owner .. '|' .. redis.call('ZRANGE', prefix .. 'of:' .. owner, 0, 0)[1])
  of_one = tonumber(redis.call('HGET', prefix .. 'totals', owner) or '0')
end
total = tonumber(redis.call('HGET', prefix .. 'totals', '') or '0')
while total > most do
  drop(prefix, redis.call('ZRANGE', prefix .. 'ages', 0, 0)[1])
  total = tonumber(redis.call('HGET', prefix .. 'totals', '') or '0')
end
return 1
"""
)

DROP = Script(
    _DROP
    + """
-- KEYS epochs. ARGV prefix, owner, keys ... Returns how many of them were there.
local gone = 0
for i = 3, #ARGV do
  local member = ARGV[2] .. '|' .. ARGV[i]
  if redis.call('HEXISTS', ARGV[1] .. 'sizes', member) == 1 then
    gone = gone + redis.call('EXISTS', ARGV[1] .. 'e:' .. ARGV[i])
    drop(ARGV[1], member)
  end
end
return gone
"""
)

STATS = Script("""
-- KEYS ages. ARGV prefix, owner. {answers of all, bytes of all, answers of one, bytes of one}; ended ones may be counted.
return {
  redis.call('ZCARD', KEYS[1]),
  tonumber(redis.call('HGET', ARGV[1] .. 'totals', '') or '0'),
  redis.call('ZCARD', ARGV[1] .. 'of:' .. ARGV[2]),
  tonumber(redis.call('HGET', ARGV[1] .. 'totals', ARGV[2]) or '0'),
}
""")
