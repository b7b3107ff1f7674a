-- Writes a field of a hash. KEYS: 1 hash, 2 absent. ARGV: 1 field, 2 value, 3 '1' for: only where the hash is
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
if ARGV[3] ~= '1' or redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return {'done', now}
