-- Sets fields of a batch that the ledger holds. KEYS: 1 batch. ARGV: field and value for each
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return {'done', now}
