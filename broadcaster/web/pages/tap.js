// Reads an event stream with `fetch`, so that each frame is seen as it was sent, whatever its type.
//
// An `EventSource` hears only the types that it was told, and none of them can be told here: any
// channel is shown. It goes on as an `EventSource` does, after the last id.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

const QUIET_MS = 45_000;      // a hub sends a heartbeat each 15 s
const PASSING = [408, 425, 429, 500, 502, 503, 504];
const LONGEST_MS = 30_000;

/**
 * Follows an event stream until the returned function is called.
 *
 * options: `lastId`, where to go on; `headers`; `onEvent({ id, type, data, raw })`, also for the
 * hub's own events; `onState({ state, … })` with `connecting`, `open`, `waiting` (until `retryAt`,
 * because of `why`), `over`, or `refused` (with `status` and `why`).
 */
export function tap(url, { lastId = "", headers = {}, onEvent, onState }) {
  let retryMs = 2_000, failures = 0, id = lastId, timer = 0, stopped = false;
  let aborter = new AbortController();

  const tell = (state, more = {}) => { if (!stopped) onState({ state, ...more }); };

  function again(why, waitMs) {
    if (stopped) return;
    tell("waiting", { retryAt: Date.now() + waitMs, why });
    timer = setTimeout(connect, waitMs);
  }

  const later = (why) => again(why, Math.min(LONGEST_MS, retryMs * 2 ** Math.min(failures++, 5)) * (0.5 + Math.random() / 2));

  async function connect() {
    aborter = new AbortController();
    tell("connecting");
    let response;
    try {
      const more = id ? { "last-event-id": id } : {};
      response = await fetch(url, {
        headers: { accept: "text/event-stream", ...headers, ...more }, cache: "no-store", signal: aborter.signal,
      });
    } catch {
      return later("no node answers");
    }
    if (stopped) return aborter.abort();
    if (response.status === 204) return tell("over");
    if (PASSING.includes(response.status)) return later(`the answer is ${response.status}`);
    if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream")) {
      return tell("refused", { status: response.status, why: await reason(response) });
    }
    tell("open");
    const why = await read(response.body.getReader());
    again(why, retryMs);
  }

  async function read(reader) {
    const decoder = new TextDecoder();
    const parse = parser((block) => {
      if (stopped) return;
      if (block.id !== undefined) id = block.id;
      if (block.retry) retryMs = block.retry;
      if (block.data === undefined) return;
      failures = 0;
      onEvent({ id, type: block.type || "message", data: block.data, raw: block.raw });
    });
    let quiet = 0;
    try {
      for (;;) {
        quiet = setTimeout(() => aborter.abort(), QUIET_MS);
        const { value, done } = await reader.read();
        clearTimeout(quiet);
        if (done) return "the node ended the response";
        parse(decoder.decode(value, { stream: true }));
      }
    } catch {
      clearTimeout(quiet);
      return "the connection broke";
    }
  }

  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    aborter.abort();
  };
}

/** Returns a function that takes text as it comes, and calls back for each block. */
export function parser(onBlock) {
  let rest = "", block = {}, lines = [];
  return (chunk) => {
    const all = (rest + chunk).split("\n");
    rest = all.pop();
    for (const whole of all) {
      const line = whole.endsWith("\r") ? whole.slice(0, -1) : whole;
      if (line === "") {
        if (lines.length) onBlock({ ...block, raw: lines.join("\n") });
        block = {};
        lines = [];
      } else if (!line.startsWith(":")) {
        lines.push(line);
        field(block, line);
      }
    }
  };
}

function field(block, line) {
  const colon = line.indexOf(":");
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (name === "data") block.data = block.data === undefined ? value : `${block.data}\n${value}`;
  else if (name === "event") block.type = value;
  else if (name === "id" && !value.includes("\0")) block.id = value;
  else if (name === "retry" && /^\d+$/.test(value)) block.retry = Number(value);
}

/** Returns what a refusal says: the detail of a problem document, or its status. */
export async function reason(response) {
  try {
    return (await response.json()).detail ?? `the answer is ${response.status}`;
  } catch {
    return `the answer is ${response.status}`;
  }
}
