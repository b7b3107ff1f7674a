-- Raises sums of a day to what the bucket knows of it; a second call changes nothing.
-- KEYS: 1 money of the day. ARGV: field and sum, again and again
local now = clock()
for i = 1, #ARGV, 2 do
  if tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '0') < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('EXPIRE', KEYS[1], 8 * 86400) -- DAYS_KEPT
return {'done', now}
