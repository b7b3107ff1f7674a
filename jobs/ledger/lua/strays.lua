-- Frees slots whose job does not hold them. KEYS: 1.. slots. ARGV: 1 job key prefix, 2 channel
local now = clock()
local freed = 0
for i = 1, #KEYS do
  for _, member in ipairs(redis.call('SMEMBERS', KEYS[i])) do
    local id, attempt = string.match(member, '^(.*):(%d+)$')
    local j = redis.call('HMGET', ARGV[1] .. id, 'state', 'attempt')
    local holds = (j[1] == 'submitting' or j[1] == 'running' or j[1] == 'in_doubt') and j[2] == attempt
    if not holds then
      redis.call('SREM', KEYS[i], member)
      freed = freed + 1
    end
  end
end
if freed > 0 then redis.call('PUBLISH', ARGV[2], 'strays') end
return {'done', now, freed}
