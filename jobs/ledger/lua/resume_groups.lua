-- Lets stopped groups go on, each with a fresh window, and makes their jobs due.
-- KEYS: 1 batch, 2 jobs of the batch, 3 due. ARGV: 1 job key prefix, 2 the group ('' = all)
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 0 then return {'missing', now} end
local ends, freed = KEYS[1] .. ':ends', {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local group = string.match(field, '^stop:(.*)$')
  if group and (ARGV[2] == '' or group == ARGV[2]) then
    freed[group] = true
    redis.call('HDEL', KEYS[1], field)
    redis.call('HINCRBY', KEYS[1], 'stops', -1)
    redis.call('HDEL', ends, 'g:' .. group)
  end
end
if ARGV[2] == '' then redis.call('DEL', ends) else redis.call('HDEL', ends, 'batch') end
redis.call('HSET', KEYS[1], 'moderated_cost', 0)
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local bound = redis.call('HGET', ARGV[1] .. id, 'bound')
  if bound and freed[bound] and redis.call('ZSCORE', KEYS[3], id) then
    redis.call('ZADD', KEYS[3], now, id)
    redis.call('HSET', ARGV[1] .. id, 'nb', 0)
  end
end
return {'done', now}
