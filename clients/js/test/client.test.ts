import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Options, StreamError, type Subscription, subscribe } from "../src/client.js";
import { eventually, FakeSource } from "./fake.js";

const URL_ = "http://hub.example/v1/inventory/stream";
let streams: Subscription[];
let answers: (number | Error)[];

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  FakeSource.opened = [];
  streams = [];
  answers = [];
  vi.stubGlobal("fetch", async () => {
    const answer = answers.shift() ?? new Error("no node answers");
    if (typeof answer !== "number") throw answer;
    return { status: answer, json: async () => ({ detail: `told ${answer}` }) };
  });
});

afterEach(() => {
  for (const stream of streams) stream.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function follow(options: Options = {}, url = URL_): Subscription {
  const stream = subscribe(url, { types: ["stock-change"], EventSource: FakeSource, ...options });
  streams.push(stream);
  return stream;
}

const settle = () => vi.advanceTimersByTimeAsync(0);

test("a connection asks for heartbeats that it can see, and keeps the query", () => {
  follow({ lastEventId: "5-0" }, `${URL_}?petId=a&petId=b`);
  expect(FakeSource.last.query.getAll("petId")).toEqual(["a", "b"]);
  expect(FakeSource.last.query.get("heartbeat")).toBe("event");
  expect(FakeSource.last.query.get("lastEventId")).toBe("5-0");
});

test("events are a state until the stream is live, and leave no position", async () => {
  const seen: unknown[] = [];
  const onState = vi.fn();
  const stream = follow({ onState, onEvent: ({ data, id, state }) => seen.push([data, id, state]) });
  FakeSource.last.open();
  FakeSource.last.send("stream.state", { keys: 2 });
  FakeSource.last.send("stock-change", 1);
  expect(stream.lastEventId).toBe("");
  FakeSource.last.end(2); // cut within the state
  answers.push(200);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(FakeSource.opened).toHaveLength(2);
  expect(FakeSource.last.query.has("lastEventId")).toBe(false);
  FakeSource.last.open();
  FakeSource.last.send("stream.state", { keys: 1 });
  FakeSource.last.send("stock-change", 2);
  FakeSource.last.send("stream.live", { replayed: 0 }, "7-0");
  FakeSource.last.send("stock-change", 3, "8-0");
  expect(onState.mock.calls).toEqual([[{ keys: 2 }], [{ keys: 1 }]]);
  expect(seen).toEqual([[1, "", true], [2, "", true], [3, "8-0", false]]);
  expect(stream.status).toBe("live");
});

test("what the hub says reaches its handler, and what is new to it harms nothing", () => {
  const onReset = vi.fn();
  const onSuperseded = vi.fn();
  const onRestart = vi.fn();
  const onWaiting = vi.fn();
  const onEvent = vi.fn();
  follow({ onReset, onSuperseded, onRestart, onWaiting, onEvent });
  FakeSource.last.open();
  FakeSource.last.send("stream.reset", { channel: "inventory", state: true });
  FakeSource.last.send("stream.superseded", { events: 12 });
  FakeSource.last.send("stream.restart", { attempt: 2 });
  FakeSource.last.send("stream.waiting", { waited_ms: 1_500, left_ms: 500 });
  FakeSource.last.send("stream.of-tomorrow", {});
  expect(onReset).toHaveBeenCalledWith({ channel: "inventory", state: true });
  expect(onSuperseded).toHaveBeenCalledWith({ events: 12 });
  expect(onRestart).toHaveBeenCalledWith({ attempt: 2 });
  expect(onWaiting).toHaveBeenCalledWith({ waited_ms: 1_500, left_ms: 500 });
  expect(onEvent).not.toHaveBeenCalled();
});

test("where the browser gives up, it is opened again after pauses that grow", async () => {
  follow({ lastEventId: "5-0" });
  const pauses: number[] = [];
  for (let n = 0; n < 7; n++) {
    FakeSource.last.end(2);
    await settle();
    const before = FakeSource.opened.length;
    let waited = 0;
    while (FakeSource.opened.length === before) {
      await vi.advanceTimersByTimeAsync(500);
      waited += 500;
    }
    pauses.push(waited);
  }
  expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
});

test("a connection that works begins the pauses anew", async () => {
  const stream = follow();
  FakeSource.last.end(2);
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSource.last.end(2);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(FakeSource.opened).toHaveLength(3);
  FakeSource.last.open();
  FakeSource.last.end(2);
  await vi.advanceTimersByTimeAsync(999);
  expect(FakeSource.opened).toHaveLength(3);
  await vi.advanceTimersByTimeAsync(1);
  expect(FakeSource.opened).toHaveLength(4);
  expect(stream.status).toBe("reconnecting");
});

test.each([400, 403, 404])("%i is the end, with the hub's words", async (code) => {
  const onError = vi.fn();
  const stream = follow({ onError });
  answers.push(code, code);
  FakeSource.last.end(2);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(stream.status).toBe("failed");
  const [[error]] = onError.mock.calls as [[StreamError]];
  expect([error.status, error.message]).toEqual([code, `told ${code}`]);
  expect(FakeSource.opened).toHaveLength(1);
});

test.each([429, 408, 502, 503])("%i passes", async (code) => {
  follow();
  answers.push(code, code);
  FakeSource.last.end(2);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(FakeSource.opened).toHaveLength(2);
});

test("204 is the end, at once after a terminal event", async () => {
  const onComplete = vi.fn();
  const stream = follow({ onComplete, lastEventId: "5-0" });
  FakeSource.last.open();
  FakeSource.last.send("complete", {}, "6-0");
  answers.push(204);
  FakeSource.last.end(0);
  await settle();
  expect(stream.status).toBe("complete");
  expect(onComplete).toHaveBeenCalledTimes(1);
});

test("while a browser comes back by itself, nothing is asked", async () => {
  follow();
  FakeSource.last.open();
  FakeSource.last.send("stock-change", {}, "6-0");
  FakeSource.last.end(0);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(FakeSource.opened).toHaveLength(1);
});

test("a ticket is fetched before the old one ends, while the old connection still runs", async () => {
  const tickets = ["one", "two"];
  let told: (ticket: object) => void = () => {};
  const ticket = () => new Promise<object>((resolve) => (told = resolve));
  follow({ ticket });
  told({ ticket: tickets[0], expires_in_s: 900 });
  await settle();
  expect(FakeSource.last.query.get("ticket")).toBe("one");
  FakeSource.last.open();
  FakeSource.last.send("stream.live", {}, "7-0");
  await vi.advanceTimersByTimeAsync(719_000 - 1);
  FakeSource.last.send("stream.at", {}, "8-0");
  await vi.advanceTimersByTimeAsync(2_000);
  expect(FakeSource.opened[0]?.readyState).toBe(1);
  told({ ticket: tickets[1], expires_in_s: 900 });
  await settle();
  expect(FakeSource.opened[0]?.readyState).toBe(2);
  expect(FakeSource.last.query.get("ticket")).toBe("two");
  expect(FakeSource.last.query.get("lastEventId")).toBe("8-0");
});

test("an old ticket leads to a fresh one, and a fresh one that is refused to the end", async () => {
  const ticket = vi.fn(async () => "a ticket");
  const stream = follow({ ticket });
  await settle();
  answers.push(401);
  FakeSource.last.end(2);
  await settle();
  expect(ticket).toHaveBeenCalledTimes(2);
  answers.push(401, 401);
  FakeSource.last.end(2);
  await settle();
  expect(stream.status).toBe("failed");
});

test("where no ticket is to be had for now, it is asked for again", async () => {
  const ticket = vi.fn(async () => {
    throw new TypeError("the hub is away");
  });
  const stream = follow({ ticket });
  await vi.advanceTimersByTimeAsync(3_000);
  expect(ticket).toHaveBeenCalledTimes(3);
  expect(stream.status).toBe("replaying");
});

test("a link without a sign of life is given up, and one with heartbeats is kept", async () => {
  follow();
  FakeSource.last.open();
  for (let n = 0; n < 10; n++) {
    await vi.advanceTimersByTimeAsync(15_000);
    FakeSource.last.send("stream.at", {}, `${n}-0`);
  }
  expect(FakeSource.opened).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(61_000);
  expect(FakeSource.opened).toHaveLength(2);
  expect(FakeSource.last.query.get("lastEventId")).toBe("9-0");
});

test("the position is kept once the page has used the event", () => {
  const kept = new Map<string, string>();
  const keep = {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => void kept.set(name, value),
  };
  const seen: unknown[] = [];
  follow({ keep, onEvent: () => seen.push([...kept.values()]) });
  FakeSource.last.send("stock-change", 1, "5-0");
  FakeSource.last.send("stock-change", 2, "6-0");
  expect(seen).toEqual([[], ["5-0"]]);
  follow({ keep });
  expect(FakeSource.last.query.get("lastEventId")).toBe("6-0");
  follow({ keep }, `${URL_}?petId=7`);
  expect(FakeSource.last.query.has("lastEventId")).toBe(false);
});

test("a page that is left holds no connection, and goes on where it was when it is shown again", () => {
  const listeners = new Map<string, (event: object) => void>();
  vi.stubGlobal("addEventListener", (type: string, on: () => void) => listeners.set(type, on));
  vi.stubGlobal("removeEventListener", (type: string) => listeners.delete(type));
  const stream = follow();
  FakeSource.last.send("stock-change", 1, "5-0");
  listeners.get("pageshow")?.({ type: "pageshow", persisted: false });
  expect(FakeSource.opened).toHaveLength(1);
  listeners.get("pagehide")?.({ type: "pagehide", persisted: true });
  expect(FakeSource.last.readyState).toBe(2);
  listeners.get("pageshow")?.({ type: "pageshow", persisted: true });
  expect(FakeSource.opened).toHaveLength(2);
  expect(FakeSource.last.query.get("lastEventId")).toBe("5-0");
  stream.close();
  expect(listeners.size).toBe(0);
});

async function twoTabs(options: Options) {
  vi.useRealTimers();
  const leader = follow({ share: true });
  const first = FakeSource.last;
  first.open();
  first.send("stream.live", {}, "9-0");
  await eventually(async () => {
    const { held } = await navigator.locks.query();
    expect(held?.some(({ name }) => name?.startsWith("broadcaster:"))).toBe(true);
  });
  const other = follow({ share: true, ...options });
  const second = FakeSource.last;
  second.open();
  second.send("stream.live", {}, "9-0");
  await eventually(() => expect(second.readyState).toBe(2));
  return { leader, first, other };
}

test("a tab that follows another one takes over a reset, and what comes after it", async () => {
  const seen: unknown[] = [];
  const onReset = vi.fn();
  const onEvent = ({ data, id }: { data: unknown; id: string }) => seen.push([data, id]);
  const { first, other } = await twoTabs({ onReset, onEvent });
  first.send("stream.reset", { reason: "rollback" }, "3-0");
  first.send("stock-change", 1, "4-0");
  first.send("stream.live", {}, "4-0");
  first.send("stock-change", 2, "5-0");
  await eventually(() => expect(other.lastEventId).toBe("5-0"));
  expect(seen).toEqual([[1, "4-0"], [2, "5-0"]]);
  expect(onReset).toHaveBeenCalledTimes(1);
  expect(other.status).toBe("live");
});

test("where the tab that has the connection is refused, another one asks for itself", async () => {
  const statuses: string[] = [];
  const { leader, first, other } = await twoTabs({ onStatus: (status) => statuses.push(status) });
  answers.push(403, 403);
  first.end(2);
  await eventually(() => expect(FakeSource.opened).toHaveLength(3));
  expect(FakeSource.last.query.get("lastEventId")).toBe("9-0");
  FakeSource.last.open();
  FakeSource.last.send("stream.live", {}, "9-0");
  expect([leader.status, other.status]).toEqual(["failed", "live"]);
  expect(statuses).not.toContain("failed");
});

test("a slow reader of the iterator closes the connection, and loses nothing", async () => {
  const stream = follow();
  const events = stream[Symbol.asyncIterator]();
  for (let n = 1; n <= 1_500; n++) FakeSource.last.send("stock-change", n, `${n}-0`);
  expect(FakeSource.opened[0]?.readyState).toBe(2);
  const read = [];
  for (let n = 0; n < 1_000; n++) read.push((await events.next()).value.data);
  const next = events.next();
  await settle();
  expect(FakeSource.opened).toHaveLength(2);
  expect(FakeSource.last.query.get("lastEventId")).toBe("1000-0");
  FakeSource.last.send("stock-change", 1_001, "1001-0");
  read.push((await next).value.data);
  expect(read).toEqual(Array.from({ length: 1_001 }, (_, n) => n + 1));
  await events.return?.();
  expect(FakeSource.last.readyState).toBe(2);
});

test("the iterator ends with the stream, and raises where the hub refuses", async () => {
  const complete = follow({ lastEventId: "5-0" })[Symbol.asyncIterator]();
  answers.push(204);
  FakeSource.last.end(2);
  expect(await complete.next()).toEqual({ done: true, value: undefined });
  const refused = follow()[Symbol.asyncIterator]();
  answers.push(404, 404);
  FakeSource.last.end(2);
  await expect(refused.next()).rejects.toThrow("told 404");
  const closed = follow();
  const events = closed[Symbol.asyncIterator]();
  const next = events.next();
  closed.close();
  expect(await next).toEqual({ done: true, value: undefined });
});
