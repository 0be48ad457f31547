/**
 * The same judgement inside Redis, where it is atomic: one call for all rules of a request.
 *
 * KEYS: one for each rule; with `other` = 1 then as many again, the names under the other day's salt. ARGV: `take`,
 * `peek` or `refund`; the time in milliseconds or '' for the server's own clock; `other`; then limit, burst and window of each rule.
 * Answer: four whole numbers for each rule, in the order of `Standing`.
 *
 * A value is the level (8-byte double) and the times of the admitted requests of the last window (6 bytes each, oldest
 * first): at most 8 + 6*(limit+burst) bytes. It expires by itself when nothing of it matters. A server clock that steps
 * back shifts the kept times with it, so that nobody waits longer than a window and no window admits more.
 */
export const LIMITER_SCRIPT = `
local take, now, other = ARGV[1] == 'take', tonumber(ARGV[2]), ARGV[3] == '1'
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local n = other and #KEYS / 2 or #KEYS
local values = redis.call('MGET', unpack(KEYS))
local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min
local function stamp(times, i) return (struct.unpack('>I6', times, i * 6 + 1)) end

if ARGV[1] == 'refund' then
  for i = 1, n do
    local a = 3 + (i - 1) * 3
    local limit, window = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 3])
    local value = values[i]
    if value then
      local level, times = (struct.unpack('>d', value)), string.sub(value, 9)
      local newest = stamp(times, #times / 6 - 1)
      times = string.sub(times, 1, -7)
      local since = #times > 0 and stamp(times, #times / 6 - 1) or newest - window
      if #times == 0 then times = struct.pack('>I6', since) end
      level = max(0, level - window) + (newest - since) * limit
      redis.call('SET', KEYS[i], struct.pack('>d', level) .. times, 'KEEPTTL')
    end
  end
  return {}
end

local rules, all = {}, true
for i = 1, n do
  local a = 3 + (i - 1) * 3
  local r = { limit = tonumber(ARGV[a + 1]), window = tonumber(ARGV[a + 3]), level = 0, times = '', count = 0 }
  r.cap = r.limit + tonumber(ARGV[a + 2])
  local value = values[i]
  if not value and other and values[n + i] then
    value = values[n + i]
    r.moved = true
  end
  if value then
    local level, times = (struct.unpack('>d', value)), string.sub(value, 9)
    local count = #times / 6
    local newest = stamp(times, count - 1)
    if newest > now then
      local shifted = {}
      for k = 0, count - 1 do shifted[k + 1] = struct.pack('>I6', max(0, stamp(times, k) - (newest - now))) end
      times = table.concat(shifted)
      newest = now
      r.shifted = true
    end
    r.level = max(0, level - (now - newest) * r.limit)
    local lo, hi = 0, count
    while lo < hi do
      local mid = floor((lo + hi) / 2)
      if stamp(times, mid) <= now - r.window then lo = mid + 1 else hi = mid end
    end
    r.times = string.sub(times, lo * 6 + 1)
    r.count = count - lo
  end
  r.admitted = r.count < r.cap and r.level + r.window <= r.cap * r.window
  all = all and r.admitted
  rules[i] = r
end

local answer = {}
for i = 1, n do
  local r = rules[i]
  if take and all then
    r.level = r.level + r.window
    r.times = r.times .. struct.pack('>I6', now)
    r.count = r.count + 1
  end
  if take and r.count > 0 and (all or r.shifted) then
    redis.call('SET', KEYS[i], struct.pack('>d', r.level) .. r.times, 'PX', max(r.window, ceil(r.level / r.limit)))
    if r.moved then redis.call('DEL', KEYS[n + i]) end
  end
  local function wait(room)
    local leave = r.count - (r.cap - room)
    local byWindow = leave <= 0 and 0 or stamp(r.times, leave - 1) + r.window - now
    return max(0, byWindow, ceil((r.level - (r.cap - room) * r.window) / r.limit))
  end
  local remaining = max(0, min(r.cap - r.count, floor((r.cap * r.window - r.level) / r.window)))
  answer[#answer + 1] = r.admitted and 1 or 0
  answer[#answer + 1] = remaining
  answer[#answer + 1] = remaining >= r.cap and 0 or wait(remaining + 1)
  answer[#answer + 1] = remaining > 0 and 0 or wait(1)
end
return answer
`
