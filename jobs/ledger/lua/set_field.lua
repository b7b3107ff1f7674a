-- Sets fields of a batch that the ledger holds. KEYS: 1 batch, 2 absent. ARGV: field and value for each
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return {'done', now}
