// Answers the runs of the channel `answers`. docs/runs-protocol.md says what each step is for. Put your model into `model`.
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "redis";
import { BEGIN, END, KEEP, WRITE, caller, join, pack, requests, surely, unpack } from "./scripts.mjs";

const STREAM = "answers", REQUESTS = "answers.requests";
const LEASE_MS = 15_000, KEPT_MS = 3_600_000, DONE_MS = 300_000, WAIT_MS = 4 * LEASE_MS, MAXLEN = 100_000;
const MOST = 64, LOOK_MS = 500, BATCH_MS = 100, PACE_MS = 50;   // the work on a stopped run ends within LOOK_MS

async function* model({ key, body, text }, signal) {   // `text` is what earlier workers have published: go on from there
  const whole = `you asked ${body ? `${body} ` : ""}about ${key}`;
  for (const word of whole.slice(text.length).match(/\S+ ?/g) ?? []) {
    yield word;
    await sleep(PACE_MS, undefined, { signal });
  }
}

const options = { url: process.env.REDIS_URL, disableOfflineQueue: true, socket: { socketTimeout: 10_000 } };
const redis = createClient(options).on("error", (error) => console.error(error.message));
const taking = redis.duplicate().on("error", () => {});   // its XREADGROUP blocks
await Promise.all([redis.connect(), taking.connect()]);
const call = caller(redis, STREAM, MAXLEN);
const mine = new Map();   // the runs that this worker answers: by their ids, { attempt, ending }

async function begin(run, key, eventKey) {
  const found = await call(BEGIN, run, LEASE_MS, 5, key, eventKey, DONE_MS, KEPT_MS, WAIT_MS);
  if (String(found[0]) === "running") answer(run, found);
}

async function answer(run, [, attempt, key, eventKey, last, , body, pieces]) {
  const ending = new AbortController(), { signal } = ending;
  mine.get(run)?.ending.abort();   // this worker was silent, and takes over from itself
  mine.set(run, { attempt, ending });
  let batch = Number(last), began = false, gathered = "", writing = Promise.resolve(), timer;
  const publish = async (text) => {
    signal.throwIfAborted();
    const words = [pack("text", eventKey, text), pack("text", text)];
    const said = await surely(() => call(WRITE, run, attempt, batch + 1, LEASE_MS, KEPT_MS, "", ...words), signal);
    if (said !== "written") throw new Error(`it is ${said}`);
    batch += 1;
  };
  const flush = () => {   // one batch after the other
    const text = gathered;
    clearTimeout(timer);
    [gathered, timer, began] = ["", undefined, true];
    if (text) writing = writing.then(() => publish(text));
    writing.catch((error) => ending.abort(error));
    return writing;
  };
  try {
    const text = pieces.map((piece) => unpack(piece)[1]).join("");
    for await (const word of model({ key: String(key), body: String(body), text }, signal)) {
      signal.throwIfAborted();
      gathered += word;
      timer ??= setTimeout(flush, began ? BATCH_MS : 0);   // the first word leaves at once
    }
    await flush();
    await surely(() => call(END, run, "complete", "", "complete", "{}", "attempt", attempt), signal);
  } catch (error) {   // unless it is over, another worker takes it after its lease
    console.error(`run ${run}: ${(signal.reason ?? error).message}`);
  } finally {
    clearTimeout(timer);
    if (mine.get(run)?.ending === ending) mine.delete(run);
  }
}

setInterval(() => mine.forEach(({ attempt, ending }, run) => {
  const heard = (said) => said === "running" || ending.abort(new Error(`it is ${said}`));
  call(KEEP, run, attempt, LEASE_MS).then(heard, () => {});   // while Redis is away, it is not known
}), LOOK_MS);

process.once("SIGTERM", async () => {   // another worker takes the runs at once
  const runs = [...mine];
  runs.forEach(([, { ending }]) => ending.abort(new Error("this worker ends")));
  await Promise.allSettled(runs.map(([run, { attempt }]) => call(KEEP, run, attempt, 0)));
  process.exit(0);
});

for (;;) {
  try {
    await join(redis, REQUESTS);
    for (;;) {
      const most = MOST - mine.size, from = { stream: STREAM, from: REQUESTS, most, LEASE_MS };
      if (most > 0) for await (const found of requests(redis, taking, from)) await begin(...found);
      else await sleep(LOOK_MS);
    }
  } catch (error) {
    console.error(`no requests are taken for now: ${error.message}`);
    await sleep(1_000);
  }
}
