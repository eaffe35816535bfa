// [recipe]
import { EventSource } from "eventsource";

const TYPES = ["stock-change", "complete", "stream.at", "stream.live", "stream.reset", "message"];

export function follow(url, take) {
  const feed = new EventSource(url);
  for (const type of TYPES) {
    feed.addEventListener(type, (event) => {
      take(event.lastEventId, type, event.data);
      if (type === "complete") feed.close();
    });
  }
}
// [/recipe]

// As its README has it: nothing closes it.
export function plain(url, take) {
  const feed = new EventSource(url);
  for (const type of TYPES) {
    feed.addEventListener(type, (event) => take(event.lastEventId, type, event.data));
  }
}
