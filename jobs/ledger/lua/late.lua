-- Records a charge for a job that has ended, once; the day it belongs to has it also when its batch is forgotten.
-- KEYS: 1 batch, 2 outcomes, 3 op, 4 money of the day, 5 absent. ARGV: 1 line, 2 cost, 3 day, 4 API key
redis.call('DEL', KEYS[5])
local now = clock()
local first = redis.call('SET', KEYS[3], '1', 'NX', 'EX', 900)
if first then add_to_day(KEYS[4], ARGV[3], ARGV[4], {settled = tonumber(ARGV[2]), unsure = 1}) end
if redis.call('EXISTS', KEYS[1]) == 0 then return {'missing', now} end
if not first then return {'done', now} end
redis.call('HINCRBY', KEYS[1], 'settled', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'duplicates', 1)
redis.call('HINCRBY', KEYS[1], 'duplicates_cost', ARGV[2])
if redis.call('RPUSH', KEYS[2], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], 'outcomes_at', now) end
return {'done', now}
