-- Raises the mark up to which rows can be fed. KEYS: 1 batch. ARGV: 1 group, 2 rows
local now = clock()
local mark = redis.call('HGET', KEYS[1], 'staged:' .. ARGV[1])
if mark and tonumber(mark) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 'staged:' .. ARGV[1], ARGV[2]) end
return {'done', now}
