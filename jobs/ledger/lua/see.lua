-- Notes that a worker is alive. KEYS: 1 worker, 2 absent. ARGV: 1 what it says, 2 seconds
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {'done', now}
