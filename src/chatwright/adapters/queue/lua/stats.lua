-- Counts of one queue. KEYS[1] base key. Returns {paused, wait, prioritized, parked, active, delayed, completed,
-- failed, oldest timestamp ms or 0, {level, count, ...}}. The oldest is looked for among the first of each level.
local base = KEYS[1]
local prioritized = base .. 'prioritized'
local SPAN, TWO32 = 131072, 4294967296
local oldest = 0

local function look(id)
  local stamp = id and tonumber(redis.call('HGET', base .. id, 'timestamp') or 0) or 0
  if stamp > 0 and (oldest == 0 or stamp < oldest) then oldest = stamp end
end

local counts = {}
for level = 0, 15 do
  local low = string.format('%.0f', (level * SPAN + 1) * TWO32)
  local high = string.format('(%.0f', ((level + 1) * SPAN + 1) * TWO32)
  local count = redis.call('ZCOUNT', prioritized, low, high)
  if count > 0 then
    counts[#counts + 1], counts[#counts + 2] = level, count
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', prioritized, low, high, 'LIMIT', 0, 32)) do look(id) end
  end
end
look(redis.call('LINDEX', base .. 'wait', -1))
local parked = 0
for _, tenant in ipairs(redis.call('ZRANGE', base .. 'fair:parked', 0, 99)) do
  local key = base .. 'fair:parked:' .. tenant
  parked = parked + redis.call('ZCARD', key)
  look(redis.call('ZRANGE', key, 0, 0)[1])
end
return { redis.call('HEXISTS', base .. 'meta', 'paused'), redis.call('LLEN', base .. 'wait') +
  redis.call('LLEN', base .. 'paused'), redis.call('ZCARD', prioritized), parked, redis.call('LLEN', base .. 'active'),
  redis.call('ZCARD', base .. 'delayed'), redis.call('ZCARD', base .. 'completed'),
  redis.call('ZCARD', base .. 'failed'), string.format('%.0f', oldest), counts }
