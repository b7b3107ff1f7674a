-- Sets fields of a batch that the ledger holds. KEYS: 1 batch, 2 absent. ARGV: 1 the opening of it that is meant
-- ('' = any), then field and value for each
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
local opened = redis.call('HGET', KEYS[1], 'opened')
if not opened or (ARGV[1] ~= '' and ARGV[1] ~= opened) then return {'elsewhere', now} end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return {'done', now}
