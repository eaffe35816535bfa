import { afterEach, expect, test, vi } from "vitest";
import { join, type Passed, type Tabs } from "../src/tabs.js";
import { eventually } from "./fake.js";

const joined: Tabs[] = [];
let names = 0;

afterEach(() => {
  for (const tabs of joined.splice(0)) tabs.leave();
});

function tab(name: string, position: string, status: Passed["status"] = "live") {
  const passed = (id = position, before = id): Passed => ({
    type: "stream.at", text: "{}", state: false, before, id, status,
  });
  const its = {
    position: () => position,
    present: () => (status === "live" ? passed() : undefined),
    take: vi.fn(({ id }: Passed) => void (position = id)),
    connect: vi.fn(),
    rest: vi.fn(),
  };
  const tabs = join(name, its)!;
  joined.push(tabs);
  return { ...its, tabs, passed };
}

const fresh = () => `tabs ${++names}`;

async function pair(theirs: string, mine: string, status: Passed["status"] = "live") {
  const name = fresh();
  const leader = tab(name, theirs);
  await eventually(() => navigator.locks.query().then(({ held }) => expect(held?.some((l) => l.name === name)).toBe(true)));
  return [leader, tab(name, mine, status)] as const;
}

test("a tab that has all that the leader has follows it", async () => {
  const [leader, other] = await pair("5-0", "5-0");
  other.tabs.ask();
  await eventually(() => expect(other.tabs.follows).toBe(true));
  expect(other.rest).toHaveBeenCalledTimes(1);
  leader.tabs.pass(leader.passed("6-0", "5-0"));
  await eventually(() => expect(other.position()).toBe("6-0"));
  expect(leader.tabs.follows).toBe(false);
  expect(leader.take).not.toHaveBeenCalled();
});

test("a tab that is behind keeps its own connection", async () => {
  const [leader, other] = await pair("6-0", "5-0");
  other.tabs.ask();
  leader.tabs.pass(leader.passed("7-0", "6-0"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(other.tabs.follows).toBe(false);
  expect(other.take).not.toHaveBeenCalled();
});

test("a tab that is not live itself keeps its own connection", async () => {
  const [leader, other] = await pair("5-0", "5-0", "replaying");
  leader.tabs.pass(leader.passed());
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(other.tabs.follows).toBe(false);
});

test("a tab that has missed something connects again, and does not take what follows", async () => {
  const [leader, other] = await pair("5-0", "5-0");
  other.tabs.ask();
  await eventually(() => expect(other.tabs.follows).toBe(true));
  other.take.mockClear();
  leader.tabs.pass(leader.passed("8-0", "7-0"));
  await eventually(() => expect(other.connect).toHaveBeenCalledTimes(1));
  expect(other.tabs.follows).toBe(false);
  expect(other.take).not.toHaveBeenCalled();
});

test("when the leader goes, the next tab connects where it is", async () => {
  const [leader, other] = await pair("5-0", "5-0");
  other.tabs.ask();
  await eventually(() => expect(other.tabs.follows).toBe(true));
  leader.tabs.leave();
  await eventually(() => expect(other.connect).toHaveBeenCalledTimes(1));
  expect(other.tabs.follows).toBe(false);
});

test("without the browser's locks, every tab is on its own", () => {
  vi.stubGlobal("BroadcastChannel", undefined);
  expect(join(fresh(), {} as never)).toBeUndefined();
  vi.unstubAllGlobals();
});
