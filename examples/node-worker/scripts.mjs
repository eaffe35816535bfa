// Takes requests, and calls the scripts of the protocol. Nothing here is about your model.
import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorReply, RESP_TYPES } from "redis";

const [BEGIN, WRITE, END, KEEP] = ["begin", "write", "end", "keep"].map((name) => {
  const source = readFileSync(new URL(`${name}.lua`, import.meta.url), "utf8");
  return { source, sha: createHash("sha1").update(source).digest("hex") };
});
export { BEGIN, WRITE, END, KEEP };

const GROUP = "workers", NAME = `node-${randomUUID()}`, BLOCK_MS = 500;
const send = (redis, words, how) =>
  redis.sendCommand(words.map((word) => (Buffer.isBuffer(word) ? word : String(word))), how);

const slot = (stream, name) => (/^[^{]*\{[^}]+\}/.test(stream) ? `${stream}:${name}` : `{${stream}}:${name}`);

export function caller(redis, stream, maxlen) {
  return async ({ source, sha }, run, ...words) => {
    const own = [`run:${run}`, "runs", `run:${run}:pieces`, "runs:dead"], keys = [stream, ...own.map((name) => slot(stream, name))];
    const all = [keys.length, ...keys, run, maxlen, ...words], how = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };
    const reply = await send(redis, ["EVALSHA", sha, ...all], how).catch((error) => {
      if (!error.message.startsWith("NOSCRIPT")) throw error;
      return send(redis, ["EVAL", source, ...all], how);
    });
    return Buffer.isBuffer(reply) ? reply.toString() : reply;
  };
}

// Each script may be called again when it is not known whether it was run: it writes once.
export async function surely(action, signal) {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (error instanceof ErrorReply && /^(ERR|NOPERM|WRONGTYPE)\b/.test(error.message)) throw error;
      console.error(`again soon: ${error.message}`);   // also where Redis is full: OOM, or MISCONF
      await sleep(500, undefined, { signal });
    }
  }
}

export const join = (redis, from) =>
  send(redis, ["XGROUP", "CREATE", from, GROUP, "0", "MKSTREAM"]).catch((error) => {
    if (!error.message.startsWith("BUSYGROUP")) throw error;   // it exists
  });

// Yields the run, its key and the key of its events. When the next one is asked for, it has begun.
export async function* requests(redis, taking, { stream, from, most, LEASE_MS }) {
  const [s, us] = await send(redis, ["TIME"]), now = s * 1000 + Math.floor(us / 1000);   // the clock that makes ids
  const due = await send(redis, ["ZRANGEBYSCORE", slot(stream, "runs"), "-inf", now, "LIMIT", 0, most]);
  for (const run of due) yield [run, "", ""];
  if (due.length) return;
  const [, left] = await send(redis, ["XAUTOCLAIM", from, GROUP, NAME, LEASE_MS, "0-0", "COUNT", most]);   // of dead workers
  const fresh = () => send(taking, ["XREADGROUP", "GROUP", GROUP, NAME, "COUNT", most, "BLOCK", BLOCK_MS, "STREAMS", from, ">"]);
  for (const [id, fields] of left.length ? left : (await fresh())?.[0][1] ?? []) {
    const named = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, n) => fields.slice(2 * n, 2 * n + 2)));
    const late = parseInt(id) + Number(named.ttl_ms) < now;   // its client is gone
    if (named.key && !late) yield [named.run ?? id, named.key, named.run ?? `${named.key}#${id}`];
    await send(redis, ["XACK", from, GROUP, id]);
    await send(redis, ["XDEL", from, id]);
  }
}

export const pack = (...texts) => Buffer.concat([Buffer.from([0x90 + texts.length]), ...texts.flatMap((text) => {   // msgpack
  const data = Buffer.from(text), head = Buffer.from([0xdb, 0, 0, 0, 0]);
  head.writeUInt32BE(data.length, 1);
  return [head, data];
})]);

export function unpack(packed) {   // texts of each length, as workers in any language pack them
  const texts = [];
  for (let at = 1; at < packed.length;) {
    const tag = packed[at++], size = tag < 0xc0 ? 0 : 1 << (tag < 0xd9 ? tag - 0xc4 : tag - 0xd9);
    const length = size ? packed.readUIntBE(at, size) : tag & 0x1f;
    texts.push(packed.toString("utf8", at + size, at + size + length));
    at += size + length;
  }
  return texts;
}
