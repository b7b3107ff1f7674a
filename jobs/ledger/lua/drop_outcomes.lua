-- Forgets a part that is safe in the bucket. KEYS: 1 batch, 2 the part. ARGV: 1 part
local now = clock()
redis.call('DEL', KEYS[2])
if redis.call('HGET', KEYS[1], 'part_pending') == ARGV[1] then redis.call('HDEL', KEYS[1], 'part_pending') end
return {'done', now}
