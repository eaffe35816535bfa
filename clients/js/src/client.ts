/**
 * Reads an event stream with the browser's own `EventSource`, and does what that leaves to a page.
 *
 * One function, `subscribe`. It listens to each type, parses JSON, keeps the position, notices dead
 * links, fetches tickets, and connects again where the browser gives up.
 */

import { covers, later } from "./cursor.js";
import { join, type Passed, type Tabs } from "./tabs.js";
import {
  type AnyEvents,
  type EventOf,
  type HubEvents,
  type Options,
  type Source,
  type Status,
  StreamError,
  type StreamEvent,
  type Subscription,
  type TicketAnswer,
} from "./types.js";

export * from "./types.js";

const OWN = ["at", "live", "state", "reset", "superseded", "restart", "waiting", "expired"];
const CLOSED = 2;
const MOST_MS = 30_000;
const MOST_QUEUED = 1_000;

/** Follow an event stream until it is complete, or until `close`. */
export function subscribe<Events = AnyEvents>(
  url: string | URL,
  options: Options<Events> = {},
): Subscription<Events> {
  const { keep, retryMs = 1_000, silenceMs = 45_000, terminal = ["complete"], withCredentials } = options;
  const address = new URL(url, globalThis.location?.href);
  const kept = `broadcaster:${address}`;
  const names = new Set(["message", ...(options.types ?? []), ...terminal, ...OWN.map((name) => `stream.${name}`)]);
  const listeners = new Set<(event?: StreamEvent) => void>();

  let position = options.lastEventId ?? keep?.getItem(kept) ?? "";
  let status: Status = "replaying";
  let error: StreamError | undefined;
  let source: Source | undefined;
  let tabs: Tabs | undefined;
  let turn = 0; // what was begun in an earlier turn is void
  let inState = false;
  let mirrors = false; // a reset sets the position back, and a follower takes over the leader's
  let lastType = "";
  let failures = 0;
  let refusals = 0;
  let seenMs = 0;
  let again: ReturnType<typeof setTimeout> | undefined;
  let renewal: ReturnType<typeof setTimeout> | undefined;
  let watch: ReturnType<typeof setInterval> | undefined;

  const isOver = () => status === "complete" || status === "failed";
  const passed = (type: string, text = "{}", before = position): Passed => ({
    type,
    text,
    state: inState,
    before,
    id: position,
    status,
  });

  function say(next: Status) {
    if (status === next) return;
    status = next;
    tabs?.pass(passed("stream.at"));
    options.onStatus?.(next);
  }

  // Connections

  /** Open a connection at the position; at first with a fresh ticket, while the old one still runs. */
  async function connect() {
    const mine = ++turn;
    clearTimeout(again);
    clearTimeout(renewal);
    const target = new URL(address);
    if (options.ticket) {
      const found = await options.ticket().catch((): TicketAnswer => ({ status: 503 }));
      if (mine !== turn) return;
      const answer: TicketAnswer = typeof found === "string" ? { ticket: found } : (found ?? {});
      const { ticket, expires_in_s, status: code = 401, detail } = answer;
      if (ticket === undefined) {
        if (code < 500 && code !== 429) return fail(code, detail);
        return retry();
      }
      if (ticket) target.searchParams.set("ticket", ticket);
      if (expires_in_s) renewal = setTimeout(connect, expires_in_s * 800);
    }
    source?.close();
    target.searchParams.set("heartbeat", "event");
    if (position) target.searchParams.set("lastEventId", position);
    const opened: Source = new (options.EventSource ?? EventSource)(target.href, { withCredentials });
    source = opened;
    seenMs = Date.now();
    inState = false;
    opened.onopen = () => {
      failures = refusals = 0;
      seenMs = Date.now();
      inState = false;
      say("replaying");
    };
    opened.onerror = () => {
      if (source !== opened) return;
      say("reconnecting");
      const ended = terminal.includes(lastType);
      if (opened.readyState === CLOSED || ended) void ask(target, ended);
    };
    const hear = ({ type, data, lastEventId }: MessageEvent<string>) => {
      if (source === opened) take(type, data, lastEventId, inState);
    };
    for (const name of names) opened.addEventListener(name, hear);
  }

  function retry() {
    clearTimeout(again);
    again = setTimeout(connect, Math.min(MOST_MS, retryMs * 2 ** failures++) * (0.5 + Math.random() / 2));
  }

  /** Ask why: a page can't see the status that ended its `EventSource`. */
  async function ask(target: URL, ended: boolean) {
    rest();
    const mine = turn;
    const stop = new AbortController();
    const credentials = withCredentials ? "include" : "same-origin";
    if (position) target.searchParams.set("lastEventId", position);
    const answered = (method: string) =>
      fetch(target, { method, credentials, headers: { accept: "text/event-stream" }, signal: stop.signal });
    let code = 0;
    let said: { detail?: string } | undefined;
    try {
      // Without a position, GET could begin an answer that is made on demand. HEAD opens nothing.
      code = (await answered(position ? "GET" : "HEAD")).status;
      if (code >= 400) said = await (await answered("GET")).json();
    } catch {
      // no answer, or one without a text
    }
    stop.abort();
    if (mine !== turn) return;
    if (code === 204) end("complete");
    else if (code === 401 && options.ticket && !refusals++) void connect();
    else if (code >= 400 && code < 500 && code !== 408 && code !== 429) fail(code, said?.detail);
    else if (ended && code === 200) void connect();
    else retry();
  }

  /** Close the connection, and nothing else. */
  function rest() {
    turn++;
    source?.close();
    source = undefined;
    clearTimeout(again);
    clearTimeout(renewal);
  }

  // Events

  function take(type: string, text: string, id: string, state: boolean) {
    const before = position;
    seenMs = Date.now();
    if (id) position = id;
    if (type.startsWith("stream.")) takeOwn(type);
    else lastType = type;
    tabs?.pass({ ...passed(type, text, before), state });
    tell(type, text, state);
    if (type === "stream.live") tabs?.ask();
    if (type === "stream.expired" && options.ticket && source) {
      rest(); // else the browser comes back with the old ticket
      say("reconnecting");
      void connect();
    }
  }

  function takeOwn(type: string) {
    if (type === "stream.state" || type === "stream.reset") {
      inState = type === "stream.state";
      say("replaying");
    } else if (type === "stream.live") {
      inState = false;
      say("live");
    }
  }

  /** Call the page's handlers. */
  function tell(type: string, text: string, state: boolean) {
    if (type !== "stream.at") {
      let data: unknown = text;
      try {
        data = JSON.parse(text);
      } catch {
        // it is text
      }
      const event: StreamEvent = { type, id: position, data, text, state };
      if (type.startsWith("stream.")) {
        const name = `on${type[7]?.toUpperCase()}${type.slice(8)}` as "onRestart";
        options[name]?.(data);
      } else options.onEvent?.(event as EventOf<Events>);
      for (const listener of listeners) listener(event);
    }
    if (position) keep?.setItem(kept, position);
  }

  /** Take what the leading tab passed on, unless it came over a connection of this tab's own. */
  function follow({ type, text, state, id, status: theirs }: Passed) {
    seenMs = Date.now();
    if (theirs === "complete") return end("complete");
    if (type === "stream.reset" || type === "stream.state") mirrors = true;
    const isNew = mirrors || state || !covers(position, id);
    if (mirrors) position = id;
    else if (isNew) position = later(position, id);
    if (type === "stream.live") mirrors = false;
    say(theirs === "failed" ? "reconnecting" : theirs); // it was refused, and this tab asks for itself
    if (isNew) tell(type, text, state);
  }

  // Beginning and end

  /** A browser may keep a page that is left, and show it again. It must not hold a connection. */
  function leaveOrReturn({ type, persisted }: PageTransitionEvent) {
    if (type === "pagehide") stop();
    else if (persisted) start();
  }

  function start() {
    if (options.share) {
      const name = `${kept} ${[...names].sort()}`;
      const present = () => (status === "live" ? passed("stream.at") : undefined);
      tabs = join(name, { position: () => position, present, take: follow, connect, rest });
    }
    watch = setInterval(() => {
      if (Date.now() - seenMs < silenceMs) return;
      if (tabs?.follows) tabs.part();
      else if (source) {
        say("reconnecting");
        void connect();
      }
    }, silenceMs / 3);
    void connect();
  }

  function stop() {
    rest();
    clearInterval(watch);
    tabs?.leave();
    tabs = undefined;
  }

  function close() {
    stop();
    globalThis.removeEventListener?.("pagehide", leaveOrReturn);
    globalThis.removeEventListener?.("pageshow", leaveOrReturn);
    for (const listener of listeners) listener();
  }

  function end(how: Status) {
    say(how);
    close();
    if (error) options.onError?.(error);
    else options.onComplete?.();
  }

  function fail(code: number, detail = `the hub answers ${code}`) {
    error = new StreamError(code, detail);
    end("failed");
  }

  globalThis.addEventListener?.("pagehide", leaveOrReturn);
  globalThis.addEventListener?.("pageshow", leaveOrReturn);
  start();
  return {
    get status() {
      return status;
    },
    get lastEventId() {
      return position;
    },
    close,
    [Symbol.asyncIterator]() {
      // A reader that is slow closes the connection, and resumes: nothing is lost, and nothing grows.
      const queue: StreamEvent[] = [];
      let wake = () => {};
      let rests = false;
      let closed = false;
      const listener = (event?: StreamEvent) => {
        if (event) queue.push(event);
        else closed = true;
        if (event && queue.length >= MOST_QUEUED && !inState && !rests) {
          rests = true;
          stop();
        }
        wake();
      };
      const finish = () => {
        listeners.delete(listener);
        close();
        return Promise.resolve({ done: true as const, value: undefined });
      };
      listeners.add(listener);
      return {
        async next() {
          if (rests && !queue.length && !closed) {
            rests = false;
            start();
          }
          while (!queue.length && !closed && !isOver()) {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
          const value = queue.shift();
          if (value) return { done: false as const, value: value as EventOf<Events & HubEvents> };
          if (error) throw error;
          return finish();
        },
        return: finish,
      };
    },
  };
}
