-- Puts a batch back as it was, paused, with jobs that are queued; nothing where the ledger holds it.
-- KEYS: 1 batch, 2 jobs of the batch, 3 due, 4 batches, 5.. the jobs. ARGV: 1 id, 2 op, 3 resend_ms, 4 how many values of
-- the hash follow, these, then group, order, live and bound for each job
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'opened') == ARGV[2] then return {'done', now} end
  return {'known', now}
end
local fields = tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'opened', ARGV[2], unpack(ARGV, 5, 4 + fields))
redis.call('ZADD', KEYS[4], now, ARGV[1])
for i = 5, #KEYS do
  local at = 4 + fields + 4 * (i - 5)
  local group, job, id = ARGV[at + 1], KEYS[i], ARGV[1] .. '.' .. string.match(KEYS[i], '[^.]+$')
  redis.call('DEL', job)
  redis.call('HSET', job, 'state', 'queued', 'attempt', 1, 'fence', now, 'owner', '', 'sent', 0, 'nb', 0, 'reserve', 0,
    'paid', 0, 'group', group, 'seat', 'hot', 'op', '', 'at', now, 'order', ARGV[at + 2], 'live', ARGV[at + 3],
    'bound', ARGV[at + 4])
  redis.call('SADD', KEYS[2], id)
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[3]), id)
  redis.call('HINCRBY', KEYS[1], 'n:queued', 1)
  redis.call('HINCRBY', KEYS[1], 'hot:' .. group, 1)
end
return {'done', now}
