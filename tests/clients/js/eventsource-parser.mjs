// [recipe]
import { createParser } from "eventsource-parser";

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function follow(url, take) {
  let lastEventId = "";
  let retryMs = 3000;
  let over = false;
  while (!over) {
    try {
      const headers = { accept: "text/event-stream" };
      if (lastEventId) headers["last-event-id"] = lastEventId;
      const response = await fetch(url, { headers });
      if (response.status === 204) return;
      if (response.status >= 400 && response.status < 500) throw new RangeError("refused");
      const parser = createParser({
        onEvent(event) {
          lastEventId = event.id ?? lastEventId;
          take(lastEventId, event.event, event.data);
          over ||= event.event === "complete";
        },
        onRetry(ms) {
          retryMs = ms;
        },
      });
      const decoder = new TextDecoder();
      for await (const bytes of response.body) {
        parser.feed(decoder.decode(bytes, { stream: true }));
        if (over) return;
      }
    } catch (error) {
      if (error instanceof RangeError) throw error;
    }
    await sleep(retryMs);
  }
}
// [/recipe]

// As its README has it: it parses one response, and knows nothing of connections.
export async function plain(url, take) {
  const parser = createParser({ onEvent: (event) => take(event.id, event.event, event.data) });
  const decoder = new TextDecoder();
  for await (const bytes of (await fetch(url)).body) {
    parser.feed(decoder.decode(bytes, { stream: true }));
  }
}
