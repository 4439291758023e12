-- Hands a batch of jobs over: a short-lived status hash each, then the messages of a lane into its list in one call.
-- KEYS[1..n] lists. ARGV[1] seconds the hashes live, ARGV[2..n+1] how many jobs go to each list; then four a job, list by list
-- and soonest first: id, gen, attempts so far, message.
local hash_seconds = ARGV[1]
local at = 2 + #KEYS
for position, list in ipairs(KEYS) do
  local messages = {}
  for job = 1, tonumber(ARGV[1 + position]) do
    local hash = 'job:' .. ARGV[at]
    redis.call('HSET', hash, 'status', 'migrated_to_redis', 'gen', ARGV[at + 1], 'attempt_count', ARGV[at + 2])
    redis.call('EXPIRE', hash, hash_seconds)
    messages[job] = ARGV[at + 3]
    at = at + 4
  end
  redis.call('LPUSH', list, unpack(messages))
end
return at
