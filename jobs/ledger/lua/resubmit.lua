-- Resubmits a doubt if the batch's allowance carries it.
-- KEYS as in change.lua. ARGV: 1 change, 2 channel, 3 op, 4 tombstone_s, 5 lease_ms
local now = clock()
local change = cjson.decode(ARGV[1])
local is = standing(change, ARGV[3])
if is ~= 'same' then return {is, now, told(change, ARGV[3])} end
local b = redis.call('HMGET', KEYS[2], 'doubt_used', 'allowance', 'state')
if tonumber(b[1] or '0') + change.doubt_used > tonumber(b[2] or '0') then return {'no_allowance', now, 0} end
if b[3] == 'cancelled' then return {'cancelled', now, 0} end
return {'done', now, carry_out(change, ARGV[3], now, tonumber(ARGV[4]), tonumber(ARGV[5]))}
