-- Moves up to ARGV[1] messages from the lists, in their order, to the worker's own list, and returns them.
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
  end
end
return reserved
