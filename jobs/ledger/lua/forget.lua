-- Removes everything of a batch, whatever of it is left.
-- KEYS: 1 batch, 2 jobs of the batch, 3 outcomes, 4 batches, 5 leases, 6 due, 7 doubts. ARGV: 1 id, 2 job key prefix,
-- 3 '1' for: only if no job is left and no outcome waits to be written, 4 the opening of the batch that is meant
-- ('' = any)
local now = clock()
local opened = redis.call('HGET', KEYS[1], 'opened')
if ARGV[4] ~= '' and opened and ARGV[4] ~= opened then return {'elsewhere', now} end
local waiting = redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 or redis.call('HEXISTS', KEYS[1], 'part_pending') == 1
if ARGV[3] == '1' and waiting then return {'waiting', now} end
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  redis.call('DEL', ARGV[2] .. id)
  for i = 5, 7 do redis.call('ZREM', KEYS[i], id) end
end
local part = redis.call('HGET', KEYS[1], 'part_pending')
if part then redis.call('DEL', KEYS[3] .. ':' .. part) end
redis.call('DEL', KEYS[1], KEYS[1] .. ':ends', KEYS[2], KEYS[3])
redis.call('ZREM', KEYS[4], ARGV[1])
return {'done', now}
