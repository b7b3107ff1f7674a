-- Begins an epoch: with ARGV[3] = 1 whatever was, else only where there is none. Submissions may begin in it.
-- KEYS: 1 epoch. ARGV: 1 id, 2 the number of its first intent, 3 anyway
local now = clock()
if redis.call('HGET', KEYS[1], 'id') == ARGV[1] then return {'done', now} end
if ARGV[3] ~= '1' and redis.call('HEXISTS', KEYS[1], 'id') == 1 then return {'known', now} end
redis.call('HDEL', KEYS[1], 'guard')
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'n', ARGV[2])
return {'done', now}
