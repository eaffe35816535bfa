/** What a page gives to `subscribe`, and what it gets. */

/** An event of a producer. `Events` maps each type to its data. */
export interface StreamEvent<Type extends string = string, Data = unknown> {
  readonly type: Type;
  /** The position after it; empty before the first one. Opaque: send it back, don't read it. */
  readonly id: string;
  /** The data, parsed; the text where it is not JSON. */
  readonly data: Data;
  /** The data as they came. */
  readonly text: string;
  /** True for the events between `stream.state` and `stream.live`, which are no news. */
  readonly state: boolean;
}

/** The events of the hub's own, and their data. A page need not know them. */
export interface HubEvents {
  "stream.live": { replayed: number };
  "stream.state": {
    channel: string;
    shard?: number;
    keys: number;
    /** Events up to this position may be missing in the state. */
    since?: string;
    /** True if the state is too large, so that nothing of it follows. */
    too_large?: boolean;
  };
  "stream.reset": {
    channel: string;
    shard?: number;
    reason: string;
    requested: string;
    resumed: string;
    /** True if the state follows: a `stream.state`, then its events. */
    state?: boolean;
  };
  "stream.superseded": { channel: string; shard?: number; events: number };
  "stream.restart": unknown;
  "stream.waiting": { waited_ms: number; left_ms: number };
  "stream.expired": unknown;
}

/** Any channel's events, for code that does not name them. */
export type AnyEvents = Record<string, any>;

/** One of the events, with the data of its type. */
export type EventOf<Events> = {
  [Type in keyof Events & string]: StreamEvent<Type, Events[Type]>;
}[keyof Events & string];

/**
 * - `replaying`: the missed events, or the state, come before the new ones.
 * - `live`: everything from now on comes as it happens.
 * - `reconnecting`: the connection is lost, and is tried again.
 * - `complete`: the event stream is over, and has said so.
 * - `failed`: the hub refuses, and asking again would not help.
 */
export type Status = "replaying" | "live" | "reconnecting" | "complete" | "failed";

/** The hub refuses: the status of its answer, and what it says. */
export class StreamError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** What the hub answers to `POST /v1/tickets`, or the text of a ticket alone. */
export type Ticket = string | TicketAnswer;

export interface TicketAnswer {
  ticket?: string;
  expires_in_s?: number;
  /** Of a problem document, where the hub refuses. */
  status?: number;
  detail?: string;
}

/** What is used of an `EventSource`, a browser's own or that of npm `eventsource`. */
export interface Source {
  readonly readyState: number;
  onopen: unknown;
  onerror: unknown;
  addEventListener(type: string, listener: (event: any) => void): void;
  close(): void;
}

export interface Options<Events = AnyEvents> {
  /** The types of events to listen to. Those without a type are a `message`, which is always there. */
  types?: readonly (keyof Events & string)[];
  /** Types after which a response may be over for good. */
  terminal?: readonly string[];
  onEvent?(event: EventOf<Events>): void;
  /** The state follows, as events. Forget what was shown: keys may have gone. */
  onState?(data: HubEvents["stream.state"]): void;
  /** Events may be missing. Load the state anew, unless `data.state` says that it follows. */
  onReset?(data: HubEvents["stream.reset"]): void;
  onLive?(data: HubEvents["stream.live"]): void;
  /** That many events were skipped, since newer ones replace them. Nothing is lost. */
  onSuperseded?(data: HubEvents["stream.superseded"]): void;
  /** An answer begins anew: forget what it had. */
  onRestart?(data: unknown): void;
  /** No worker has the run. It comes every few seconds; any other event of the run ends it. */
  onWaiting?(data: HubEvents["stream.waiting"]): void;
  /** The right to read has ended. With `ticket`, a fresh one is fetched by itself. */
  onExpired?(data: unknown): void;
  onStatus?(status: Status): void;
  onComplete?(): void;
  onError?(error: StreamError): void;
  /** Fetches a ticket. Called for each connection, before the old one ends, and after `stream.expired`. */
  ticket?(): Promise<Ticket | null | undefined>;
  /** Begin after this id. */
  lastEventId?: string;
  /** Where the position is kept over page loads, such as `sessionStorage`. */
  keep?: Pick<Storage, "getItem" | "setItem">;
  /** One connection for all tabs that subscribe to this url. */
  share?: boolean;
  /** Milliseconds without a sign of life after which a connection is given up. */
  silenceMs?: number;
  /** Milliseconds before the first attempt to connect, where the browser gave up. Doubles, up to 30 s. */
  retryMs?: number;
  /** Send cookies to another origin. */
  withCredentials?: boolean;
  /** Another implementation, such as that of npm `eventsource`. */
  EventSource?: new (url: string, options?: { withCredentials?: boolean }) => Source;
}

export interface Subscription<Events = AnyEvents> extends AsyncIterable<EventOf<Events & HubEvents>> {
  readonly status: Status;
  readonly lastEventId: string;
  close(): void;
}
