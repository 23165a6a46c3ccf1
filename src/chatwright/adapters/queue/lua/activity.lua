-- What goes on in a queue. KEYS[1] base key. Returns {jobs that run, jobs that wait, milliseconds since its last event by
-- the server's clock, or -1 if there was none}.
local base = KEYS[1]
local running = redis.call('LLEN', base .. 'active')
local waiting = redis.call('LLEN', base .. 'wait') + redis.call('ZCARD', base .. 'prioritized')
local last = redis.call('XREVRANGE', base .. 'events', '+', '-', 'COUNT', 1)[1]
if not last then return { running, waiting, -1 } end
local now = redis.call('TIME')
return { running, waiting, math.floor(now[1] * 1000 + now[2] / 1000 - tonumber(string.match(last[1], '^%d+'))) }
