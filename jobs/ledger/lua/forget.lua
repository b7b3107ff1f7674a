-- Removes everything of a batch, whatever of it is left. What its jobs had open goes with them: their reserves, from the
-- books of their days, and the fingerprints that they were buying. (They are a window and what waits beside it, so one
-- call bears them.) Slots stay to the strays, since only the API knows when a task has ended.
-- KEYS: 1 batch, 2 jobs of the batch, 3 outcomes, 4 batches, 5 leases, 6 due, 7 doubts. ARGV: 1 id, 2 job key prefix,
-- 3 '1' for: only if no job is left and no outcome waits to be written, 4 the opening of the batch that is meant
-- ('' = any), 5 prefix of the keys of days, 6 of bought fingerprints
local now = clock()
local opened = redis.call('HGET', KEYS[1], 'opened')
if ARGV[4] ~= '' and opened and ARGV[4] ~= opened then return {'elsewhere', now} end
local waiting = redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 or redis.call('HEXISTS', KEYS[1], 'part_pending') == 1
if ARGV[3] == '1' and waiting then return {'waiting', now} end

local function let_go(id)
  local j = redis.call('HMGET', ARGV[2] .. id, 'live', 'reserve', 'unproved', 'seat')
  redis.call('DEL', ARGV[2] .. id)
  if not j[1] then return end
  local live, reserve, unproved = cjson.decode(j[1]), tonumber(j[2] or '0'), tonumber(j[3] or '0')
  local day, bought = ARGV[5] .. live.day, ARGV[6] .. live.fingerprint
  if redis.call('EXISTS', day) == 1 then
    local withheld = j[4] == 'held' and reserve or 0
    add_to_day(day, live.day, live.key_id, {reserved = -reserve, unproved = -unproved, withheld = -withheld})
  end
  if redis.call('GET', bought) == id then redis.call('DEL', bought) end
end

for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  let_go(id)
  for i = 5, 7 do redis.call('ZREM', KEYS[i], id) end
end
local part = redis.call('HGET', KEYS[1], 'part_pending')
if part then redis.call('DEL', KEYS[3] .. ':' .. part) end
redis.call('DEL', KEYS[1], KEYS[1] .. ':ends', KEYS[2], KEYS[3])
redis.call('ZREM', KEYS[4], ARGV[1])
return {'done', now}
