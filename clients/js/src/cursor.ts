/**
 * Compares positions, for tabs that share a connection. Everywhere else they are opaque.
 *
 * A position is `1795374291043-0`, or one for each stream: `inventory=1795374291043-0,orders=0-0`.
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

/** Ids are two unsigned numbers of 64 bits, so that a `number` would round them. */
function value(id: string): bigint {
  const [ms, seq] = id.split("-");
  return (BigInt(ms || 0) << 64n) | BigInt(seq || 0);
}

/** Return true if all events up to `before` are among those up to `after`. */
export function covers(after: string, before: string): boolean {
  const reached = parse(after);
  for (const [name, id] of parse(before)) {
    const mine = reached.get(name);
    if (mine === undefined || (name === "run=" ? mine !== id : value(mine) < value(id))) return false;
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
