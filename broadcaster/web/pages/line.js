// The line: the one event stream that a tab holds for its view, and what it says of itself.
//
// It is honest while it is disconnected: what is old is dimmed, with the time that it is of, and
// with the time of the next try. When it is back, it says what was filled in.

import { listen } from "./feed.js";
import { Track } from "./ids.js";
import { $, clock, count, events, lasting, paintSoon, say, set, text } from "./dom.js";

const CUT_MS = 10_000;
const HISTORY = 60;            // seconds in the graph
const HIDDEN_MS = 20_000;      // a hidden tab gives its connection back after this time
const WHY = {
  trimmed: "some changes were no longer retained",
  rollback: "Redis has lost its newest changes",
  unknown: "the last id is not one of the stream's",
  invalid: "the last id can't be read",
  gone: "the answer is gone, and a new one has begun",
};
const STATES = {
  idle: "idle", connecting: "connecting", replaying: "catching up", live: "live", waiting: "disconnected",
  cut: "cut by you", resting: "resting", over: "finished", refused: "refused",
};

class Line {
  state = "idle";
  events = 0;
  reconnects = 0;
  resets = 0;
  superseded = 0;        // events that were skipped, because newer ones followed
  replayed = null;       // events of the last catching up
  filled = null;         // the last hole that was filled in: { events, gapMs, tookMs }
  lastId = "";
  lastReset = null;
  rate = 0;
  retryAt = 0;
  firstMs = 0;           // from the navigation to the first event
  why = "";
  #source = null; #stop = null; #timer = 0; #track = new Track(); #disorder = 0;
  #openedAt = 0; #staleAt = 0; #liveAt = 0; #perSecond = []; #counted = 0; #wasLive = false; #expired = false;

