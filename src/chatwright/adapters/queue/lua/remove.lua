-- Take a queued job out. Needs fair.lua and BullMQ's remove_job as a function. KEYS[1] base key; ARGV[1] id.
-- Returns 1, or 0 if the job is not queued (running, finished or unknown).
local id = ARGV[1]
local number = redis.call('ZSCORE', prioritized, id)
local delayed = redis.call('ZSCORE', base .. 'delayed', id)
if not number and not delayed and not redis.call('LPOS', base .. 'wait', id)
  and not redis.call('LPOS', base .. 'paused', id) then
  return 0
end
local kept = redis.call('HMGET', base .. id, 'cwt', 'cww')
local gone = remove_job({ base .. id, base .. 'repeat' }, { id, '0', base })
if gone == 1 and kept[1] then
  redis.call('ZREM', base .. 'fair:parked:' .. kept[1], id)
  if number then
    fair_give_back(fair_open(fair_level(math.floor(tonumber(number) / TWO32))), kept[1], tonumber(kept[2] or 1))
    fair_close()
  end
end
return gone
