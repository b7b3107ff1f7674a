-- Moves a job from the seat that its hash names to another one and keeps the batch's counts right.
local function take_seat(job, batch, group, seat)
  local had = redis.call('HGET', job, 'seat')
  if had == seat then return end
  if had == 'hot' then redis.call('HINCRBY', batch, 'hot:' .. group, -1) end
  if had == 'waiting' or had == 'held' or had == 'stopped' then redis.call('HINCRBY', batch, 'waiting', -1) end
  if had == 'stopped' then redis.call('HINCRBY', batch, 'stopped', -1) end
  if had == 'aside' then redis.call('HINCRBY', batch, 'aside:' .. group, -1) end
  if seat == 'hot' then redis.call('HINCRBY', batch, 'hot:' .. group, 1) end
  if seat == 'waiting' or seat == 'held' or seat == 'stopped' then redis.call('HINCRBY', batch, 'waiting', 1) end
  if seat == 'stopped' then redis.call('HINCRBY', batch, 'stopped', 1) end
  if seat == 'aside' then redis.call('HINCRBY', batch, 'aside:' .. group, 1) end
  redis.call('HSET', job, 'seat', seat)
end
