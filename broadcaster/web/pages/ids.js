// Ids of events: one id, `17…-0`, or one for each stream, `inventory=17…-0,orders=17…-3`.

/** Returns the position in each stream, by the stream's name; the name is empty for a single id. */
export function positions(id) {
  if (!id.includes("=")) return new Map(id ? [["", id]] : []);
  return new Map(id.split(",").map((part) => part.split("=", 2)));
}

// Ids are pairs of 64-bit numbers, too large for a Number. They have no leading zeros, so they can
// be compared by length, then as text.
const digits = (a, b) => a.length - b.length || (a < b ? -1 : Number(a > b));

/** Returns a number below, at or above 0: an id is before another one, the same, or after it. */
export function compare(id, other) {
  const [ms, seq = "0"] = id.split("-"), [otherMs, otherSeq = "0"] = other.split("-");
  return digits(ms, otherMs) || digits(seq, otherSeq);
}

/** Follows the ids of an event stream. It says which stream each event is of. */
export class Track {
  #at = new Map();
  #ofState = null;       // the channel whose state comes now

  /**
   * Takes an event, and returns the name of the stream that it is of, and its id there. An event of
   * a state is of the channel that `stream.state` names, and has no id.
   */
  place({ type, id, data }) {
    if (type === "stream.state") this.#ofState = JSON.parse(data).channel;
    else if (type === "stream.live" || type === "stream.reset") this.#ofState = null;
    const isState = this.#ofState !== null;
    if (isState || !id) return { stream: this.#ofState ?? "", id: "", isNew: true, isState };
    return { ...this.move(id), isState };
  }

  /** Takes the id of a block, and returns the name of the stream that it moves, and the id in it. */
  move(id) {
    const all = [...positions(id)].filter(([name]) => name !== "run");
    const changed = all.filter(([name, position]) => this.#at.get(name) !== position);
    // Of several streams, only a position before tells which one has moved.
    const moved = changed.length === 1 ? changed[0] : ["", all.map(([, position]) => position).sort(compare).at(-1) ?? ""];
    const before = changed.length === 1 ? this.#at.get(moved[0]) : undefined;
    this.#at = positions(id);
    return { stream: moved[0], id: moved[1], isNew: before === undefined || compare(moved[1], before) > 0 };
  }

  /** Forgets all positions: ids may go back here. */
  forget() {
    this.#at.clear();
  }

  /** Another response begins: the rest of a state that was cut off does not come. */
  reopen() {
    this.#ofState = null;
  }
}
