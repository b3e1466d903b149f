-- Forgets cached answers. KEYS: the order, the sizes (see keep.lua), then the answers. Returns how many there were.
local order, sizes, gone = KEYS[1], KEYS[2], 0
for at = 3, #KEYS do
  local key = KEYS[at]
  gone = gone + redis.call('DEL', key)
  redis.call('ZREM', order, key)
  local size = tonumber(redis.call('HGET', sizes, key))
  if size then
    redis.call('HDEL', sizes, key)
    redis.call('HINCRBY', sizes, '', -size)
  end
end
return gone
