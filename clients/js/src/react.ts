/** React hooks over `subscribe`. React is the page's own: it is imported by its name. */

import { useEffect, useRef, useState } from "react";
// Beside this file, where a node serves both and in the package.
import { subscribe } from "./client.js";
import type { AnyEvents, EventOf, HubEvents, Options, Status, StreamError } from "./types.js";

/** What is shown while the url is null, or before the first connection. */
interface Seen {
  readonly status: Status;
  /** Set where the status is `failed`. */
  readonly error?: StreamError;
}

export interface StreamView<Events> extends Seen {
  /** The newest events, in order. */
  readonly events: readonly EventOf<Events>[];
  /** The newest reset, if there was one: some events before it may be missing. */
  readonly reset?: HubEvents["stream.reset"];
}

export interface StateView<State> extends Seen {
  readonly state: State;
}

export interface StreamOptions<Events> extends Options<Events> {
  /** How many of the newest events are kept. */
  limit?: number;
}

export interface StateOptions<Events, State> extends Options<Events> {
  /** The state of a channel that has nothing. */
  initial: State;
  /** Return the state after an event. Like a reducer, it must not change the old one. */
  fold(state: State, event: EventOf<Events>): State;
}

/** Renders at most once in this time, however fast events come. */
const FRAME_MS = 16;

/**
 * Follow a url with one view of it. A change of the url begins anew; other options may change freely.
 *
 * `whole` is true for a view that is right only with the state of all channels and shards.
 */
function useView<Events, View extends Seen>(
  url: string | null | undefined,
  options: Options<Events>,
  first: View,
  next: (view: View, event: EventOf<Events & HubEvents>) => View,
  whole = false,
): View {
  const latest = useRef({ options, next });
  latest.current = { options, next };
  const [shown, setShown] = useState({ key: "", view: first });
  const key = url ? JSON.stringify([url, options.types, options.terminal, options.share]) : "";

  useEffect(() => {
    if (!url) return;
    let view = first;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const show = (changed: View, waits: boolean) => {
      view = changed;
      clearTimeout(waits ? undefined : timer);
      if (waits && timer) return;
      const now = () => {
        timer = undefined;
        setShown({ key, view });
      };
      if (waits) timer = setTimeout(now, FRAME_MS);
      else now();
    };
    const own = <Name extends keyof Options>(name: Name) =>
      (value?: unknown) => {
        (latest.current.options[name] as ((value?: unknown) => void) | undefined)?.(value);
      };
    const add = (type: string) => (data: unknown) => {
      view = latest.current.next(view, { type, data } as EventOf<Events & HubEvents>);
      own(`on${type[7]?.toUpperCase()}${type.slice(8)}` as "onState")(data);
    };
    // Each channel and shard has a `stream.state` of its own. Only the first of them clears the view.
    let inState = false, wasWhole = false;
    // If only a part is sent again, the view can't tell which of its keys that concerns.
    const isPart = ({ shard }: { shard?: number }) =>
      whole && (shard !== undefined || url.includes("/v1/events"));
    const beginAnew = () => {
      stream.close();
      inState = wasWhole = false;
      stream = begin();
    };
    const begin = () => subscribe<Events>(url, {
      ...latest.current.options,
      ...(whole && { keep: undefined, lastEventId: undefined }),
      onEvent(event) {
        view = latest.current.next(view, event as EventOf<Events & HubEvents>);
        // A half of the state is not shown. With the status `live` all of it is.
        if (!event.state) show(view, true);
        own("onEvent")(event);
      },
      onState(data) {
        if (inState) own("onState")(data);
        else add("stream.state")(data);
        inState = true;
        if (wasWhole && isPart(data)) beginAnew();
      },
      onReset(data) {
        add("stream.reset")(data);
        if (isPart(data)) beginAnew();
      },
      onRestart: add("stream.restart"),
      onStatus(status) {
        if (status !== "replaying") inState = false;
        wasWhole ||= status === "live";
        show({ ...view, status }, false);
        own("onStatus")(status);
      },
      onError(error) {
        show({ ...view, error }, false);
        own("onError")(error);
      },
    });
    let stream = begin();
    return () => {
      clearTimeout(timer);
      stream.close();
    };
  }, [key]);

  return shown.key === key ? shown.view : first;
}

/** The newest events of an event stream, and how it is doing. A null url follows nothing. */
export function useStream<Events = AnyEvents>(
  url: string | null | undefined,
  options: StreamOptions<Events> = {},
): StreamView<Events> {
  const first: StreamView<Events> = { status: "replaying", events: [] };
  return useView<Events, StreamView<Events>>(url, options, first, (view, event) => {
    if (event.type === "stream.reset") return { ...view, reset: event.data as HubEvents["stream.reset"] };
    if (event.type === "stream.state" || event.type === "stream.restart") return { ...view, events: [] };
    const events = [...view.events, event as EventOf<Events>];
    return { ...view, events: events.slice(-(options.limit ?? 1_000)) };
  });
}

/** The state of a channel: what it is now, and then each change. It begins with `?from=state`. */
export function useChannelState<State, Events = AnyEvents>(
  url: string | null | undefined,
  options: StateOptions<Events, State>,
): StateView<State> {
  const { initial, fold } = options;
  const begins = url && !/[?&]from=/.test(url) ? `${url}${url.includes("?") ? "&" : "?"}from=state` : url;
  const first: StateView<State> = { status: "replaying", state: initial };
  return useView<Events, StateView<State>>(
    begins,
    options,
    first,
    (view, event) => {
      const anew =
        event.type === "stream.state" || event.type === "stream.restart" || event.type === "stream.reset";
      return { ...view, state: anew ? initial : fold(view.state, event as EventOf<Events>) };
    },
    true,
  );
}
