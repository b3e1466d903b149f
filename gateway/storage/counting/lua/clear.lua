-- Forgets every cached answer.
-- KEYS: the order (sorted set: key -> expiry in ms), the sizes (hash)
if redis.call('TYPE', KEYS[1])['ok'] == 'zset' then
  for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('DEL', key) end
end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
