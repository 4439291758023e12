-- Moves up to ARGV[1] messages from the lists, in their order, to the worker's own list, and returns them. Where it leaves some it
-- puts a token into wake:<queue> for another waiting worker.
-- KEYS[1] the worker's list; KEYS[2..n] lists, soonest first.
local need = tonumber(ARGV[1])
local reserved = {}
for position = 2, #KEYS do
  if need <= 0 then
    break
  end
  local taken = redis.call('RPOP', KEYS[position], need)
  if taken then
    redis.call('LPUSH', KEYS[1], unpack(taken))
    for _, message in ipairs(taken) do
      reserved[#reserved + 1] = message
    end
    need = need - #taken
    if need <= 0 and redis.call('EXISTS', KEYS[position]) == 1 then
      local name = KEYS[position]:match('^queue:(.*):high$') or KEYS[position]:match('^queue:(.*):low$')
        or KEYS[position]:match('^queue:(.*)$')
      if redis.call('EXISTS', 'wake:' .. name) == 0 then
        redis.call('RPUSH', 'wake:' .. name, '1')
      end
    end
  end
end
return reserved
