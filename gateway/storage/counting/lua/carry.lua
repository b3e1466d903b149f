-- Adds what a process counted by itself while the shared counters were away to their windows, as if it were now.
-- KEYS: windows. ARGV: for each its amount.
local clock = redis.call('TIME')
local bucket = math.floor((clock[1] * 1000 + math.floor(clock[2] / 1000)) / 500)
for i, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'hash' and found ~= 'none' then redis.call('DEL', key) end
  redis.pcall('HINCRBY', key, bucket, ARGV[i])
  redis.call('PEXPIRE', key, 61000)
end
return #KEYS
