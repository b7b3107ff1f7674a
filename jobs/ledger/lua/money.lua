-- The sums of a batch, and of a day for all keys and for each (see jobs/money.py).
local function sums_of(key, suffix)
  local s = redis.call('HMGET', key, 'settled' .. suffix, 'reserved' .. suffix, 'withheld' .. suffix,
    'doubt_used' .. suffix, 'unproved' .. suffix)
  local settled, reserved, withheld = tonumber(s[1] or '0'), tonumber(s[2] or '0'), tonumber(s[3] or '0')
  return {gone = settled + tonumber(s[4] or '0') + withheld, open = reserved - withheld + tonumber(s[5] or '0')}
end

local function add(key, suffix, moved)
  for name, by in pairs(moved) do
    if by ~= 0 then redis.call('HINCRBY', key, name .. suffix, by) end
  end
end

-- Adds what moved to a day's book. Nothing is written, and so nothing is kept longer, where nothing moved.
local function add_to_day(key, day, api_key, moved)
  local any = false
  for _, by in pairs(moved) do any = any or by ~= 0 end
  if day == '' or not any then return end
  add(key, '', moved)
  if api_key ~= '' then add(key, ':' .. api_key, moved) end
  redis.call('EXPIRE', key, 8 * 86400) -- DAYS_KEPT
end

-- Looks at the first edits that are settled: where they cost over 20 % more than was expected, the batch pauses.
-- The figures are PROOF_EDITS and PROOF_PERCENT of jobs/money.py.
local function look_at_first(change, batch)
  if change.charged == 0 and change.settled == 0 then return end
  if tonumber(redis.call('HGET', batch, 'first') or '0') >= 20 then return end
  local edits = redis.call('HINCRBY', batch, 'first', change.charged)
  local cost = redis.call('HINCRBY', batch, 'first_cost', change.settled)
  local expected = redis.call('HINCRBY', batch, 'first_expected', change.expected)
  local state = redis.call('HGET', batch, 'state')
  if edits == 20 and cost * 100 > expected * 120 and (state == 'open' or state == 'paused') then
    redis.call('HSET', batch, 'state', 'paused', 'reason', 'proof')
    redis.call('HDEL', batch, 'about')
  end
end

-- Moves a change's money in every sum. Returns what is reserved for the job from here on, and what it may cost beyond.
local function move_money(change, job, batch)
  local was = redis.call('HMGET', job, 'reserve', 'unproved')
  local was_reserve, was_unproved = tonumber(was[1] or '0'), tonumber(was[2] or '0')
  local reserve, unproved, withheld = 0, 0, 0
  if change.reserve > 0 then
    reserve = was_reserve > 0 and was_reserve or change.reserve
    if change.seat ~= 'held' then unproved = was_reserve > 0 and was_unproved or change.unproved end
  end
  if change.held == 1 then withheld = reserve elseif change.held == -1 then withheld = -was_reserve end
  local moved = {settled = change.settled, reserved = reserve - was_reserve, withheld = withheld, unsure = change.unsure,
    doubt_used = change.doubt_used, unproved = unproved - was_unproved}
  add(batch, '', moved)
  add_to_day(KEYS[9], change.day, change.key, moved)
  if change.settled ~= 0 then redis.call('HINCRBY', batch, 'price_paid:' .. change.model, change.settled) end
  if change.due ~= 0 then redis.call('HINCRBY', batch, 'price_due:' .. change.model, change.due) end
  look_at_first(change, batch)
  return reserve, unproved
end
