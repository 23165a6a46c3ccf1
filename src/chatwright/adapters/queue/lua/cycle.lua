-- One turn of a worker on one queue: finish what ended, then fetch up to n jobs. Needs fair.lua and BullMQ's
-- move_to_finished, move_to_delayed and move_to_active as functions.
-- KEYS[1] base key; ARGV[1 + i] id of the i-th finish (ids of foreign jobs may be any bytes); ARGV[1] msgpack:
--   f = finishes {kind, token, text, number, started}: c completed, f failed, d delayed (number = ms; text = reason),
--       a delayed and counted as an attempt, r handed back;  k = {completed kept, failed kept}
--   n = jobs wanted, l = lock ms, t = token prefix, w = worker name, c = tenant cap (0 = none), b = {tenant = running}
-- Returns {finish codes, jobs {id, token, hash}, ms until the next delayed job or -1, more may be there 0|1, capped 0|1}.
local request = cmsgpack.unpack(ARGV[1])
local clock = redis.call('TIME') -- one clock for all workers
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local wait, active, delayed, events = base .. 'wait', base .. 'active', base .. 'delayed', base .. 'events'
local stalled, meta, marker, counter = base .. 'stalled', base .. 'meta', base .. 'marker', base .. 'pc'
local limiter, paused_list, parked = base .. 'limiter', base .. 'paused', base .. 'fair:parked'
local PARK_MS = 30000 -- a parked job comes back by itself, also to a worker that knows nothing of parking
local SLACK = 17      -- largest cost of one job, plus one: nobody else's next job is further ahead of v
local SCAN = 512      -- entries looked at per call

local function is_paused()
  return redis.call('HEXISTS', meta, 'paused') == 1
end

local function mark()
  if not is_paused() then redis.call('ZADD', marker, 0, '0') end
end

-- Back into the queue, as the first of its turn: it has stood at the head before.
local function put_back(id)
  local number = tonumber(redis.call('HGET', base .. id, 'priority') or 0)
  if number == 0 then
    redis.call('RPUSH', wait, id)
  else
    local state = fair_open(fair_level(number))
    redis.call('ZADD', prioritized, exact(fair_number(state, state.v) * TWO32), id)
  end
end

local function hand_back(id, token)
  local lock = redis.call('GET', base .. id .. ':lock')
  if lock ~= token then return lock and -6 or -2 end
  redis.call('DEL', base .. id .. ':lock')
  redis.call('SREM', stalled, id)
  if redis.call('LREM', active, -1, id) == 0 then return -3 end
  put_back(id)
  redis.call('XADD', events, '*', 'event', 'waiting', 'jobId', id, 'prev', 'active')
  mark()
  return 0
end

local function finish(entry, id)
  local kind, token, text = entry[1], entry[2], entry[3]
  if kind == 'r' then return hand_back(id, token) end
  if kind == 'd' or kind == 'a' then
    return move_to_delayed(
      { marker, active, prioritized, delayed, base .. id, events, meta, stalled, wait, limiter, counter },
      { base, exact(now), id, token, exact(entry[4]), kind == 'd' and '1' or '0',
        cmsgpack.pack({ 'failedReason', text }), '0' })
  end
  local target = kind == 'c' and 'completed' or 'failed'
  return move_to_finished(
    { wait, active, prioritized, events, stalled, limiter, delayed, paused_list, meta, counter, base .. target,
      base .. id, base .. 'metrics:' .. target, marker },
    { id, exact(now), kind == 'c' and 'returnvalue' or 'failedReason', text, target, '', base,
      cmsgpack.pack({ token = token, keepJobs = { count = request.k[kind == 'c' and 1 or 2] },
        lockDuration = request.l, attempts = 0, maxMetricsSize = '' }) })
end

-- As in renew.lua: the lock expired while the server was down, but it is still this attempt's job.
local function retake(entry, id)
  if tonumber(redis.call('HGET', base .. id, 'ats') or -1) ~= entry[5] then return false end
  if not redis.call('LPOS', active, id) then return false end
  redis.call('SET', base .. id .. ':lock', entry[2], 'PX', request.l)
  return true
