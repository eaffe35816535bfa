import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type StateView, useChannelState } from "../src/react.js";
import { FakeSource } from "./fake.js";

// The renderers of React need a page. This one has a single component, and draws it at each change.
const renderer = vi.hoisted(() => {
  const slots: unknown[] = [];
  let place = 0;
  let component = () => {};
  let unmount: (() => void) | void;
  const slot = <T>(first: T) => {
    const mine = place++;
    if (!(mine in slots)) slots[mine] = first;
    return mine;
  };
  const draw = () => {
    place = 0;
    component();
  };
  return {
    mount(shown: () => void) {
      component = shown;
      draw();
    },
    unmount() {
      unmount?.();
      slots.length = 0;
    },
    hooks: {
      useRef: <T>(first: T) => slots[slot({ current: first })],
      useState: <T>(first: T) => {
        const mine = slot(first);
        const set = (value: T) => {
          slots[mine] = value;
          draw();
        };
        return [slots[mine], set];
      },
      useEffect(effect: () => (() => void) | void, [key]: unknown[]) {
        const mine = slot<unknown>(undefined);
        if (slots[mine] === key) return;
        slots[mine] = key;
        unmount?.();
        unmount = effect();
      },
    },
  };
});
vi.mock("react", () => renderer.hooks);

type Stock = Record<string, number>;
const SHARDS = "http://hub.example/v1/inventory/stream";
const CHANNELS = "http://hub.example/v1/events?channel=inventory&channel=returns";
let view: StateView<Stock>;

beforeEach(() => {
  vi.useFakeTimers();
  FakeSource.opened = [];
});

afterEach(() => {
  renderer.unmount();
  vi.useRealTimers();
});

function follow(url: string) {
  const initial: Stock = {};
  renderer.mount(() => {
    view = useChannelState<Stock, { stock: [string, number] }>(url, {
      initial,
      types: ["stock"],
      EventSource: FakeSource,
      fold: (state, { data: [pet, count] }) => ({ ...state, [pet]: count }),
    });
  });
}

/** Send the states of two parts, with a pet in each. */
function sendStates(a: number, b: number, parts: readonly [object, object]) {
  FakeSource.last.open();
  FakeSource.last.send("stream.state", parts[0]);
  FakeSource.last.send("stock", ["a", a]);
  FakeSource.last.send("stream.state", parts[1]);
  FakeSource.last.send("stock", ["b", b]);
  FakeSource.last.send("stream.live", {}, "inventory.0=5-0,inventory.1=6-0");
}

const OF_SHARDS = [{ channel: "inventory", shard: 0 }, { channel: "inventory", shard: 1 }] as const;
const OF_CHANNELS = [{ channel: "inventory" }, { channel: "returns" }] as const;

for (const [name, url, parts] of [["shards", SHARDS, OF_SHARDS], ["channels", CHANNELS, OF_CHANNELS]] as const) {
  for (const type of ["stream.state", "stream.reset"]) {
    test(`a view of several ${name} begins anew at a ${type} of one of them`, () => {
      follow(url);
      sendStates(1, 2, parts);
      expect(view).toEqual({ status: "live", state: { a: 1, b: 2 } });
      expect(FakeSource.opened).toHaveLength(1);

      const [former] = FakeSource.opened;
      former!.send(type, parts[0]);
      expect(FakeSource.opened).toHaveLength(2);
      expect(former!.readyState).toBe(2);
      expect(FakeSource.last.query.get("from")).toBe("state");
      expect(FakeSource.last.query.has("lastEventId")).toBe(false);
      expect(view).toEqual({ status: "replaying", state: { a: 1, b: 2 } }); // until it is whole again

      sendStates(3, 2, parts);
      expect(view).toEqual({ status: "live", state: { a: 3, b: 2 } });
      expect(FakeSource.opened).toHaveLength(2);
    });
  }
}

test("a view of one stream takes its new state over the connection that it has", () => {
  follow(SHARDS);
  for (const pet of ["a", "b"]) {
    FakeSource.last.open();
    FakeSource.last.send("stream.state", { channel: "inventory" });
    FakeSource.last.send("stock", [pet, 1]);
    FakeSource.last.send("stream.live", {}, "5-0");
    expect(view).toEqual({ status: "live", state: { [pet]: 1 } });
  }
  expect(FakeSource.opened).toHaveLength(1);
});

test("a view that is cut amid its first states takes them over the next connection", () => {
  follow(SHARDS);
  FakeSource.last.open();
  FakeSource.last.send("stream.state", OF_SHARDS[0]);
  FakeSource.last.send("stock", ["gone", 1]);
  FakeSource.last.end(0); // and the browser comes back by itself
  sendStates(1, 2, OF_SHARDS);
  expect(view).toEqual({ status: "live", state: { a: 1, b: 2 } });
  expect(FakeSource.opened).toHaveLength(1);
});
