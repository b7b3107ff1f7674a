-- Writes the sent mark if the job is still ours, right before the last part of the body leaves.
-- KEYS: 1 job, 2 batch. ARGV: 1 attempt, 2 fence
local j = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'fence', 'sent')
local now = clock()
if j[1] ~= 'submitting' or j[2] ~= ARGV[1] or j[3] ~= ARGV[2] then return {'superseded', now} end
if j[4] == '1' then return {'done', now} end
if redis.call('HGET', KEYS[2], 'state') ~= 'open' then return {'closed', now} end
redis.call('HSET', KEYS[1], 'sent', 1)
return {'done', now}
