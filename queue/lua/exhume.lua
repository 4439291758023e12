-- Takes letters of jobs that are replayed out of the mirror. KEYS[1] the list; ARGV[1] seconds to live, ARGV[2..n] job ids.
local replayed = {}
for position = 2, #ARGV do
  replayed[ARGV[position]] = true
  redis.call('DEL', 'deadletter:' .. ARGV[position])
end
local letters = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
local kept = 0
for _, letter in ipairs(letters) do
  if not replayed[cjson.decode(letter).id] then
    redis.call('RPUSH', KEYS[1], letter)
    kept = kept + 1
  end
end
if kept > 0 then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return #letters - kept
