-- Opens a batch, once. KEYS: 1 batch, 2 batches. ARGV: 1 id, 2 op, then fields of the hash
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'opened') == ARGV[2] then return {'done', now} end
  return {'known', now}
end
redis.call('HSET', KEYS[1], 'opened', ARGV[2], unpack(ARGV, 3))
redis.call('ZADD', KEYS[2], now, ARGV[1])
return {'done', now}
