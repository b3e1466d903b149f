-- Replaces what was reserved by what it was.
-- KEYS as in reserve.lua. ARGV: hold, bucket (-1: nothing was reserved in a window, it counts now), rules as JSON [[kind, reserved, actual], ...]
-- → what was spent, for each rule; -1 where that is not known.
local hold, bucket = ARGV[1], ARGV[2]
local rules = cjson.decode(ARGV[3])
local spent = {}
local BUCKET, WINDOW = 500, 60000

local function charge(key, amount)
  local clock = redis.call('TIME')
  local found = redis.call('TYPE', key).ok
  if found ~= 'hash' and found ~= 'none' then redis.call('DEL', key) end
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  redis.call('HINCRBY', key, string.format('%.0f', math.floor(now / BUCKET)), string.format('%.0f', amount))
  redis.call('PEXPIRE', key, WINDOW + 2 * BUCKET)
end

for i, rule in ipairs(rules) do
  local kind, reserved, actual = rule[1], rule[2], rule[3]
  local key, holds = KEYS[2 * i - 1], KEYS[2 * i]
  spent[i] = -1
  if kind == 'w' then
    if bucket == '-1' then
      if actual > reserved then charge(key, actual - reserved) end
    elseif reserved ~= actual and redis.call('TYPE', key).ok == 'hash' then
      local count = tonumber(redis.call('HGET', key, bucket) or '')
      if count ~= nil then
        redis.call('HSET', key, bucket, string.format('%.0f', math.max(0, count + actual - reserved)))
      end
    end
  elseif kind == 'c' then
    if redis.call('TYPE', key).ok == 'zset' then redis.call('ZREM', key, hold) end
  else
    local amount = string.format('%.0f', reserved)
    local typed = redis.call('TYPE', key).ok == 'hash'
    if redis.call('TYPE', holds).ok == 'zset' and redis.call('ZREM', holds, hold .. '|' .. amount) == 1 and typed then
      local held = tonumber(redis.call('HGET', key, 'held') or '0') or 0
      redis.call('HSET', key, 'held', string.format('%.0f', math.max(0, held - reserved)))
    end
    local before = typed and tonumber(redis.call('HGET', key, 'spent') or '')
    if before then  -- an unseeded budget gets this call from the ledger
      redis.call('HSET', key, 'spent', string.format('%.0f', before + actual))
      spent[i] = before + actual
    end
  end
end
return spent
