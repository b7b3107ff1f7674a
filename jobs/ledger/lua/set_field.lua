-- Sets a field of a batch that the ledger holds. KEYS: 1 batch. ARGV: 1 field, 2 value
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return {'done', now}
