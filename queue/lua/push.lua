-- Hands a batch of jobs over: a short-lived status hash each, then the messages of a lane into its list in one call, and their ids
-- into the product's set of recent jobs (for whoever reads it; nothing here is decided by it, so it begins anew when it is large).
-- A token in wake:<queue> tells one waiting worker; it tells the next if it leaves something (reserve.lua).
-- KEYS[1..n] lists. ARGV[1] seconds the hashes live, ARGV[2..n+1] how many jobs go to each list; then four a job, list by list
-- and soonest first: id, gen, attempts so far, message.
local RECENT_SECONDS, MOST_RECENT = 3600, 50000
local hash_seconds = ARGV[1]
local at = 2 + #KEYS
for position, list in ipairs(KEYS) do
  local messages, ids = {}, {}
  for job = 1, tonumber(ARGV[1 + position]) do
    local hash = 'job:' .. ARGV[at]
    redis.call('HSET', hash, 'status', 'migrated_to_redis', 'gen', ARGV[at + 1], 'attempt_count', ARGV[at + 2])
    redis.call('EXPIRE', hash, hash_seconds)
    ids[job] = ARGV[at]
    messages[job] = ARGV[at + 3]
    at = at + 4
  end
  redis.call('LPUSH', list, unpack(messages))
  local name = list:match('^queue:(.*):high$') or list:match('^queue:(.*):low$') or list:match('^queue:(.*)$')
  local recent = 'recent_jobs:' .. name
  if redis.call('SCARD', recent) >= MOST_RECENT then
    redis.call('UNLINK', recent)
  end
  redis.call('SADD', recent, unpack(ids))
  redis.call('EXPIRE', recent, RECENT_SECONDS)
  local wake = 'wake:' .. name
  if redis.call('EXISTS', wake) == 0 then
    redis.call('RPUSH', wake, '1')
  end
end
return at
