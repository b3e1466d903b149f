-- Reserves by all rules or by none.
-- KEYS: two for each rule: its counter, and (money only) its holds.
-- ARGV: hold, ttl in ms, rules as JSON [[kind, limit, amount], ...]; kind w (window), c (concurrency), m (money).
-- → {1, 0, bucket, used...}, {0, index, bucket, used, wait ms, reset ms, ...} or {-1, index of an unseeded budget, ...}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local BUCKET, WINDOW = 500, 60000
local bucket = math.floor(now / BUCKET)
local hold, ttl = ARGV[1], tonumber(ARGV[2])
local rules = cjson.decode(ARGV[3])

-- A key of another type is somebody's mistake: it is rewritten.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end

local function leaves(one) return (one + 1) * BUCKET + WINDOW - now end

local function window(key, limit, amount)
  expect(key, 'hash')
  local flat = redis.call('HGETALL', key)
  local kept, total, newest = {}, 0, nil
  for i = 1, #flat, 2 do
    local at, count = tonumber(flat[i]), tonumber(flat[i + 1])
    if at == nil or count == nil or at > bucket + 1 or leaves(at) <= 0 then
      redis.call('HDEL', key, flat[i])
    else
      kept[#kept + 1] = {at, count}
      total = total + count
      if newest == nil or at > newest then newest = at end
    end
  end
  local wait, over = 0, total + amount - limit
  if over > 0 then
    wait = WINDOW + BUCKET
    table.sort(kept, function(a, b) return a[1] < b[1] end)
    for _, one in ipairs(kept) do
      over = over - one[2]
      if over <= 0 then wait = leaves(one[1]) break end
    end
  end
  return total, wait, newest and leaves(newest) or 0
end

local function concurrency(key)
  expect(key, 'zset')
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return redis.call('ZCARD', key), 1000, 0
end

local function money(key, holds)
  expect(key, 'hash')
  expect(holds, 'zset')
  local spent = tonumber(redis.call('HGET', key, 'spent') or '')
  if spent == nil then return nil end
  local held = tonumber(redis.call('HGET', key, 'held') or '0') or 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', holds, '-inf', now)) do
    held = held - (tonumber(string.match(member, '|(%d+)$')) or 0)
    redis.call('ZREM', holds, member)
  end
  if held < 0 or redis.call('ZCARD', holds) == 0 then held = 0 end
  redis.call('HSET', key, 'held', string.format('%.0f', held))
  return spent + held, 0, 0
end

local answer, refused, unseeded = {}, -1, {}
for i, rule in ipairs(rules) do
  local kind, limit, amount = rule[1], rule[2], rule[3]
  local key, holds = KEYS[2 * i - 1], KEYS[2 * i]
  local used, wait, reset
  if kind == 'w' then used, wait, reset = window(key, limit, amount)
  elseif kind == 'c' then used, wait, reset = concurrency(key)
  else used, wait, reset = money(key, holds) end
  if used == nil then
    unseeded[#unseeded + 1] = i - 1
  else
    answer[#answer + 1] = used
    answer[#answer + 1] = wait
    answer[#answer + 1] = reset
    if refused < 0 and used + amount > limit then refused = i - 1 end
  end
end
if #unseeded > 0 then return {-1, unseeded} end
if refused >= 0 then return {0, refused, bucket, answer} end

for i, rule in ipairs(rules) do
  local kind, amount = rule[1], rule[3]
  local key, holds = KEYS[2 * i - 1], KEYS[2 * i]
  if kind == 'w' then
    redis.call('HINCRBY', key, bucket, string.format('%.0f', amount))
    redis.call('PEXPIRE', key, WINDOW + 2 * BUCKET)
  elseif kind == 'c' then
    redis.call('ZADD', key, now + ttl, hold)
    redis.call('PEXPIRE', key, ttl + WINDOW)
  else
    redis.call('ZADD', holds, now + ttl, hold .. '|' .. string.format('%.0f', amount))
    redis.call('HINCRBY', key, 'held', string.format('%.0f', amount))
    redis.call('PEXPIRE', holds, ttl + WINDOW)
  end
end
return {1, -1, bucket, answer}
