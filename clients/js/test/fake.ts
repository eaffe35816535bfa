import { vi } from "vitest";

/** Wait until nothing is thrown. The limit is generous, because a busy machine is slow. */
export const eventually = <T>(look: () => T | Promise<T>) => vi.waitFor(look, { timeout: 60_000 });

/** A fake `EventSource`, for what a real server can't be made to do, or takes minutes to do. */

export class FakeSource {
  static opened: FakeSource[] = [];
  static get last(): FakeSource {
    return FakeSource.opened.at(-1)!;
  }

  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  readonly #listeners = new Map<string, (event: unknown) => void>();
  #lastEventId = "";

  constructor(readonly url: string) {
    FakeSource.opened.push(this);
  }

  get query(): URLSearchParams {
    return new URL(this.url).searchParams;
  }

  addEventListener(type: string, listener: (event: unknown) => void) {
    this.#listeners.set(type, listener);
  }

  close() {
    this.readyState = 2;
  }

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  send(type: string, data: unknown = {}, id = "") {
    if (this.readyState === 2) return;
    this.#lastEventId = id || this.#lastEventId;
    const event = { type, data: JSON.stringify(data), lastEventId: this.#lastEventId };
    this.#listeners.get(type)?.(event);
  }

  /** The response ends, and the browser comes back by itself, or not. */
  end(readyState: 0 | 2) {
    this.readyState = readyState;
    this.onerror?.();
  }
}
