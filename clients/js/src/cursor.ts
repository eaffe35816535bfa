/**
 * Compares positions, for tabs that share a connection. Everywhere else they are opaque.
 *
 * A position is `1795374291043-0`, or one for each stream: `inventory=1795374291043-0,orders=0-0`. In
 * its place is the word `state` for a tab that has a part of the state, which lies before everything.
 */

type Positions = Map<string, string>;

function parse(cursor: string): Positions {
  return new Map(
    cursor.split(",").map((part) => {
      const at = part.lastIndexOf("=");
      return [part.slice(0, at + 1), part.slice(at + 1)];
    }),
  );
}

const STATE = "state";

/** Ids are two unsigned numbers of 64 bits, so that a `number` would round them. */
function value(id: string): bigint {
  if (id === STATE) return -1n;
  const [ms, seq] = id.split("-");
  return (BigInt(ms || 0) << 64n) | BigInt(seq || 0);
}

/** Return true if all events up to `before` are among those up to `after`. */
export function covers(after: string, before: string): boolean {
  const reached = parse(after);
  for (const [name, id] of parse(before)) {
    const mine = reached.get(name);
    const same = name === "run=" || id === STATE; // a position says nothing about a part of the state
    if (mine === undefined || (same ? mine !== id : value(mine) < value(id))) return false;
  }
  return true;
}

/** Return the position that covers two of the same streams. */
export function later(one: string, other: string): string {
  const merged = parse(one);
  for (const [name, id] of parse(other)) {
    if (value(merged.get(name) ?? "") < value(id)) merged.set(name, id);
  }
  return [...merged].map((pair) => pair.join("")).join();
}
