-- Takes a job into ownership under a new fence.
-- KEYS: 1 job, 2 batch, 3 leases, 4 due. ARGV: 1 job id, 2 owner, 3 op, 4 lease_ms, 5 resend_ms, 6 the owner's spool,
-- 7 how soon a job asks again that leaves its place to other batches
local now = clock()
local j = redis.call('HMGET', KEYS[1], 'state', 'owner', 'op', 'nb', 'group', 'live', 'spool', 'bound', 'seat')
if not j[1] then return {'missing', now} end
if not j[6] then return {'final', now} end
local b = redis.call('HMGET', KEYS[2], 'state', 'weight', 'share:' .. j[5], 'hot:' .. j[5])
local state, share = b[1], tonumber(b[3] or '0')
if j[3] ~= ARGV[3] then
  if j[1] == 'in_doubt' then return {'doubt', now} end
  if j[2] ~= '' then
    local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
    if lease then return {'owned', now} end
  end
  if j[1] == 'kept' and (j[7] or '') ~= ARGV[6] then return {'elsewhere', now} end
  if tonumber(j[4]) > now and state ~= 'cancelled' then return {'early', now} end
  if j[1] == 'queued' and state == 'paused' then
    redis.call('ZADD', KEYS[4], now + tonumber(ARGV[5]), ARGV[1])
    return {'paused', now}
  end
  if j[1] == 'queued' and state == 'open' and redis.call('HEXISTS', KEYS[2], 'stop:' .. (j[8] or '')) == 1 then
    redis.call('ZADD', KEYS[4], now + tonumber(ARGV[5]), ARGV[1])
    take_seat(KEYS[1], KEYS[2], j[5], 'stopped')
    return {'stopped', now}
  end
  if j[1] == 'queued' and state == 'open' and share > 0 then
    local others = tonumber(b[4] or '0') - (j[9] == 'hot' and 1 or 0)
    if others >= share then
      redis.call('ZADD', KEYS[4], now + tonumber(ARGV[7]), ARGV[1])
      take_seat(KEYS[1], KEYS[2], j[5], 'aside')
      return {'aside', now}
    end
  end
  redis.call('ZREM', KEYS[4], ARGV[1])
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[4]), ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'fence', 1)
  redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'op', ARGV[3], 'nb', 0)
  if j[1] == 'queued' then take_seat(KEYS[1], KEYS[2], j[5], 'hot') end
end
return {'claimed', now, state or '', redis.call('HGETALL', KEYS[1]), b[2] or '0'}
