// It is made for browsers, and looks for these two even if it does not use them.
globalThis.window = globalThis;
globalThis.document = { removeEventListener() {} };

// [recipe]
import { fetchEventSource } from "@microsoft/fetch-event-source";

class Over extends Error {}

export async function follow(url, take) {
  const stop = new AbortController();
  let lastEventId = "";
  const following = fetchEventSource(url, {
    signal: stop.signal,
    openWhenHidden: true, // else it ends the stream in a hidden tab, and begins anew later
    // It takes note of an id before the event is whole, and would lose one that is cut inside.
    fetch(input, { headers, ...options }) {
      delete headers["last-event-id"];
      if (lastEventId) headers["last-event-id"] = lastEventId;
      return fetch(input, { headers, ...options });
    },
    async onopen(response) {
      // 204: the event stream is over. 400 to 499: asking again would not help.
      if (response.status === 204 || (response.status >= 400 && response.status < 500)) {
        throw new Over(`status ${response.status}`);
      }
      if (response.status !== 200) throw new Error(`status ${response.status}`);
    },
    onmessage(message) {
      if (!message.data) return; // a block without data is no event
      if (message.id) lastEventId = message.id;
      take(message.id, message.event, message.data);
      if (message.event === "complete") stop.abort();
    },
    onclose() {
      throw new Error("the response ended"); // without this, a clean end is the end for good
    },
    onerror(error) {
      if (error instanceof Over) throw error; // anything else: again, after the hub's `retry:`
    },
  });
  await following.catch((error) => {
    if (!(error instanceof Over)) throw error;
  });
}
// [/recipe]

// As the first example of its README has it.
export async function plain(url, take) {
  await fetchEventSource(url, {
    openWhenHidden: true,
    onmessage: (message) => take(message.id, message.event, message.data),
  });
}
