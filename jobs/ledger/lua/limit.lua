-- Writes down a limit group's size if it is as it was read, and nothing has begun since where that is marked.
-- KEYS: 1 limit, 2 epoch. ARGV: 1 what was read, 2 what is written (empty: none), 3 the mark, 4 seconds to keep it,
-- 5 channel (empty: nobody is told)
redis.call('DEL', table.remove(KEYS)) -- so that it writes at maxmemory, see record.lua
local now = clock()
local is = redis.call('GET', KEYS[1]) or ''
if is ~= ARGV[2] then
  if is ~= ARGV[1] then return {'moved', now} end
  if ARGV[3] ~= '' and (redis.call('HGET', KEYS[2], 'n') or '0') ~= ARGV[3] then return {'moved', now} end
  if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4]) end
  if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], 'limit') end
end
return {'done', now}
