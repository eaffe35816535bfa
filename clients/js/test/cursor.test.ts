import { expect, test } from "vitest";
import { covers, later } from "../src/cursor.js";

test.each([
  ["5-0", "5-0", true],
  ["5-1", "5-0", true],
  ["10-0", "9-5", true],
  ["5-0", "5-1", false],
  ["9-0", "10-0", false],
  ["1795374291043-18446744073709551615", "1795374291043-18446744073709551614", true],
  ["1795374291043-18446744073709551614", "1795374291043-18446744073709551615", false],
  ["a=5-0,b=7-0", "a=5-0,b=6-0", true],
  ["a=5-0,b=7-0", "a=6-0,b=6-0", false],
  ["a=5-0", "a=5-0,b=0-0", false],
  ["orders.0=5-0,orders.1=1-0", "orders.0=5-0,orders.1=2-0", false],
  ["r=5-0,run=7-0", "r=4-0,run=7-0", true],
  ["r=5-0,run=8-0", "r=4-0,run=7-0", false],
  ["", "", true],
  ["5-0", "", true],
  ["", "5-0", false],
  ["state", "state", true],
  ["5-0", "state", false],
  ["state", "5-0", false],
  ["a=state,b=5-0", "a=state,b=4-0", true],
  ["a=7-0,b=5-0", "a=state,b=4-0", false],
])("%j covers %j: %j", (after, before, expected) => {
  expect(covers(after, before)).toBe(expected);
});

test("the later of two covers both", () => {
  expect(later("a=5-0,b=7-0", "a=6-0,b=6-9")).toBe("a=6-0,b=7-0");
  expect(later("5-0", "6-0")).toBe("6-0");
  expect(later("", "6-0")).toBe("6-0");
  expect(later("state", "6-0")).toBe("6-0");
});
