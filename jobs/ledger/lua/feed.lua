-- Moves a cursor from k to k+n and creates those n jobs: both, or neither.
-- KEYS: 1 batch, 2 jobs of the batch, 3 due, 4.. the jobs. ARGV: 1 group, 2 cursor, 3 op, 4 low, 5 resend_ms, 6 live,
-- then job id and order for each job
local now = clock()
local group, cursor = ARGV[1], tonumber(ARGV[2])
local b = redis.call('HMGET', KEYS[1], 'state', 'cursor:' .. group, 'staged:' .. group, 'fed:' .. group)
if b[4] == ARGV[3] then return {'done', now} end
if b[1] ~= 'open' or tonumber(b[2] or '-1') ~= cursor then return {'elsewhere', now} end
local n = #KEYS - 3
if cursor + n > tonumber(b[3] or '0') then return {'elsewhere', now} end
-- First a write that maxmemory refuses: once any write has passed, it would let the rest of the script through.
redis.call('HINCRBY', KEYS[1], 'n:queued', n)
for i = 1, n do
  local id, order = ARGV[5 + 2 * i], ARGV[6 + 2 * i]
  local job = KEYS[3 + i]
  redis.call('DEL', job)
  redis.call('HSET', job, 'state', 'queued', 'attempt', 1, 'fence', 0, 'owner', '', 'sent', 0, 'nb', 0, 'reserve', 0,
    'paid', 0, 'group', group, 'seat', 'hot', 'op', '', 'at', now, 'order', order, 'live', ARGV[6])
  redis.call('SADD', KEYS[2], id)
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[5]), id)
end
redis.call('HINCRBY', KEYS[1], 'hot:' .. group, n)
redis.call('HSET', KEYS[1], 'cursor:' .. group, cursor + n, 'fed:' .. group, ARGV[3], 'low:' .. group, ARGV[4])
redis.call('HDEL', KEYS[1], 'feeding:' .. group)
return {'done', now}
