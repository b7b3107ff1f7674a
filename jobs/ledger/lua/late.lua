-- Records a charge for a job that has ended, once. KEYS: 1 batch, 2 outcomes, 3 op, 4 absent. ARGV: 1 line, 2 cost
redis.call('DEL', KEYS[4])
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 0 then return {'missing', now} end
if not redis.call('SET', KEYS[3], '1', 'NX', 'EX', 900) then return {'done', now} end
redis.call('HINCRBY', KEYS[1], 'settled', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'duplicates', 1)
redis.call('HINCRBY', KEYS[1], 'duplicates_cost', ARGV[2])
if redis.call('RPUSH', KEYS[2], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], 'outcomes_at', now) end
return {'done', now}
