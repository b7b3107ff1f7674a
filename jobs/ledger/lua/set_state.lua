-- Moves a batch's state. KEYS: 1 batch, 2 jobs of the batch, 3 due. ARGV: 1 state, 2 reason, 3 job key prefix,
-- 4 further facts about the reason, 5 the reason that it must have now (*: any), 6 the opening of the batch that is
-- meant ('' = any), 7.. from
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
local b = redis.call('HMGET', KEYS[1], 'state', 'opened')
local state = b[1]
if not state or (ARGV[6] ~= '' and ARGV[6] ~= b[2]) then return {'missing', now} end
if state == ARGV[1] and redis.call('HGET', KEYS[1], 'reason') == ARGV[2] then return {'done', now} end
local allowed = false
if ARGV[5] ~= '*' and redis.call('HGET', KEYS[1], 'reason') ~= ARGV[5] then return {'refused', now} end
for i = 7, #ARGV do if ARGV[i] == state then allowed = true end end
if not allowed then return {'refused', now} end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'reason', ARGV[2], 'about', ARGV[4])
if ARGV[1] == 'open' or ARGV[1] == 'cancelled' then
  for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if redis.call('ZSCORE', KEYS[3], id) then
      redis.call('ZADD', KEYS[3], now, id)
      redis.call('HSET', ARGV[3] .. id, 'nb', 0)
    end
  end
end
return {'done', now}
