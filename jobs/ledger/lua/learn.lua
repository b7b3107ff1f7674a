-- Adds to what was seen of a model's latency, and forgets half where it holds more than enough. A repeated call adds
-- twice: these are statistics. KEYS: 1 histogram, 2 absent. ARGV: 1 the most that it may hold, 2 seconds, 3.. bin and weight
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
for i = 3, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
local seen, sum = redis.call('HGETALL', KEYS[1]), 0
for i = 2, #seen, 2 do sum = sum + tonumber(seen[i]) end
if sum > tonumber(ARGV[1]) then
  for i = 1, #seen, 2 do
    local half = math.floor(tonumber(seen[i + 1]) / 2)
    if half == 0 then redis.call('HDEL', KEYS[1], seen[i]) else redis.call('HSET', KEYS[1], seen[i], half) end
  end
  seen = redis.call('HGETALL', KEYS[1])
end
if #ARGV > 2 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return {'done', now, seen}
