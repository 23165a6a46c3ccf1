-- State of each job id. KEYS[1] base key; ARGV ids. Returns BullMQ's words, or "missing".
local base = KEYS[1]
local states = {}
for i, id in ipairs(ARGV) do
  local state = 'missing'
  if redis.call('EXISTS', base .. id) == 1 then
    if redis.call('ZSCORE', base .. 'prioritized', id) then state = 'prioritized'
    elseif redis.call('ZSCORE', base .. 'delayed', id) then state = 'delayed'
    elseif redis.call('ZSCORE', base .. 'completed', id) then state = 'completed'
    elseif redis.call('ZSCORE', base .. 'failed', id) then state = 'failed'
    elseif redis.call('LPOS', base .. 'active', id) then state = 'active'
    elseif redis.call('LPOS', base .. 'wait', id) or redis.call('LPOS', base .. 'paused', id) then state = 'waiting'
    elseif redis.call('ZSCORE', base .. 'waiting-children', id) then state = 'waiting-children'
    end
  end
  states[i] = state
end
return states
