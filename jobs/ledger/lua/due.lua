-- Returns jobs that want a message and pushes each further into the future, so that it is sent one only.
-- KEYS: 1 due. ARGV: 1 limit, 2 resend_ms, 3 job key prefix
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))) do
  local paid = redis.call('HGET', ARGV[3] .. id, 'paid')
  if paid then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), id)
    found[#found + 1] = id
    found[#found + 1] = paid
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return {'done', now, found}
