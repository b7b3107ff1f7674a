-- Takes slot, money and fingerprint, and writes the intent; all of it, or says what is closed.
-- It takes something new, so at maxmemory it fails and nothing is submitted.
-- KEYS as in change.lua, then the limit of each group in the order of the slots, the front of each (whose turn it is,
-- of the batches that wait for one), the epoch and the throttle. ARGV: 1 change, 2 channel, 3 op, 4 tombstone_s, 5
-- lease_ms, 6 how many times its reserve an edit may cost whose price is unproved, 7 when the bucket was looked at, 8
-- cap of the day and 9 of the key on the day (-1: none), 10.. the size of each limit group, in the order of the slots;
-- the last three are the epoch that this process has seen, the highest intent in it, and for how many ms a front stands
local throttle = table.remove(KEYS)
local epoch = table.remove(KEYS)
local fronts, limits, groups = {}, {}, (#KEYS - 9) / 3
for i = 1, groups do table.insert(fronts, 1, table.remove(KEYS)) end
for i = 1, groups do table.insert(limits, 1, table.remove(KEYS)) end
local front_ms = table.remove(ARGV)
local seen_n, seen_id = tonumber(table.remove(ARGV)), table.remove(ARGV)
local now = clock()
local change = cjson.decode(ARGV[1])
local is = standing(change, ARGV[3])
if is ~= 'same' then return {is, now, told(change, ARGV[3]), tonumber(redis.call('HGET', KEYS[1], 'intent') or '0')} end

local b = redis.call('HMGET', KEYS[2], 'state', 'ceiling', 'price_paid:' .. change.model, 'price_due:' .. change.model,
  'stop:' .. change.bound, 'weight', 'n:submitting', 'n:running', 'n:in_doubt', 'held')
if b[1] == 'cancelled' then return {'cancelled', now, 0} end
if b[1] ~= 'open' then return {'paused', now, 0} end
if b[5] then return {'group_stopped', now, 0} end
-- Most looks are in vain, since many wait for a slot: so what else may be closed is not looked at where none is free, unless the batch has a place in line to write down.
local weight = tonumber(b[6] or '0')
for i = 10, (ARGV[3] ~= '' and weight == 0) and #KEYS or 0 do
  if redis.call('SCARD', KEYS[i]) >= tonumber(ARGV[i]) then return {'no_slot', now, 0} end
end

local e = redis.call('HMGET', epoch, 'id', 'n', 'guard')
if e[3] then return {'guarded', now, 0} end
if seen_id ~= '' and (e[1] ~= seen_id or tonumber(e[2] or '0') < seen_n) then return {'went_back', now, 0} end

local wait = redis.call('PTTL', throttle)
if wait > 0 then return {'throttled', now, wait} end

local buyer, looked_at = bought_by(change), tonumber(ARGV[7])
local filed_at = buyer and string.match(buyer, '^filed:(%d+)$')
if looked_at > 0 and now - looked_at > 120000 then return {'just_filed', now, 0} end  -- FILED_S
if filed_at then
  if tonumber(filed_at) >= looked_at then return {'just_filed', now, 0} end
elseif buyer and buyer ~= change.job then
  return {'being_bought', now, 0}
end

-- As `admit` of jobs/money.py.
local reserve, paid, due = change.reserve, tonumber(b[3] or '0'), tonumber(b[4] or '0')
if due > 0 and paid > due then reserve = math.ceil(reserve * paid / due) end
local wished = due > 0 and reserve or reserve * tonumber(ARGV[6])
local ceilings = {{'ceiling', tonumber(b[2]), KEYS[2], ''}, {'day_cap', tonumber(ARGV[8]), KEYS[9], ''},
  {'key_cap', tonumber(ARGV[9]), KEYS[9], ':' .. change.key}}
local waits = false
for i, ceiling in ipairs(ceilings) do
  if ceiling[2] >= 0 or i == 1 then
    local sums = sums_of(ceiling[3], ceiling[4])
    local room = ceiling[2] - sums.gone
    if reserve > room then return {ceiling[1], now, reserve} end
    if wished > room - sums.open then
      if sums.open > 0 then waits = true else wished = room end
    end
  end
end
-- Who only asks has no operation, and is told nothing of what is waited for at the gate: money that settles, and slots.
if ARGV[3] == '' then return {'open', now, 0} end
if waits then return {'money_open', now, 0} end
change.reserve, change.unproved = reserve, wished - reserve

-- As `place_in_line` of jobs/shares.py: while several batches want slots, who has none comes first, and then who has
-- fewest for its weight.
local place
if weight > 0 then
  local slots = tonumber(b[7] or '0') + tonumber(b[8] or '0') + tonumber(b[9] or '0') - tonumber(b[10] or '0')
  place = slots > 0 and math.floor((slots + 1) * 1000000 / weight) or 0
end
-- A batch that was paused, cancelled or forgotten since waits for nothing.
local function waits_still(other)
  local key = string.sub(KEYS[2], 1, -#change.batch - 1) .. other
  return redis.call('HGET', key, 'state') == 'open'
end
local more = 1
for i = 10, #KEYS do
  local size, lowered = tonumber(ARGV[i]), redis.call('GET', limits[i - 9])
  if lowered then size = math.min(size, cjson.decode(lowered).size) end
  local used, first, whose = redis.call('SCARD', KEYS[i])
  local full = used >= size
  if used + 1 >= size then more = 0 end
  if place then first, whose = string.match(redis.call('GET', fronts[i - 9]) or '', '^(%d+) (.*)$') end
  local others_first = first and whose ~= change.batch and tonumber(first) < place and waits_still(whose)
  if full and place and not others_first then
    redis.call('SET', fronts[i - 9], string.format('%d ', place) .. change.batch, 'PX', front_ms)
  elseif not full and others_first and redis.call('PTTL', fronts[i - 9]) > 2500 then  -- COMES_S
    redis.call('PEXPIRE', fronts[i - 9], 2500)
  end
  if full or others_first then return {'no_slot', now, 0} end
end
for i = 10, #KEYS do redis.call('SADD', KEYS[i], change.slot) end
redis.call('SET', KEYS[8], change.job)
local n = redis.call('HINCRBY', epoch, 'n', 1)
redis.call('HSET', KEYS[1], 'intent', n)
local feed_wanted = carry_out(change, ARGV[3], now, tonumber(ARGV[4]), tonumber(ARGV[5]))
-- Last: a DEL that comes first would let the rest through at maxmemory.
if place then redis.call('DEL', unpack(fronts)) end
return {'done', now, feed_wanted, n, more}
