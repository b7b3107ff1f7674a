-- Counts how edits end, and stops a group or the batch where too many failed: the rules of jobs/bounds.py.

-- Pauses an open batch of which something could still be bought.
local function pause_for_failures(batch, about)
  local b = redis.call('HMGET', batch, 'state', 'to_feed', 'n:submitting', 'n:in_doubt', 'n:running', 'n:ready', 'n:kept',
    'n:stored', 'n:unchanged', 'n:moderated', 'n:failed', 'n:cancelled')
  if b[1] ~= 'open' then return end
  local left = tonumber(b[2] or '0')
  for i = 3, #b do left = left - tonumber(b[i] or '0') end
  if left <= 0 then return end
  redis.call('HSET', batch, 'state', 'paused', 'reason', 'failures', 'about', cjson.encode(about))
end

-- Forgets the half of the groups of which nothing ended for longest, when there are over GROUPS_KNOWN.
local function forget_groups(ends)
  if redis.call('HLEN', ends) <= 1002 then return end
  local known, all = {}, redis.call('HGETALL', ends)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'g:' then
      known[#known + 1] = {tonumber(string.match(all[i + 1], '^%d+')), all[i]}
    end
  end
  table.sort(known, function(a, b) return a[1] < b[1] end)
  for i = 1, 500 do redis.call('HDEL', ends, known[i][2]) end
end

local function slid(window, letter, size)
  window = string.sub(window .. letter, -size)
  local _, failed = string.gsub(window, 'f', '')
  local _, moderated = string.gsub(window, 'm', '')
  return window, failed, moderated
end

-- Of a batch that is one group, all of it is stopped: nobody has to go over rows that are left.
local function stop_group(batch, bound, why, count, of, now)
  if redis.call('HGET', batch, 'lone') == '1' then
    return pause_for_failures(batch, {why = why, count = count, of = of})
  end
  if redis.call('HSETNX', batch, 'stop:' .. bound, why .. ' ' .. count .. ' ' .. of .. ' ' .. now) == 0 then return end
  local stops = redis.call('HINCRBY', batch, 'stops', 1)
  if stops >= 16 then pause_for_failures(batch, {why = 'groups', count = stops}) end -- GROUPS_STOPPED
end

-- KEYS[2] is the batch; the last ends of its groups lie under a key made from it.
local function count_end(change, batch, now)
  if change.call then redis.call('HINCRBY', batch, 'calls', 1) end
  if change.retry then redis.call('HINCRBY', batch, 'retried', 1) end
  if change.ended == '' then return end
  local ends, group = batch .. ':ends', 'g:' .. change.bound
  local most = redis.call('HMGET', batch, 'most:failed', 'most:failed_batch', 'most:moderated', 'most:moderated_cost')
  if not most[1] then return end -- opened by an earlier release
  local known = redis.call('HMGET', ends, 'batch', group)
  local n = redis.call('HINCRBY', ends, 'n', 1)
  local window, failed, moderated = slid(string.match(known[2] or '0 ', ' (.*)$'), change.ended, 30) -- GROUP_ENDS
  local all, failed_of_all = slid(known[1] or '', change.ended, 100) -- BATCH_ENDS
  redis.call('HSET', ends, 'batch', all, group, n .. ' ' .. window)
  if not known[2] then forget_groups(ends) end
  if change.ended == 'f' and failed_of_all > tonumber(most[2]) then
    pause_for_failures(batch, {why = 'failed', count = failed_of_all, of = #all})
  end
  if change.ended == 'f' and failed > tonumber(most[1]) then
    stop_group(batch, change.bound, 'failed', failed, #window, now)
  end
  if change.ended == 'm' and moderated > tonumber(most[3]) then
    stop_group(batch, change.bound, 'moderated', moderated, #window, now)
  end
  if change.ended == 'm' then
    local cost, limit = redis.call('HINCRBY', batch, 'moderated_cost', change.end_cost), tonumber(most[4])
    if limit >= 0 and cost > limit then pause_for_failures(batch, {why = 'moderated_cost', cost = cost, limit = limit}) end
  end
end

-- Whether a batch may ask once more for what has failed: RETRY_FLOOR and RETRY_PERCENT.
local function may_try_again(batch)
  local b = redis.call('HMGET', batch, 'calls', 'retried')
  return tonumber(b[2] or '0') < math.max(20, math.floor(tonumber(b[1] or '0') * 20 / 100))
end
