-- Hands a batch of jobs over: a short-lived status hash each, then one entry in the list of its lane.
-- KEYS[1..n] lists, soonest job first. ARGV[1] seconds the hashes live; then four a job: id, gen, attempts so far, message.
local hash_seconds = tonumber(ARGV[1])
for position, list in ipairs(KEYS) do
  local at = 2 + (position - 1) * 4
  local hash = 'job:' .. ARGV[at]
  redis.call('HSET', hash, 'status', 'migrated_to_redis', 'gen', ARGV[at + 1], 'attempt_count', ARGV[at + 2])
  redis.call('EXPIRE', hash, hash_seconds)
  redis.call('LPUSH', list, ARGV[at + 3])
end
return #KEYS
