/**
 * One connection for all tabs, by a lock and a channel of the browser's own.
 *
 * The tab that holds the lock leads. It passes on what it gets. A tab that is new catches up over a
 * connection of its own, and gives it up once the leader has nothing that it lacks. If it finds that
 * it has missed something, it connects again. If the leader goes, the next tab gets the lock and goes
 * on from its own position, which is the one rule of resuming.
 */

import { covers } from "./cursor.js";
import type { Status } from "./types.js";

/** What a leader passes on. */
export interface Passed {
  type: string;
  text: string;
  /** True if it came within a state, so that it has no position of its own. */
  state: boolean;
  /** The leader's position before, and after. */
  before: string;
  id: string;
  status: Status;
}

/** What a tab does when it is told. */
export interface Tab {
  /** Return its position. */
  position(): string;
  /** Return the leader's present state, for a tab that asks; undefined if it is not live. */
  present(): Passed | undefined;
  /** Take what the leader passed on. */
  take(passed: Passed): void;
  /** Open a connection of its own. */
  connect(): void;
  /** Close its own connection: the leader has all of it. */
  rest(): void;
}

export interface Tabs {
  /** True if this tab has no connection of its own. */
  readonly follows: boolean;
  /** Pass something on, if this tab leads. */
  pass(passed: Passed): void;
  /** Ask the leader where it stands, if this tab has a connection of its own. */
  ask(): void;
  /** Use a connection of its own from now on. */
  part(): void;
  leave(): void;
}

/** Join the tabs with this name. Return undefined where the browser can't. */
export function join(name: string, tab: Tab): Tabs | undefined {
  if (typeof BroadcastChannel === "undefined" || !globalThis.navigator?.locks) return undefined;
  const channel = new BroadcastChannel(name);
  const left = new AbortController();
  let leads = false;
  let follows = false;
  let release = () => {};

  const part = () => {
    if (!follows) return;
    follows = false;
    tab.connect();
  };
  channel.onmessage = ({ data }: MessageEvent<Passed | null>) => {
    if (!data) {
      const present = leads && tab.present();
      if (present) channel.postMessage(present);
    } else if (!leads) {
      const complete = covers(tab.position(), data.before);
      if (follows && !complete) part();
      if (!follows && complete && data.status === "live" && tab.present()) {
        follows = true;
        tab.rest();
      }
      if (follows) tab.take(data);
    }
  };
  navigator.locks
    .request(name, { signal: left.signal }, () => {
      leads = true;
      part();
      return new Promise<void>((resolve) => {
        release = resolve;
      });
    })
    .catch(() => {}); // it has left before its turn came
  return {
    get follows() {
      return follows;
    },
    pass(passed) {
      if (leads) channel.postMessage(passed);
    },
    ask() {
      if (!leads && !follows) channel.postMessage(null);
    },
    part,
    leave() {
      left.abort();
      release();
      channel.close();
    },
  };
}
