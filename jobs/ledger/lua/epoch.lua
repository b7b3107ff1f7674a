-- Begins an epoch in place of ARGV[3] ('' = none), unless that is not the one that stands. Submissions may begin in it.
-- KEYS: 1 epoch. ARGV: 1 id, 2 the number of its first intent, 3 the id that it follows
local now = clock()
local stands = redis.call('HGET', KEYS[1], 'id') or ''
if stands == ARGV[1] then return {'done', now} end
if stands ~= ARGV[3] then return {'known', now} end
redis.call('HDEL', KEYS[1], 'guard')
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'n', ARGV[2])
return {'done', now}
