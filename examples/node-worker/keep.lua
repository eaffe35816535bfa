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

local known = redis.call("HMGET", record, "state", "attempt")
if known[1] ~= "running" then return known[1] or "absent" end
if known[2] ~= ARGV[3] then return "lost" end
if ARGV[4] == "0" then redis.call("HINCRBY", record, "deliveries", -1) end
redis.call("ZADD", leases, now + ARGV[4], run)
return "running"
