// How the page follows an event stream. Where the types are known, it uses the hub's own client, as
// any other page does. Where they are not, it reads the frames themselves: see `tap`.

import { subscribe } from "../client.js";
import { tap } from "./tap.js";

const STATES = { replaying: "open", reconnecting: "waiting", complete: "over" };

/**
 * Follows an event stream until the returned function is called.
 *
 * options: those of `tap`, and `types`, to hear, or null for all of them; `terminal`; `share`, to have one
 * connection for all tabs; `ticket`, which gets one.
 */
export function listen(url, options) {
  const { types, terminal, lastId, share, ticket, onEvent, onState } = options;
  if (!types) return tap(url, options);
  let opened = false;
  const tell = (state, more = {}) => {
    opened = state === "open";
    onState({ state, ...more });
  };
  const hear = (event) => {
    if (!opened) tell("open");   // its first status is not told
    onEvent(event);
  };
  const own = (type) => (data) => hear({ type, id: feed.lastEventId, data: JSON.stringify(data) });
  tell("connecting");
  const feed = subscribe(url, {
    types, terminal, share, ticket, lastEventId: lastId || undefined,
    // An event of a state has no id of its own.
    onEvent: ({ type, id, text, state }) => hear({ type, id: state ? "" : id, data: text }),
    onLive: own("stream.live"),
    onReset: own("stream.reset"),
    onState: own("stream.state"),
    onSuperseded: own("stream.superseded"),
    onExpired: own("stream.expired"),
    onRestart: own("stream.restart"),
    onWaiting: own("stream.waiting"),
    onStatus: (status) => { if (STATES[status]) tell(STATES[status]); },
    onError: ({ status, message }) => tell("refused", { status, why: message }),
  });
  return () => feed.close();
}