end

local codes = {}
for i, entry in ipairs(request.f) do
  local ok, code = pcall(finish, entry, ARGV[1 + i])
  if ok and code == -2 and retake(entry, ARGV[1 + i]) then ok, code = pcall(finish, entry, ARGV[1 + i]) end
  codes[i] = ok and code or tostring(type(code) == 'table' and code.err or code)
end

local jobs, more, capped = {}, 0, 0
local wanted, cap, busy = request.n, request.c, request.b
local excluded, excluded_count = {}, 0

local function note(tenant, change)
  busy[tenant] = (busy[tenant] or 0) + change
  if cap > 0 and busy[tenant] >= cap and not excluded[tenant] then
    excluded[tenant], excluded_count = true, excluded_count + 1
  end
end

local function tenant_of(id)
  local tenant = redis.call('HGET', base .. id, 'cwt')
  if tenant then return tenant end
  local ok, data = pcall(cjson.decode, redis.call('HGET', base .. id, 'data') or '')
  return ok and type(data) == 'table' and type(data.tenant_id) == 'string' and data.tenant_id or ''
end

local function park(id, tenant, score)
  redis.call('ZADD', parked, 'NX', exact(now), tenant)
  redis.call('ZADD', parked .. ':' .. tenant, exact(score), id)
  redis.call('ZADD', delayed, exact((now + PARK_MS) * 4096), id)
end

local function unpark(tenant, count)
  local key = parked .. ':' .. tenant
  local popped = redis.call('ZPOPMIN', key, count)
  for i = 1, #popped, 2 do
    if redis.call('ZREM', delayed, popped[i]) == 1 then put_back(popped[i]) end
  end
  if redis.call('EXISTS', key) == 0 then redis.call('ZREM', parked, tenant) end
end

-- Jobs that came due. Parked or started before: next in line; new: tagged as if they arrived now; foreign: untagged.
local function promote()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, 0, exact((now + 1) * 4096 - 1), 'LIMIT', 0, 100)) do
    local kept = redis.call('HMGET', base .. id, 'cwt', 'cww', 'priority', 'ats')
    local tenant, number, cost = kept[1], tonumber(kept[3] or 0), tonumber(kept[2] or 1)
    redis.call('ZREM', delayed, id)
    if redis.call('ZREM', parked .. ':' .. (tenant or tenant_of(id)), id) == 1 then
      put_back(id)
    elseif number == 0 then
      redis.call('LPUSH', wait, id)
    elseif tenant and kept[4] then
      fair_take(fair_open(fair_level(number)), tenant, cost) -- later jobs of this tenant pay for the retry
      put_back(id)
    else
      if tenant then
        number = fair_take(fair_open(fair_level(number)), tenant, cost)
        redis.call('HSET', base .. id, 'priority', exact(number))
      end
      redis.call('ZADD', prioritized, exact(number * TWO32 + redis.call('INCR', counter) % TWO32), id)
    end
    redis.call('HSET', base .. id, 'delay', 0)
    redis.call('XADD', events, '*', 'event', 'waiting', 'jobId', id, 'prev', 'delayed')
    mark()
  end
end

