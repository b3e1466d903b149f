-- Kept questions with their vectors, in the vector sets of Redis 8 (VADD, VSIM, VREM): one set for each bucket.
-- KEYS: the order (sorted set: place -> expiry in ms), the sizes (hash: place -> bytes, "" -> their sum)
-- ARGV: what to do, then
--   keep: place, question, its life in ms, the bound in bytes, the bytes an entry costs beside, vector, most of a task
--   nearest: the bucket's place, vector  -> {place, question} of the likest one that is still kept; {} for none
--   forget: places  -> how many there were
--   clear
-- A place is PREFIX:TASK:BUCKET:KEY. What a Redis without vector sets says is 'absent'.
local order, sizes = KEYS[1], KEYS[2]

local function above(place) return string.match(place, '^(.*):[^:]*$') end
local function set_of(place) return above(place) .. ':vectors' end
local function task_of(place) return above(above(place)) .. ':task' end

local function shaped(key, shape)
  local found = redis.call('TYPE', key)['ok']
  if found ~= shape and found ~= 'none' then redis.call('DEL', key) end
end

local function lasts(key, life)
  if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, life) end
end

local function forget(place)
  local size = tonumber(redis.call('HGET', sizes, place))
  redis.pcall('VREM', set_of(place), place)
  redis.call('ZREM', order, place)
  redis.call('ZREM', task_of(place), place)
  if size then
    redis.call('HDEL', sizes, place)
    redis.call('HINCRBY', sizes, '', -size)
  end
  return redis.call('DEL', place)
end

local function absent(reply)
  return type(reply) == 'table' and reply['err'] and string.find(reply['err'], '[Uu]nknown')
end

local function added(set, vector, place)
  return redis.pcall('VADD', set, 'FP32', vector, place, 'Q8', 'EF', 50)
end

local function make_room(task, size, bound, most)
  while redis.call('ZCARD', task) >= most do forget(redis.call('ZRANGE', task, 0, 0)[1]) end
  while tonumber(redis.call('HGET', sizes, '') or '0') + size > bound do
    local oldest = redis.call('ZRANGE', order, 0, 0)[1]
    if not oldest then
      redis.call('DEL', sizes)
      break
    end
    forget(oldest)
  end
end

local function keep(place, question, life, bound, beside, vector, most)
  local set, task, size = set_of(place), task_of(place), #question + beside
  for _, shape in ipairs({{order, 'zset'}, {task, 'zset'}, {sizes, 'hash'}}) do shaped(shape[1], shape[2]) end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  forget(place)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', order, '-inf', now, 'LIMIT', 0, 100)) do forget(old) end
  if size > bound then return 0 end
  make_room(task, size, bound, most)
  local reply = added(set, vector, place)
  if absent(reply) then return 'absent' end
  if type(reply) == 'table' then
    -- Vectors of another length are another encoder's, under the same name, or this is no vector set.
    redis.call('DEL', set)
    reply = added(set, vector, place)
    if type(reply) == 'table' then return reply end
  end
  redis.call('SET', place, question, 'PX', life)
  redis.call('ZADD', order, now + life, place)
  redis.call('ZADD', task, now + life, place)
  redis.call('HSET', sizes, place, size)
  redis.call('HINCRBY', sizes, '', size)
  for _, key in ipairs({set, task, order, sizes}) do lasts(key, life * 2) end
  return 1
end

local function nearest(bucket, vector)
  for _ = 1, 3 do
    local found = redis.pcall('VSIM', bucket .. ':vectors', 'FP32', vector, 'COUNT', 4, 'EF', 50)
    if absent(found) then return 'absent' end
    if found['err'] or #found == 0 then return {} end
    for _, place in ipairs(found) do
      local question = redis.pcall('GET', place)
      if type(question) == 'string' then return {place, question} end
      redis.call('VREM', bucket .. ':vectors', place)
    end
  end
  return {}
end

local what = ARGV[1]
if what == 'keep' then
  return keep(
    ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
  )
elseif what == 'nearest' then
  return nearest(ARGV[2], ARGV[3])
elseif what == 'forget' then
  local gone = 0
  for at = 2, #ARGV do gone = gone + forget(ARGV[at]) end
  return gone
end
if redis.call('TYPE', order)['ok'] == 'zset' then
  for _, place in ipairs(redis.call('ZRANGE', order, 0, -1)) do
    redis.call('DEL', place, set_of(place), task_of(place))
  end
end
return redis.call('DEL', order, sizes)
