// Answers the runs of the channel `answers`. docs/runs-protocol.md says what each step is for.
import { readFileSync } from "node:fs";
import { createClient } from "redis";

const STREAM = "answers", REQUESTS = "answers.requests", GROUP = "workers", NAME = `node-${process.pid}`;
const LEASE_MS = 15_000, KEPT_MS = 3_600_000, WAIT_MS = 4 * LEASE_MS, MAXLEN = 100_000;
const [BEGIN, WRITE, END, KEEP] = ["begin", "write", "end", "keep"].map((name) =>
  readFileSync(new URL(`${name}.lua`, import.meta.url), "utf8"));

const redis = createClient({ url: process.env.REDIS_URL }).on("error", (error) => console.error(error.message));
const taking = redis.duplicate().on("error", () => {});   // its XREADGROUP blocks
await Promise.all([redis.connect(), taking.connect()]);

const call = (script, run, ...words) => {
  const own = [`{${STREAM}}:run:${run}`, `{${STREAM}}:runs`, `{${STREAM}}:run:${run}:pieces`, `{${STREAM}}:runs:dead`];
  const all = ["EVAL", script, 5, STREAM, ...own, run, MAXLEN, ...words];
  return redis.sendCommand(all.map((word) => (Buffer.isBuffer(word) ? word : String(word))));
};
const pack = (...texts) => Buffer.concat([Buffer.from([0x90 + texts.length]), ...texts.flatMap((text) => {   // msgpack
  const data = Buffer.from(text), head = Buffer.from([0xdb, 0, 0, 0, 0]);
  head.writeUInt32BE(data.length, 1);
  return [head, data];
})]);

async function begin(run, key, eventKey) {
  const found = await call(BEGIN, run, LEASE_MS, 5, key, eventKey, 300_000, KEPT_MS, WAIT_MS, "");
  if (found[0] === "running") answer(run, found).catch((error) => console.error(`${run}: ${error.message}`));
}

async function answer(run, [, attempt, key, eventKey, batch, , , pieces]) {
  const keeping = setInterval(() => call(KEEP, run, attempt, LEASE_MS).catch(() => {}), LEASE_MS / 3);
  try {
    for (const text of ["you ", "asked ", "about ", key].slice(pieces.length)) {   // on from where another one stopped
      const said = await call(WRITE, run, attempt, ++batch, LEASE_MS, KEPT_MS, "", pack("text", eventKey, text), pack("text", text));
      if (said !== "written") return;   // it was stopped, or another worker has it
    }
    await call(END, run, "complete", "", "complete", "{}", "attempt", attempt);
  } finally {
    clearInterval(keeping);
  }
}

await redis.sendCommand(["XGROUP", "CREATE", REQUESTS, GROUP, "0", "MKSTREAM"]).catch(() => {});   // it exists
for (;;) {
  const due = await redis.sendCommand(["ZRANGEBYSCORE", `{${STREAM}}:runs`, "-inf", String(Date.now()), "LIMIT", "0", "10"]);
  for (const run of due) await begin(run, "", "");
  const read = ["XREADGROUP", "GROUP", GROUP, NAME, "COUNT", "10", "BLOCK", "500", "STREAMS", REQUESTS, ">"];
  for (const [id, fields] of (await taking.sendCommand(read))?.[0][1] ?? []) {
    const named = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, n) => fields.slice(2 * n, 2 * n + 2)));
    await begin(named.run ?? id, named.key, named.run ?? `${named.key}#${id}`);
    await redis.sendCommand(["XACK", REQUESTS, GROUP, id]);
    await redis.sendCommand(["XDEL", REQUESTS, id]);
  }
}
