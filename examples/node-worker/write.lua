local stream, record, leases, pieces, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local run, maxlen = ARGV[1], ARGV[2]
local OVER = {complete = true, failed = true, stopped = true, expired = true}
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function add(...)
  if maxlen == "" then return redis.call("XADD", stream, "*", ...) end
  return redis.call("XADD", stream, "MAXLEN", "~", maxlen, "*", ...)
end
local function newest(key) return leases .. ":about:" .. redis.sha1hex(key) end
local function finish(state, reason, kind, data)
  local known = redis.call("HMGET", record, "event_key", "ttl", "owned", "key")
  redis.call("ZREM", leases, run)
  if known[3] then redis.call("ZREM", known[3], run) end
  redis.call("LTRIM", pieces, 1, 0)
  redis.call("HDEL", record, "body")
  redis.call("PEXPIRE", record, known[2])
  local about = newest(known[4] or "")
  if redis.call("HMGET", about, "run")[1] == run then
    redis.call("PEXPIRE", about, known[2])
  end
  redis.call("HSET", record, "state", state, "reason", reason)
  if state ~= "complete" and data == "" then data = cjson.encode({reason = reason}) end
  local last = add("type", kind, "key", known[1], "data", data)
  redis.call("HSET", record, "last", last)
end

local known = redis.call("HMGET", record, "state", "attempt", "batch", "first")
if known[1] ~= "running" then return known[1] or "absent" end
if known[2] ~= ARGV[3] then return "lost" end
if known[3] == ARGV[4] then return "written" end
if tonumber(known[3]) + 1 ~= tonumber(ARGV[4]) then return "lost" end
redis.call("ZADD", leases, now + ARGV[5], run)
redis.call("PEXPIRE", record, ARGV[6])
redis.call("HSET", record, "state", "running")  -- a right that is missing shows here
if ARGV[7] == "restart" then
  local told = redis.call("LLEN", pieces)
  if told > 0 then  -- else its clients have seen nothing that has a number
    redis.call("HINCRBY", record, "told", told)
    redis.call("HINCRBY", record, "restarts", 1)
    redis.call("LTRIM", pieces, 1, 0)
  end
  local key = redis.call("HGET", record, "event_key")
  known[4] = add("type", "stream.restart", "key", key, "data", "{}")
  redis.call("HSET", record, "first", known[4])
end
for i = 8, #ARGV, 2 do
  redis.call("RPUSH", pieces, ARGV[i + 1])
  local id = add("m", ARGV[i])
  if not known[4] then
    known[4] = id
    redis.call("HSET", record, "first", id)
  end
end
redis.call("HSET", record, "batch", ARGV[4])
redis.call("PEXPIRE", pieces, ARGV[6])
return "written"
