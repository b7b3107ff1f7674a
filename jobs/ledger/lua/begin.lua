-- Takes slot, money and fingerprint, and writes the intent; all of it, or says what is closed.
-- It takes something new, so at maxmemory it fails and nothing is submitted.
-- KEYS as in change.lua, then the throttle. ARGV: 1 change, 2 channel, 3 op, 4 tombstone_s, 5 lease_ms, 6 reserve,
-- 7 when the bucket was looked at, 8.. the size of each limit group, in the order of the slots
local throttle = table.remove(KEYS)
local now = clock()
local change = cjson.decode(ARGV[1])
local is = standing(change, ARGV[3])
if is ~= 'same' then return {is, now, told(change, ARGV[3])} end

local b = redis.call('HMGET', KEYS[2], 'state', 'settled', 'reserved', 'doubt_used', 'ceiling')
if b[1] == 'cancelled' then return {'cancelled', now, 0} end
if b[1] ~= 'open' then return {'paused', now, 0} end
local wait = redis.call('PTTL', throttle)
if wait > 0 then return {'throttled', now, wait} end

local buyer = redis.call('GET', KEYS[8])
local filed_at = buyer and string.match(buyer, '^filed:(%d+)$')
if filed_at then
  if tonumber(filed_at) >= tonumber(ARGV[7]) then return {'just_filed', now, 0} end
elseif buyer and buyer ~= change.job then
  return {'being_bought', now, 0}
end

local reserve = tonumber(ARGV[6])
local settled = tonumber(b[2] or '0') + tonumber(b[4] or '0')
local ceiling = tonumber(b[5])
if settled + reserve > ceiling then return {'ceiling', now, 0} end
if settled + tonumber(b[3] or '0') + reserve > ceiling then return {'money_open', now, 0} end

for i = 9, #KEYS do
  if redis.call('SCARD', KEYS[i]) >= tonumber(ARGV[i - 1]) then return {'no_slot', now, 0} end
end
for i = 9, #KEYS do redis.call('SADD', KEYS[i], change.slot) end
redis.call('SET', KEYS[8], change.job)
return {'done', now, carry_out(change, ARGV[3], now, tonumber(ARGV[4]), tonumber(ARGV[5]))}
