-- What is known is recorded even at maxmemory: a script whose first write frees memory may go on writing.
-- KEYS as in change.lua, but KEYS[#KEYS] is the absent key. ARGV: 1 change, 2 channel, 3 op, 4 tombstone_s, 5 lease_ms
redis.call('DEL', table.remove(KEYS))
local now = clock()
local change = cjson.decode(ARGV[1])
local is = standing(change, ARGV[3])
if is ~= 'same' then return {is, now, told(change, ARGV[3])} end
if change.retry and not may_try_again(KEYS[2]) then return {'no_budget', now, 0} end
return {'done', now, carry_out(change, ARGV[3], now, tonumber(ARGV[4]), tonumber(ARGV[5]))}
