"""The scripts that write the records of runs. Part of `backend`; `backend.runs.records` calls them.

All of them have the keys of `RunKeys`. Their first arguments are the run and the bound of the
stream. Redis takes nothing back, so each step that may be refused comes before the first event.
[Design note 009](../../docs/design/009-answers.md) says what each of them promises.
"""

from __future__ import annotations

from broadcaster.core.wire import RESTART

_SHARED = """
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
"""

# Notes a new run as the newest about its key, and as one of its owner's. Returns false, and notes
# nothing, if the owner has all that it may have. Both names are in the slot of the stream.
_NEW = """
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
"""

# ARGV: what a run is about, the key of its events, its owner, its body, for how many ms it may
# wait, for how many ms its record is kept when it is over, for how many ms while it is not; and the
# most runs of its owner, 0 for no limit, with the set that has them.
CREATE = (
    _SHARED
    + _NEW
    + """
if redis.call("EXISTS", record) == 1 then return "created" end  -- its client has named it before
if not entered(ARGV[3], ARGV[9], ARGV[5], ARGV[10], ARGV[11]) then return "full" end
redis.call("HSET", record, "state", "waiting", "key", ARGV[3], "event_key", ARGV[4],
  "body", ARGV[6], "wait", ARGV[7], "ttl", ARGV[8], "attempt", 0)
redis.call("PEXPIRE", record, ARGV[9])
redis.call("ZADD", leases, now + ARGV[7], run)
return "created"
"""
)

# ARGV: the worker's lease in ms, the most deliveries, what the run is about, the key of its events,
# for how many ms its record is kept when it is over, for how many ms while it is not, for how many
# ms another worker may go on with it; and if it is begun where it is asked for, its owner, with the
# most runs and the set of these.
BEGIN = (
    _SHARED
    + _NEW
    + """
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
"""
)

# ARGV: the attempt, the number of the batch, the worker's lease in ms, for how many ms the record
# is kept, "restart" or nothing; and for each event its entry and its piece.
WRITE = (
    _SHARED
    + """
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
  known[4] = add("type", "RESTART_TYPE", "key", key, "data", "{}")
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
""".replace("RESTART_TYPE", RESTART.type)
)

# ARGV: the state, the reason, the type and the data of the event; and the condition: "attempt" and
# its number, "due", or nothing. Without data, the event says the reason.
END = (
    _SHARED
    + """
local state, reason = ARGV[3], ARGV[4]
local known = redis.call("HMGET", record, "state", "attempt", "wait")
if not known[1] then return {"absent"} end
if OVER[known[1]] then return {known[1], known[2]} end
if ARGV[7] == "attempt" and known[2] ~= ARGV[8] then return {"lost"} end
if ARGV[7] == "due" then
  local due = tonumber(redis.call("ZSCORE", leases, run) or "0")
  if known[1] == "running" then due = due + tonumber(known[3]) end
  if now < due then return {"alive"} end
  if known[1] == "waiting" then state, reason = "expired", "waited" end
end
finish(state, reason, ARGV[5], ARGV[6])
return {"ended"}
"""
)

# KEYS: the leases, and the record of each run. ARGV: the runs. For each it answers for how many ms
# no worker has had it, and how many are left; nothing if a worker has it, or it is over.
LOOK = """
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i, run in ipairs(ARGV) do
  local known = redis.call("HMGET", KEYS[i + 1], "state", "wait")
  local due = tonumber(redis.call("ZSCORE", KEYS[1], run) or "-1")
  local wait = tonumber(known[2] or "0")
  found[i] = {}
  if known[1] == "waiting" and due >= 0 then found[i] = {wait - (due - now), due - now}
  elseif known[1] == "running" and due >= 0 and due <= now then
    found[i] = {now - due, due + wait - now}
  end
end
return found
"""

# ARGV: the attempt, the worker's lease in ms; 0 gives the run back.
KEEP = (
    _SHARED
    + """
local known = redis.call("HMGET", record, "state", "attempt")
if known[1] ~= "running" then return known[1] or "absent" end
if known[2] ~= ARGV[3] then return "lost" end
if ARGV[4] == "0" then redis.call("HINCRBY", record, "deliveries", -1) end
redis.call("ZADD", leases, now + ARGV[4], run)
return "running"
"""
)
