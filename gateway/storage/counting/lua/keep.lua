-- Keeps one cached answer within a bound on all of them; the ones that expire first make room.
-- KEYS: the answer, the order (sorted set: key -> expiry in ms), the sizes (hash: key -> bytes, "" -> their sum)
-- ARGV: the answer, its life in ms, the bound in bytes, the bytes an entry costs beside its answer
local answer, order, sizes = KEYS[1], KEYS[2], KEYS[3]
for _, shape in ipairs({{order, 'zset'}, {sizes, 'hash'}}) do
  local found = redis.call('TYPE', shape[1])['ok']
  if found ~= shape[2] and found ~= 'none' then redis.call('DEL', shape[1]) end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function forget(key)
  local size = tonumber(redis.call('HGET', sizes, key))
  redis.call('ZREM', order, key)
  redis.call('DEL', key)
  if size then
    redis.call('HDEL', sizes, key)
    return redis.call('HINCRBY', sizes, '', -size)
  end
  return tonumber(redis.call('HGET', sizes, '') or '0')
end

forget(answer)
for _, key in ipairs(redis.call('ZRANGEBYSCORE', order, '-inf', now, 'LIMIT', 0, 100)) do forget(key) end
local size, bound = #ARGV[1] + tonumber(ARGV[4]), tonumber(ARGV[3])
if size > bound then return 0 end
local sum = tonumber(redis.call('HGET', sizes, '') or '0')
while sum + size > bound do
  local oldest = redis.call('ZRANGE', order, 0, 0)[1]
  if not oldest then
    redis.call('DEL', sizes)
    break
  end
  sum = forget(oldest)
end
local life = tonumber(ARGV[2])
redis.call('SET', answer, ARGV[1], 'PX', life)
redis.call('ZADD', order, now + life, answer)
redis.call('HSET', sizes, answer, size)
redis.call('HINCRBY', sizes, '', size)
redis.call('PEXPIRE', order, life * 2)
redis.call('PEXPIRE', sizes, life * 2)
return 1