-- Brings a job whose tenant has room to the head; jobs that others overtook are parked on the way.
-- Returns true, or false if nothing can run now (then `more` says whether a further look may find something).
local function pick()
  while true do
    local id = redis.call('LINDEX', wait, -1) -- BullMQ takes this list first: stalled and unprioritized jobs
    if not id then break end
    local tenant = tenant_of(id)
    if not excluded[tenant] then return true end
    redis.call('RPOP', wait)
    park(id, tenant, 0)
  end
  local scanned, from = 0, 0
  while scanned < SCAN do
    local head = redis.call('ZRANGEBYSCORE', prioritized, exact(from), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not head[1] then return false end
    local state = fair_open(fair_level(math.floor(tonumber(head[2]) / TWO32)))
    local upper = (state.low + SPAN) * TWO32
    local skipped, leave = 0, false
    while not leave and scanned < SCAN do
      local part = redis.call('ZRANGEBYSCORE', prioritized, exact(from), '(' .. exact(upper), 'WITHSCORES',
        'LIMIT', skipped, 32)
      for i = 1, #part, 2 do
        local id, score = part[i], tonumber(part[i + 1])
        local tag = fair_tag(state, math.floor(score / TWO32))
        local tenant = tenant_of(id)
        scanned = scanned + 1
        if not excluded[tenant] then
          fair_advance(state, tag)
          if scanned > 1 then redis.call('ZADD', prioritized, 'XX', 0, id) end
          return true
        elseif tag < math.floor(state.v) then
          redis.call('ZREM', prioritized, id)
          park(id, tenant, score)
        elseif tag > state.v + SLACK then
          leave = true
          break
        else
          skipped = skipped + 1
        end
      end
      if #part < 64 then leave = true end
    end
    from = upper
  end
  more = 1
  return false
end

local function fetch()
  for tenant, count in pairs(busy) do
    if cap > 0 and count >= cap then excluded[tenant], excluded_count = true, excluded_count + 1 end
  end
  for _, tenant in ipairs(redis.call('ZRANGE', parked, 0, excluded_count + 16)) do
    if not excluded[tenant] then
      unpark(tenant, cap > 0 and math.min(wanted, cap - (busy[tenant] or 0)) or wanted)
    end
  end
  local numbers, heads = {}, redis.call('ZRANGE', prioritized, 0, wanted - 1, 'WITHSCORES')
  for i = 2, #heads, 2 do fair_open(fair_level(math.floor(tonumber(heads[i]) / TWO32))) end
  if rebased then heads = redis.call('ZRANGE', prioritized, 0, wanted - 1, 'WITHSCORES') end
  for i = 1, #heads, 2 do numbers[heads[i]] = math.floor(tonumber(heads[i + 1]) / TWO32) end
  -- a delayed set that does not exist: promote() is fair, BullMQ's own promotion would ignore turns
  local keys = { wait, active, prioritized, events, stalled, limiter, base .. 'fair:none', paused_list, meta, counter,
    marker }
  for i = 1, wanted do
    local picking = excluded_count > 0
    if picking and not pick() then
      capped = 1 -- somebody at its cap may have work here
      return
    end
    if redis.call('ZCARD', prioritized) == 0 and redis.call('LLEN', wait) == 0 then return end
    local token = request.t .. ':' .. i
    local reply = move_to_active(keys,
      { base, exact(now), cmsgpack.pack({ token = token, lockDuration = request.l, name = request.w }) })
    if type(reply[1]) ~= 'table' then
      if tonumber(reply[3] or 0) > 0 then more = -tonumber(reply[3]) end -- BullMQ's own rate limit
      return
    end
    local id, hash = reply[2], reply[1]
    jobs[i] = { id, token, hash }
    if not picking and numbers[id] then
      local state = fair_open(fair_level(numbers[id]))
      fair_advance(state, fair_tag(state, numbers[id]))
    end
    if cap > 0 then
      local tenant
      for field = 1, #hash, 2 do
        if hash[field] == 'cwt' then tenant = hash[field + 1] end
      end
      note(tenant or tenant_of(id), 1)
    end
  end
  more = 1
end

local due = -1
if wanted > 0 and not is_paused() then
  promote()
  fetch()
  local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if first[2] then due = math.max(0, math.floor(tonumber(first[2]) / 4096) - now) end
end
fair_close()
if redis.call('ZCARD', prioritized) == 0 and redis.call('LLEN', wait) == 0 then
  redis.call('DEL', counter) -- as BullMQ does
  redis.call('ZREM', marker, '0') -- each fetched job leaves a marker behind; this one would wake somebody for nothing
end
if redis.call('EXISTS', parked) == 1 then capped = 1 end
return { codes, jobs, due, more, capped }
