-- Takes or renews a lock. KEYS: 1 lock. ARGV: 1 token, 2 milliseconds
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {'held', now} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'done', now}
