-- Mirrors dead letters, each once. KEYS[1] the list; ARGV[1] seconds to live, ARGV[2] letters the list keeps (the newest), then two
-- a letter, the oldest first: job id, letter.
local added = 0
for position = 3, #ARGV, 2 do
  if redis.call('SET', 'deadletter:' .. ARGV[position], 'moved', 'NX', 'EX', ARGV[1]) then
    redis.call('LPUSH', KEYS[1], ARGV[position + 1])
    added = added + 1
  end
end
if added > 0 then
  redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return added
