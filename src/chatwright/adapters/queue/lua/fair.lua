-- Start-time fair queuing inside BullMQ's priority number, shared by the scripts beside it.
--
-- number = 1 + level * SPAN + tag; BullMQ orders by number, then by arrival. A tenant's job gets the tag
-- max(virtual time, the tenant's next tag), so tenants take turns however much one of them has queued. State of one
-- level is the hash "<base>fair:<level>": v = virtual time (highest tag that reached the head), t:<tenant> = that
-- tenant's next tag, d and p = a rebase in progress. The hash holds no jobs: losing it loses turns, never work.
--
-- Rebase: once v passes REBASE_AT, all tags of the level shift down by d, CHUNK entries per call, lowest first.
-- Until that is done v and t: stay in the old numbering; entries whose old tag is below p carry the new one.
local SPAN = 131072
local REBASE_AT = 32768
local FULL = 32768 -- this far ahead of v every job has its own tag; beyond it COARSE jobs share one
local COARSE = 16
local AHEAD = 65000 -- no tag is further ahead of v, so v + AHEAD stays inside SPAN until a rebase is done
local CHUNK = 256
local TWO32 = 4294967296

local base = KEYS[1]
local prioritized = base .. 'prioritized'
local levels = {}
local rebased = false -- entries were renumbered in this call: numbers read before are stale

local function exact(number) -- ".." would round beyond 14 digits
  return string.format('%.0f', number)
end

local function fair_level(number)
  return math.max(0, math.floor((number - 1) / SPAN))
end

local function fair_tag(state, number)
  local tag = number - state.low
  if state.d > 0 and tag < state.p then tag = tag + state.d end
  return tag
end

local function fair_number(state, tag)
  tag = math.floor(tag)
  if state.d > 0 and tag < state.p then tag = tag - state.d end
  return state.low + math.max(0, math.min(SPAN - 1, tag))
end

local function fair_rebase(state)
  local entries = redis.call('ZRANGEBYSCORE', prioritized, exact((state.low + state.p) * TWO32),
    '(' .. exact((state.low + SPAN) * TWO32), 'WITHSCORES', 'LIMIT', 0, CHUNK)
  for i = 1, #entries, 2 do
    local score = tonumber(entries[i + 1])
    local number = math.floor(score / TWO32)
    local tag = number - state.low
    local to = state.low + math.max(0, tag - state.d)
    redis.call('ZADD', prioritized, 'XX', exact(to * TWO32 + (score - number * TWO32)), entries[i])
    state.p = tag
  end
  state.dirty, rebased = true, true
  if #entries == 2 * CHUNK then return end
  local kept = redis.call('HGETALL', state.key)
  for i = 1, #kept, 2 do
    if string.sub(kept[i], 1, 2) == 't:' then
      local tag = tonumber(kept[i + 1])
      if tag <= state.v then
        redis.call('HDEL', state.key, kept[i])
      else
        redis.call('HSET', state.key, kept[i], string.format('%.6f', tag - state.d))
      end
    end
  end
  state.v = state.v - state.d
  state.d, state.p = 0, 0
end

-- State of a level, read once per script call. An empty level starts a new epoch: nobody owes anybody a turn.
local function fair_open(level)
  local state = levels[level]
  if state then return state end
  state = { key = base .. 'fair:' .. level, low = level * SPAN + 1, v = 0, d = 0, p = 0 }
  levels[level] = state
  local head = redis.call('ZRANGEBYSCORE', prioritized, exact(state.low * TWO32),
    '(' .. exact((state.low + SPAN) * TWO32), 'WITHSCORES', 'LIMIT', 0, 1)
  if not head[2] then
    redis.call('DEL', state.key)
    return state
  end
  local kept = redis.call('HMGET', state.key, 'v', 'd', 'p')
  state.v, state.d, state.p = tonumber(kept[1] or 0), tonumber(kept[2] or 0), tonumber(kept[3] or 0)
  local tag = fair_tag(state, math.floor(tonumber(head[2]) / TWO32))
  if tag > state.v then state.v, state.dirty = tag, true end
  if state.d == 0 and state.v >= REBASE_AT then state.d, state.p = math.floor(state.v), 1 end
  if state.d > 0 then fair_rebase(state) end
  return state
end

local function fair_advance(state, tag)
  if tag > state.v then state.v, state.dirty = tag, true end
end

local function fair_close()
  for _, state in pairs(levels) do
    if state.dirty then
      redis.call('HSET', state.key, 'v', exact(state.v), 'd', exact(state.d), 'p', exact(state.p))
    end
  end
end

-- The number of a new job of `tenant`; `cost` is 1 / weight.
local function fair_take(state, tenant, cost)
  local field = 't:' .. tenant
  local tag = math.max(tonumber(redis.call('HGET', state.key, field) or 0), state.v)
  if tag - state.v > AHEAD then tag = state.v + AHEAD end
  if tag - state.v >= FULL then cost = cost / COARSE end
  redis.call('HSET', state.key, field, string.format('%.6f', tag + cost))
  return fair_number(state, tag)
end

-- A queued job went away unserved: its tenant gets the turn back.
local function fair_give_back(state, tenant, cost)
  local field = 't:' .. tenant
  local tag = tonumber(redis.call('HGET', state.key, field) or 0)
  if tag > state.v then redis.call('HSET', state.key, field, string.format('%.6f', math.max(state.v, tag - cost))) end
end
