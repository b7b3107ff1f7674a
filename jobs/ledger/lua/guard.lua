-- Lets no submission begin until another epoch does. KEYS: 1 epoch, 2 absent. ARGV: 1 why
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
redis.call('HSET', KEYS[1], 'guard', ARGV[1])
return {'done', now}
