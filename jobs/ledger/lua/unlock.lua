-- Gives a lock back, if it is ours. KEYS: 1 lock. ARGV: 1 token
local now = clock()
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return {'done', now}
