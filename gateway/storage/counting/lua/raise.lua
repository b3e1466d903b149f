-- Seeds budgets and raises them to what the ledger says; never lowers one.
-- KEYS: one for each budget. ARGV: for each its amount and its lifetime in ms.
for i, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'hash' and found ~= 'none' then redis.call('DEL', key) end
  local spent = tonumber(redis.call('HGET', key, 'spent') or '')
  if spent == nil or spent < tonumber(ARGV[2 * i - 1]) then
    redis.call('HSET', key, 'spent', ARGV[2 * i - 1])
  end
  redis.call('PEXPIRE', key, ARGV[2 * i])
end
return #KEYS
