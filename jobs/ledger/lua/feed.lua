-- Moves a cursor on and creates the jobs of the rows between: both, or neither. Rows of stopped groups are stepped over;
-- from where on is kept for each ("behind"), and a later feed with that cursor creates them.
-- KEYS: 1 batch, 2 jobs of the batch, 3 due, 4.. the jobs. ARGV: 1 group, 2 from, 3 to, 4 whose cursor behind the
-- batch's this is ('' = the batch's own), 5 op, 6 low, 7 resend_ms, 8 live, 9 the opening of the batch that is meant
-- ('' = any), 10 how many groups are stepped over, then group and first row for each, then job id, order and bound for
-- each job
local now = clock()
local group, from, to, whose = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local cursor = whose == '' and 'cursor:' .. group or 'behind:' .. group .. ':' .. whose
local b = redis.call('HMGET', KEYS[1], 'state', cursor, 'staged:' .. group, 'fed:' .. group, 'cursor:' .. group,
  'opened')
if b[4] == ARGV[5] then return {'done', now} end
if b[1] ~= 'open' or tonumber(b[2] or '-1') ~= from then return {'elsewhere', now} end
if ARGV[9] ~= '' and ARGV[9] ~= b[6] then return {'elsewhere', now} end
local n = #KEYS - 3
local first = tonumber(b[5] or '0')
if to > (whose == '' and tonumber(b[3] or '0') or first) then return {'elsewhere', now} end
-- First a write that maxmemory refuses: once any write has passed, it would let the rest of the script through.
redis.call('HINCRBY', KEYS[1], 'n:queued', n)
local steps = tonumber(ARGV[10])
for i = 1, n do
  local at = 10 + 2 * steps + 3 * (i - 1)
  local id, order, job = ARGV[at + 1], ARGV[at + 2], KEYS[3 + i]
  redis.call('DEL', job)
  redis.call('HSET', job, 'state', 'queued', 'attempt', 1, 'fence', now, 'owner', '', 'sent', 0, 'nb', 0, 'reserve', 0,
    'paid', 0, 'group', group, 'seat', 'hot', 'op', '', 'at', now, 'order', order, 'live', ARGV[8], 'bound', ARGV[at + 3])
  redis.call('SADD', KEYS[2], id)
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[7]), id)
end
for i = 1, steps do
  redis.call('HSETNX', KEYS[1], 'behind:' .. group .. ':' .. ARGV[9 + 2 * i], ARGV[10 + 2 * i])
end
redis.call('HINCRBY', KEYS[1], 'hot:' .. group, n)
redis.call('HSET', KEYS[1], cursor, to, 'fed:' .. group, ARGV[5], 'low:' .. group, ARGV[6])
if whose ~= '' and to >= first then redis.call('HDEL', KEYS[1], cursor) end
redis.call('HDEL', KEYS[1], 'feeding:' .. group)
return {'done', now}
