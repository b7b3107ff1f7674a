-- Renews the leases of a process's jobs. KEYS: 1 leases, 2.. jobs. ARGV: 1 lease_ms, 2 owner, then id and fence for each
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
local lost = {}
for i = 2, #KEYS do
  local id, fence = ARGV[2 * i - 1], ARGV[2 * i]
  local j = redis.call('HMGET', KEYS[i], 'owner', 'fence')
  if j[1] == ARGV[2] and j[2] == fence then
    redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[1]), id)
  else
    lost[#lost + 1] = id
  end
end
return {'done', now, lost}
