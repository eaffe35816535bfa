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

local function entered(key, kept, owner, most, owned)
  if most ~= "0" then
    redis.call("ZREMRANGEBYSCORE", owned, "-inf", now)
    if redis.call("ZCARD", owned) >= tonumber(most) then return false end
    redis.call("ZADD", owned, now + kept, run)
    redis.call("PEXPIRE", owned, kept)
    redis.call("HSET", record, "owned", owned)
  end
  if owner ~= "" then redis.call("HSET", record, "owner", owner) end
  local about = newest(key)
  redis.call("HSET", about, "run", run)
  redis.call("PEXPIRE", about, kept)
  return true
end

if redis.call("TYPE", record).ok == "string" then  -- a worker of an earlier version had begun it
  local _, names, finished = unpack(cjson.decode(redis.call("GET", record)))
  if finished then return {"complete"} end
  redis.call("PEXPIRE", record, 0)
  for _, name in ipairs(names) do
    redis.call("RPUSH", pieces, cmsgpack.pack({"", name}))
  end
end
local state = redis.call("HGET", record, "state")
if state and OVER[state] then return {state} end
if not state and ARGV[6] == "" then return {"absent"} end
local lease = redis.call("ZSCORE", leases, run)
if state == "running" and lease and tonumber(lease) > now then return {"taken"} end
-- A run that is produced where it was asked for is taken over by no worker.
if state == "running" and redis.call("HGET", record, "wait") == "0" then return {"taken"} end
if not state and not entered(ARGV[5], ARGV[8], ARGV[10] or "", ARGV[11] or "0", ARGV[12]) then
  return {"full"}
end
redis.call("HSETNX", record, "key", ARGV[5])
redis.call("HSETNX", record, "event_key", ARGV[6])
redis.call("HSETNX", record, "ttl", ARGV[7])
redis.call("HSETNX", record, "wait", ARGV[9])
redis.call("HSETNX", record, "batch", 0)
redis.call("HSETNX", record, "began", now)
redis.call("HSET", record, "state", "running")
redis.call("PEXPIRE", record, ARGV[8])
redis.call("PEXPIRE", pieces, ARGV[8])
local attempt = redis.call("HINCRBY", record, "attempt", 1)
local known = redis.call("HMGET", record, "key", "event_key", "batch", "began", "body")
if redis.call("HINCRBY", record, "deliveries", 1) > tonumber(ARGV[4]) then
  redis.call("XADD", dead, "MAXLEN", "~", 1000, "*",
    "run", run, "key", known[1], "body", known[5] or "")
  finish("failed", "deliveries", "failed", "")
  return {"failed"}
end
redis.call("ZADD", leases, now + ARGV[3], run)
return {"running", attempt, known[1], known[2], known[3], known[4], known[5] or "",
  redis.call("LRANGE", pieces, 0, -1)}
