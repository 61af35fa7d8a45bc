-- wrk -s rows.lua URL -- FILE ROWS [PAUSE_MS]: posts ROWS lines of FILE at a time, from its beginning again at its end, and
-- prints a line of figures. With PAUSE_MS each connection waits so long between two requests.
local requests, turn, pause = {}, 0, 0

function init(args)
  local per_request, lines = tonumber(args[2]), {}
  pause = tonumber(args[3] or "0")
  for line in io.lines(args[1]) do
    lines[#lines + 1] = line
    if #lines == per_request then
      local body = table.concat(lines, "\n") .. "\n"
      requests[#requests + 1] = wrk.format("POST", nil, { ["Content-Type"] = "text/csv" }, body)
      lines = {}
    end
  end
  if pause > 0 then
    delay = function() return pause end
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
