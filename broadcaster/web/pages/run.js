// A stream that has an end: an order, or an answer that is made on demand. It is followed beside the
// line, and only for as long as it takes.

import { listen } from "./feed.js";
import { ticketFor } from "./token.js";
import { make, paintSoon, say, set } from "./dom.js";

const LAST = ["complete", "failed", "stopped"];
const LABELS = {
  idle: "", connecting: "connecting", open: "replaying", live: "live", waiting: "tries again", over: "finished",
};   // of the others, `why` is shown

/** Follows one such stream after another, and shows its state in an element. */
export class Run {
  state = "idle";
  events = 0;
  #stop = null; #place; #name; #why = "";

  /** name: of the stream, for screen readers; place: the element for its state. */
  constructor(name, place) {
    this.#name = name;
    this.#place = place;
    this.#place.classList.add("state");
    this.#paint();
  }

  /**
   * Follows a stream of a channel. `onEvent` gets the events of producers, with `value`, their data.
   * `onRestart` is called when an answer begins anew.
   */
  open(channel, url, types, { onEvent, onRestart = () => {} }) {
    this.#stop?.();
    this.events = 0;
    this.#stop = listen(url, {
      types: [...types, ...LAST], terminal: LAST, ticket: ticketFor([channel]),
      onEvent: (event) => {
        if (event.type === "stream.live") this.#become("live");
        if (event.type === "stream.restart") onRestart();
        if (event.type === "stream.waiting") {
          this.#become("alone", `no worker for ${Math.round(valueOf(event.data).waited_ms / 1000)} s`);
        } else if (this.state === "alone" && event.type !== "stream.at") this.#become("live");
        if (event.type.startsWith("stream.")) return;
        this.events += 1;
        onEvent({ ...event, value: valueOf(event.data) });
        if (LAST.includes(event.type)) {
          this.#stop();
          this.#become("over");
        }
      },
      onState: (told) => this.#become(told.state, told.why),
    });
  }

  #become(state, why = "") {
    this.state = state;
    this.#why = why;
    if (state === "over") say(`${this.#name}: finished`);
    paintSoon(this.#paint);
  }

  #paint = () => {
    this.#place.dataset.state = this.state;
    this.#place.hidden = this.state === "idle";
    set(this.#place, LABELS[this.state] ?? this.#why);
  };
}

/** Returns the object in an event's data; an empty one if it has none. */
export function valueOf(data) {
  try {
    const value = JSON.parse(data);
    return value && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}

/** Makes the line of a piece of an answer: a name, a score with its bar, and why. */
export function piece(name, score, why) {
  const share = Math.max(0, Math.min(1, Number(score) || 0));
  const bar = make("span", "share", "", make("i"));
  bar.firstChild.style.setProperty("--share", `${(share * 100).toFixed(1)}%`);
  return make("li", "", "", make("strong", "", name), make("span", "number", share.toFixed(2)), bar, make("span", "why", why));
}