  constructor() {
    $("cut").onclick = () => this.cut();
    setInterval(() => this.#second(), 1000);
    setInterval(() => { if (this.retryAt) paintSoon(this.#paint); }, 250);
    let hidden = 0;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(hidden);
      if (document.hidden) hidden = setTimeout(() => this.rest(), HIDDEN_MS);
      else this.wake();
    });
  }

  get disorder() {
    return this.#disorder;
  }

  get statistics() {
    const { state, events, reconnects, resets, superseded, lastReset, replayed, filled, lastId, disorder, rate, retryAt, firstMs } = this;
    return { state, events, reconnects, resets, superseded, lastReset, replayed, filled, lastId, disorder, rate, retryAt, firstMs };
  }

  /**
   * Follows another event stream, from its beginning.
   *
   * source: `url`; `types`, to hear, or null for all of them; `headers`, `share` and `ticket`, as of
   * `listen`; `onEvent(event)` with `stream`, `live`, and `isState` for what is no news, but a value
   * of the channel's state; `onReset(reset)`; `onSuperseded()`, when events are skipped because newer
   * ones follow; `onLost()`, when it is no longer live; `note()`, what is said while it is live.
   */
  open(source) {
    this.close();
    this.#source = source;
    this.events = this.reconnects = this.resets = this.superseded = 0;
    this.rate = this.#counted = this.#disorder = 0;
    this.replayed = this.filled = this.lastReset = null;
    this.lastId = "";
    this.#staleAt = this.#liveAt = 0;
    this.#wasLive = false;
    this.#perSecond = [];
    this.#track = new Track();
    this.#connect();
  }

  close() {
    clearTimeout(this.#timer);
    this.#stop?.();
    this.#stop = null;
    this.retryAt = 0;
    this.#become("idle");
  }

  /** Cuts the connection for a while. What is missed meanwhile is filled in afterwards. */
  cut(forMs = CUT_MS) {
    if (!this.#stop) return;
    this.#drop();
    this.retryAt = Date.now() + forMs;
    this.#become("cut");
    say("The line is cut");
    this.#timer = setTimeout(() => this.#connect(), forMs);
  }

  /** Gives the connection back while the tab is hidden. */
  rest() {
    if (!this.#source || ["idle", "over", "refused", "resting"].includes(this.state)) return;
    this.#drop();
    this.#become("resting");
  }

  wake() {
    if (this.state === "resting") this.#connect();
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#stop?.();
    this.#stop = null;
  }

  #connect() {
    this.#drop();
    const { url, types, headers, share, ticket } = this.#source;
    this.#stop = listen(url, {
      lastId: this.lastId, types, headers, share, ticket,
      onEvent: (event) => this.#onEvent(event),
      onState: (told) => this.#onState(told),
    });
  }

  #onState(told) {
    this.retryAt = told.retryAt ?? 0;
    this.why = told.why ?? "";
    if (told.state === "refused" && this.#expired) this.why = `the right to read this has ended. ${this.why}`;
    if (told.state === "open") {
      this.#expired = false;
      this.#track.reopen();
      if (this.#wasLive) this.reconnects += 1;
      this.#openedAt = performance.now();
      this.#become("replaying");
    } else {
      this.#become(told.state);
    }
    if (told.state === "refused") say(`Refused: ${this.why}`);
  }

  #onEvent(event) {
    const hubs = event.type.startsWith("stream.");
    if (event.id) this.lastId = event.id;
    if (event.type === "stream.reset") this.#onReset(JSON.parse(event.data));
    const { stream, id, isNew, isState } = this.#track.place(event);
    if (event.type === "stream.live") this.#onLive(JSON.parse(event.data).replayed);
    if (event.type === "stream.superseded") this.#onSuperseded(JSON.parse(event.data).events);
    if (event.type === "stream.expired") this.#expired = true;
    if (!hubs) {
      this.firstMs ||= Math.round(performance.now());
      if (!isState) this.events += 1;
      if (!isNew) this.#disorder += 1;
      if (this.state === "live") this.#counted += 1;
    }
    this.#source.onEvent({ ...event, stream, entry: id, isState, live: this.state === "live", hubs });
    paintSoon(this.#paint);
  }

  #onLive(replayed) {
    this.replayed = replayed;
    if (this.#staleAt) {
      const now = performance.now();
      this.filled = { events: replayed, gapMs: now - this.#staleAt, tookMs: now - this.#openedAt };
      say(`Connected again: ${events(replayed)} filled in`);
    }
    this.#wasLive = true;
    this.#become("live");
  }

  #onReset(reset) {
    this.lastReset = Object.freeze(reset);
    this.resets += 1;
    this.#track.forget();
    this.#source.onReset?.(reset);
    say("The stream was reset");
  }

  #onSuperseded(many) {
    this.superseded += many;
    this.#source.onSuperseded?.();
  }

  #become(state) {
    if (this.state === "live" && state !== "live") {
      this.#staleAt = performance.now();
      this.#source.onLost?.();
    }
    if (state === "live" && this.state !== "live") {
      this.#staleAt = 0;
      this.#liveAt = Date.now();
    }
    this.state = state;
    paintSoon(this.#paint);
  }

  #second() {
    this.#perSecond.push(this.#counted);
    if (this.#perSecond.length > HISTORY) this.#perSecond.shift();
    this.#counted = 0;
    const recent = this.#perSecond.slice(-3);
    this.rate = recent.reduce((sum, each) => sum + each, 0) / recent.length;
    paintSoon(this.#paintRate);
  }

  // Arrow functions, because `toPaint` is a set: each is called once, however often it is added.

  #paint = () => {
    const old = this.#wasLive && !["live", "over"].includes(this.state);
    document.documentElement.dataset.line = old ? "old" : this.state;
    $("line").dataset.state = this.state;
    set($("line-state"), STATES[this.state]);
    $("cut").disabled = !["live", "replaying"].includes(this.state);
    set($("line-note"), this.#note());
    set($("line-id"), this.lastId);
    const reset = this.lastReset;
    $("reset").hidden = !reset;
    if (reset) {
      set($("reset"), `Reset: ${WHY[reset.reason] ?? text(reset.reason)}. What you see is the state from now on. `
        + `It asked to go on after ${text(reset.requested)}, and goes on after ${text(reset.resumed)}.`);
    }
  };

  #note() {
    const old = this.#wasLive ? ` What you see is of ${clock(this.#lastSeen())}.` : "";
    const inS = Math.max(0, Math.ceil((this.retryAt - Date.now()) / 1000));
    const again = this.retryAt ? `in ${inS} s` : "within seconds, by itself";
    switch (this.state) {
      case "live": return `since ${clock(this.#liveAt)}${this.#source.note?.() ?? this.#filledIn()}`;
      case "replaying": return this.#wasLive ? "what was missed is filled in" : "the newest past comes first";
      case "waiting": return `${this.why || "no node answers"}; tries again ${again}.${old}`;
      case "cut": return `back in ${inS} s.${old}`;
      case "connecting": return old ? `tries now.${old}` : "";
      case "resting": return "this tab was hidden; it goes on where it stopped.";
      case "refused": return text(this.why, 300);
      case "over": return "everything was sent";
      default: return "";
    }
  }

  #lastSeen() {
    return Date.now() - (performance.now() - this.#staleAt);
  }

  #filledIn() {
    if (!this.filled) return "";
    const { events: many, gapMs, tookMs } = this.filled;
    return ` · ${events(many)} of the ${lasting(gapMs)} before were filled in within ${lasting(tookMs)}`;
  }

  #paintRate = () => {
    set($("rate"), this.rate < 10 ? this.rate.toFixed(1) : count(Math.round(this.rate)));
    const most = Math.max(1, ...this.#perSecond), left = HISTORY - this.#perSecond.length;
    const points = this.#perSecond.map((each, x) => `${left + x},${(20 - 19 * each / most).toFixed(1)}`);
    $("spark").setAttribute("points", `${left},20 ${points.join(" ")} ${HISTORY - 1},20`);
  };
}

export const line = new Line();
