// [recipe]
import polyfill from "event-source-polyfill";

const TYPES = ["stock-change", "complete", "stream.at", "stream.live", "stream.reset", "message"];

export function follow(url, take) {
  // `headers` is why it is used. It sends its cursor in the query, as `lastEventId`.
  const feed = new polyfill.EventSourcePolyfill(url, { headers: {} });
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
  const feed = new polyfill.EventSourcePolyfill(url);
  for (const type of TYPES) {
    feed.addEventListener(type, (event) => take(event.lastEventId, type, event.data));
  }
}
