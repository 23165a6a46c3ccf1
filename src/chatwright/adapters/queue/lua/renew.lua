-- Keep the locks of running jobs. KEYS[1] base key; ARGV[1] msgpack {l = lock ms, j = {{token, started}, ...}};
-- ARGV[1 + i] id of the i-th job.
-- Returns per job 0 (held), -1 (job unknown: the server was wiped), -2 (given away), -6 (another worker holds it).
-- A lock that expired while nobody took the job (the server was down) is taken again: `started` counts every start,
-- so an equal count and a place in the active list mean that it is still this very attempt.
local base = KEYS[1]
local request = cmsgpack.unpack(ARGV[1])
local codes = {}
for i, job in ipairs(request.j) do
  local id, token = ARGV[1 + i], job[1]
  local key = base .. id .. ':lock'
  local held = redis.call('GET', key)
  if held and held ~= token then
    codes[i] = -6
  elseif held then
    redis.call('PEXPIRE', key, request.l)
    redis.call('SREM', base .. 'stalled', id)
    codes[i] = 0
  else
    local started = redis.call('HGET', base .. id, 'ats')
    if not started then
      codes[i] = -1
    elseif tonumber(started) == job[2] and redis.call('LPOS', base .. 'active', id) then
      redis.call('SET', key, token, 'PX', request.l)
      redis.call('SREM', base .. 'stalled', id)
      codes[i] = 0
    else
      codes[i] = -2
    end
  end
end
return codes
