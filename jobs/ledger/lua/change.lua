-- Whether no job of the batch is left after one that has ended.
local function none_left(change)
  return change.final and redis.call('SCARD', KEYS[3]) == 0
end

-- Who buys the fingerprint, or that it is filed; none where who bought it has left the ledger without an end.
local function bought_by(change)
  local buyer = redis.call('GET', KEYS[8])
  if not buyer or buyer == change.job or string.match(buyer, '^filed:') then return buyer end
  local prefix = string.sub(KEYS[1], 1, #KEYS[1] - #change.job)
  return redis.call('HEXISTS', prefix .. buyer, 'live') == 1 and buyer
end

-- Carries out a change (see jobs/ledger/change.py) on a job that is known to be as expected.
-- KEYS: 1 job, 2 batch, 3 jobs of the batch, 4 outcomes, 5 leases, 6 due, 7 doubts, 8 bought, 9 money of the day,
-- 10.. slots
-- Returns 1 when the window fell under its low water and nobody is feeding it yet, 2 when this was the batch's last job.
local function carry_out(change, op, now, tombstone_s, lease_ms)
  local job, batch = KEYS[1], KEYS[2]

  if change.was_slot ~= '' and change.was_slot ~= change.slot then
    for i = 10, #KEYS do redis.call('SREM', KEYS[i], change.was_slot) end
  end
  -- The gate takes these before; a late receipt has not been through it, yet the API counts its task all the same.
  if change.slot ~= '' and change.slot ~= change.was_slot then
    for i = 10, #KEYS do redis.call('SADD', KEYS[i], change.slot) end
  end
  -- Nor need a doubt that was made of a lost ledger have known what it bought.
  local bought_now = change.slot ~= change.was_slot or (change.was_state == 'in_doubt' and change.state == 'running')
  if change.slot ~= '' and change.fingerprint ~= '' and bought_now and not bought_by(change) then
    redis.call('SET', KEYS[8], change.job)
  end

  local reserve, unproved = move_money(change, job, batch)
  if change.doubts ~= 0 then redis.call('HINCRBY', batch, 'doubts', change.doubts) end
  if change.ceiling ~= 0 then redis.call('HINCRBY', batch, 'ceiling', change.ceiling) end
  if change.held ~= 0 then redis.call('HINCRBY', batch, 'held', change.held) end
  for _, reason in ipairs(change.reasons) do
    redis.call('HINCRBY', batch, 'rows:' .. reason[1], reason[2])
    redis.call('HINCRBY', batch, 'cost:' .. reason[1], reason[3])
  end
  for _, kept in ipairs(change.kept) do redis.call('HINCRBY', batch, 'kept:' .. kept[1], kept[2]) end
  if change.was_state ~= change.state then
    redis.call('HINCRBY', batch, 'n:' .. change.was_state, -1)
    redis.call('HINCRBY', batch, 'n:' .. change.state, 1)
  end
  count_end(change, batch, now)

  if change.fingerprint ~= '' and change.fingerprint_to ~= 'keep' then
    if redis.call('GET', KEYS[8]) == change.job then
      if change.fingerprint_to == 'filed' then
        redis.call('SET', KEYS[8], 'filed:' .. now, 'EX', 120)  -- FILED_S
      else
        redis.call('DEL', KEYS[8])
      end
    end
  end

  take_seat(job, batch, change.group, change.seat)
  redis.call('ZREM', KEYS[5], change.job)
  redis.call('ZREM', KEYS[6], change.job)
  redis.call('ZREM', KEYS[7], change.job)
  if change.outcome ~= '' then
    if redis.call('RPUSH', KEYS[4], change.outcome) == 1 then redis.call('HSET', batch, 'outcomes_at', now) end
  end

  if change.final then
    redis.call('SREM', KEYS[3], change.job)
    redis.call('DEL', job)
    redis.call('HSET', job, 'state', change.state, 'op', op)
    redis.call('EXPIRE', job, tombstone_s)
  else
    redis.call('HSET', job, 'state', change.state, 'attempt', change.attempt, 'fence', change.fence,
      'owner', change.owner, 'sent', change.sent and 1 or 0, 'nb', change.not_before_ms, 'live', change.live,
      'reserve', reserve, 'unproved', unproved, 'paid', change.paid and 1 or 0, 'spool', change.spool, 'op', op)
    if change.index == 'leases' then redis.call('ZADD', KEYS[5], now + lease_ms, change.job) end
    if change.index == 'due' then redis.call('ZADD', KEYS[6], change.index_at_ms, change.job) end
    if change.index == 'doubts' then redis.call('ZADD', KEYS[7], change.index_at_ms, change.job) end
  end

  local group = change.group
  local b = redis.call('HMGET', batch, 'state', 'hot:' .. group, 'low:' .. group, 'cursor:' .. group,
    'staged:' .. group, 'feeding:' .. group, 'weight')
  if change.was_slot ~= '' and change.was_slot ~= change.slot then
    -- Where several batches share the places, whose turn it is may be known elsewhere, so everybody is told.
    local own = change.freed_by ~= '' and tonumber(b[7] or '0') == 0
    redis.call('PUBLISH', own and ARGV[2] .. ':' .. change.freed_by or ARGV[2], change.account .. ':' .. group)
  end
  if b[1] == 'open' and tonumber(b[2] or '0') < tonumber(b[3] or '0') and tonumber(b[4] or '0') < tonumber(b[5] or '0')
    and now - tonumber(b[6] or '0') > 2000 then
    redis.call('HSET', batch, 'feeding:' .. group, now, 'told:' .. group, op)
    return 1
  end
  return none_left(change) and 2 or 0
end

-- Compares what the caller believes with what is; the same operation asked again finds its own token.
local function standing(change, op)
  local j = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'fence', 'op', 'sent', 'seat')
  if not j[1] then return 'missing' end
  if j[4] == op then return 'done' end
  if j[1] ~= change.was_state or tonumber(j[2]) ~= change.was_attempt or tonumber(j[3]) ~= change.was_fence then
    return 'superseded'
  end
  if (j[6] == 'held') ~= change.was_held then return 'superseded' end
  -- Only who takes a job over raises its fence; the owner itself may not know that its mark was written.
  if change.fence ~= change.was_fence and (j[5] == '1') ~= change.was_sent then return 'superseded' end
  return 'same'
end

-- What this operation was told; asked again after a lost reply, it is told again.
local function told(change, op)
  if redis.call('HGET', KEYS[2], 'told:' .. change.group) == op then return 1 end
  return none_left(change) and 2 or 0
end
