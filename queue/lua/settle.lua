-- Notes where jobs have got to, for whoever reads Redis; PostgreSQL has decided it already.
-- KEYS[1] a list to clear away ('' for none). ARGV[1] status, ARGV[2] seconds to live, ARGV[3] worker id ('' for none), ARGV[4..n] job ids.
if KEYS[1] ~= '' then
  redis.call('DEL', KEYS[1])
end
for position = 4, #ARGV do
  local hash = 'job:' .. ARGV[position]
  redis.call('HSET', hash, 'status', ARGV[1], 'worker_id', ARGV[3])
  redis.call('EXPIRE', hash, ARGV[2])
end
return #ARGV - 3
