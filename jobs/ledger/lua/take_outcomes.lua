-- Sets finished outcomes apart as a numbered part; the same part again until it is dropped.
-- KEYS: 1 batch, 2 outcomes. Part keys are made from KEYS[2].
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
local part = redis.call('HGET', KEYS[1], 'part_pending')
if not part or part == '' then
  if redis.call('EXISTS', KEYS[2]) == 0 then return {'none', now} end
  part = redis.call('HINCRBY', KEYS[1], 'parts', 1)
  redis.call('HSET', KEYS[1], 'part_pending', part)
  redis.call('RENAME', KEYS[2], KEYS[2] .. ':' .. part)
end
return {'done', now, tonumber(part), redis.call('LRANGE', KEYS[2] .. ':' .. part, 0, -1)}
