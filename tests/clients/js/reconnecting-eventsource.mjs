// A browser has its own EventSource. Here it is that of npm's `eventsource`.
import { EventSource } from "eventsource";

globalThis.EventSource = EventSource;

// [recipe]
import ReconnectingEventSource from "reconnecting-eventsource";

// It remembers the ids of these types only, so `stream.at` and `stream.live` are among them.
const TYPES = ["stock-change", "complete", "stream.at", "stream.live", "stream.reset", "message"];

export function follow(url, take) {
  const feed = new ReconnectingEventSource(url);
  for (const type of TYPES) {
    feed.addEventListener(type, (event) => {
      take(event.lastEventId, type, event.data);
      if (type === "complete") feed.close(); // 204 does not stop it, as it never gives up
    });
  }
}
// [/recipe]

// As its README has it: nothing closes it.
export function plain(url, take) {
  const feed = new ReconnectingEventSource(url);
  for (const type of TYPES) {
    feed.addEventListener(type, (event) => take(event.lastEventId, type, event.data));
  }
}
