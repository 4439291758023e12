-- Mirrors dead letters, each once. KEYS[1] the list; ARGV[1] seconds to live, then two a letter: job id, letter.
local added = 0
for position = 2, #ARGV, 2 do
  if redis.call('SET', 'deadletter:' .. ARGV[position], ARGV[position + 1], 'NX', 'EX', ARGV[1]) then
    redis.call('LPUSH', KEYS[1], ARGV[position + 1])
    added = added + 1
  end
end
return added
