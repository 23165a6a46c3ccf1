-- Tag and add jobs of one queue. Needs fair.lua, add_prioritized and add_delayed (BullMQ's scripts as functions).
-- KEYS[1] base key; ARGV[1] msgpack {j = jobs, o = options of the queue, r = replace finished records}
-- a job: {id, name, data, level, tenant, cost, timestamp_ms, delay_ms}. Returns 1 (added) or 0 (held already) each.
local request = cmsgpack.unpack(ARGV[1])
local completed, failed, delayed, active = base .. 'completed', base .. 'failed', base .. 'delayed', base .. 'active'
local marker, meta, counter, events = base .. 'marker', base .. 'meta', base .. 'id', base .. 'events'
local prioritized_keys = { marker, meta, counter, prioritized, delayed, completed, active, events, base .. 'pc' }
local delayed_keys = { marker, meta, counter, delayed, completed, events }

local function free(id, key)
  if redis.call('EXISTS', key) == 0 then return true end
  if not request.r then return false end
  local gone = redis.call('ZREM', completed, id) + redis.call('ZREM', failed, id)
  if gone == 0 then return false end
  redis.call('DEL', key, key .. ':logs', key .. ':dependencies', key .. ':processed', key .. ':failed',
    key .. ':unsuccessful')
  return true
end

local added = {}
for i, job in ipairs(request.j) do
  local id, level, tenant, cost, delay = job[1], job[4], job[5], job[6], job[8]
  local key = base .. id
  added[i] = 0
  if free(id, key) then
    local options = request.o
    local arguments = cmsgpack.pack({ base, id, job[2], job[7] })
    if delay > 0 then
      -- no turn is taken yet: the job is tagged when it comes due
      options.delay, options.priority = delay, level * SPAN + 1
      add_delayed(delayed_keys, { arguments, job[3], cmsgpack.pack(options) })
    else
      options.delay, options.priority = nil, fair_take(fair_open(level), tenant, cost)
      add_prioritized(prioritized_keys, { arguments, job[3], cmsgpack.pack(options) })
    end
    redis.call('HSET', key, 'cwt', tenant, 'cww', tostring(cost))
    added[i] = 1
  end
end
fair_close()
return added
