// Publishes over HTTP, and reads, with a token. That is the demo's own, which is asked for when it is
// needed, or one that is pasted. It stays in this module, and is never stored.

import { about, urlOf } from "./dom.js";
import { reason } from "./tap.js";

const GOOD_MS = 4 * 60_000;    // the demo's tokens are good for five minutes

let given = "";                // pasted
let made = "", madeAt = 0;

export const canPublish = () => about.token || given !== "";

/** Uses a token that a person has pasted; an empty one is forgotten. */
export function useToken(token) {
  given = token.trim().replace(/^bearer\s+/i, "");
}

/** Returns the headers that present the pasted token, for reading. */
export const presented = () => (given ? { authorization: `Bearer ${given}` } : {});

/** Returns what gets a ticket with that token, for an `EventSource`; undefined without a token. */
export function ticketFor(channels) {
  if (!given) return undefined;
  return async () => {
    const answer = await fetch(urlOf("v1/tickets", { channel: channels }), { method: "POST", headers: presented() });
    return answer.json();
  };
}

async function token() {
  if (given || !about.token) return given;
  if (Date.now() - madeAt > GOOD_MS) {
    const answer = await fetch(urlOf("page/token"), { method: "POST" });
    if (!answer.ok) throw new Error(await reason(answer));
    made = (await answer.json()).token;
    madeAt = Date.now();
  }
  return made;
}

/** Returns data as it goes into a body: JSON stays as it is written, digit by digit. */
export function written(data) {
  try {
    JSON.parse(data);
    return data;
  } catch {
    return JSON.stringify(data);   // a text is data, too
  }
}

/** Returns the body that publishes an event; `data` is JSON, or any other text. */
export function bodyOf({ type = "", key = "", data }) {
  const head = JSON.stringify({ ...(type && { type }), ...(key && { key }) });
  return `${head.slice(0, -1)}${head === "{}" ? "" : ", "}"data": ${written(data)}}`;
}

/**
 * Publishes an event, and returns its id. It may be sent again after a lost answer: its idempotency
 * key keeps it from being there twice.
 */
export async function publish(channel, event) {
  const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  for (let tries = 1; ; tries += 1) {
    const answer = await fetch(urlOf(`v1/channels/${encodeURIComponent(channel)}/events`), {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${await token()}`, "idempotency-key": key },
      body: bodyOf(event),
    }).catch((error) => error);
    if (answer instanceof Response && answer.ok) return (await answer.json()).ids[0];
    const passes = !(answer instanceof Response) || [429, 503].includes(answer.status);
    if (!passes || tries === 4) throw new Error(answer instanceof Response ? await reason(answer) : "no node answers");
    await new Promise((resolve) => { setTimeout(resolve, 500 * tries); });
  }
}
