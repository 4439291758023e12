-- Notes where jobs have got to, for whoever reads Redis; PostgreSQL has decided it already.
-- ARGV[1] status, ARGV[2] seconds to live, ARGV[3] worker id ('' leaves it as it is), ARGV[4..n] job ids.
for position = 4, #ARGV do
  local hash = 'job:' .. ARGV[position]
  if ARGV[3] == '' then
    redis.call('HSET', hash, 'status', ARGV[1])
  else
    redis.call('HSET', hash, 'status', ARGV[1], 'worker_id', ARGV[3])
  end
  redis.call('EXPIRE', hash, ARGV[2])
end
return #ARGV - 3
