// The proof in view. A client can detect any loss by itself where values are chained: each `old…`
// of an event must equal the `new…` of the event before it, for the same thing.

const MAX_VALUES = 20_000;
const MAX_BREAKS = 20;

/** Counts events, and compares chained values. */
export class Ledger {
  events = 0;
  checked = 0;           // values that were compared
  missing = 0;           // values that do not follow from the one before
  breaks = [];           // the newest of these, in words
  #known = new Map();

  /**
   * Takes an event: `what` is the thing that it is about, with its channel. A value of a state is no
   * event: what comes after it must follow from it.
   */
  add(what, data, { entry, isState }) {
    if (!isState) this.events += 1;
    if (!data || typeof data !== "object") return [];
    const changes = [];
    for (const name of Object.keys(data)) {
      const value = name.startsWith("old") && name.length > 3 ? name.slice(3) : "";
      if (!value || !(`new${value}` in data)) continue;
      changes.push({ name: value, from: data[name], to: data[`new${value}`], ok: this.#check(what, value, data, entry, isState) });
    }
    return changes;
  }

  #check(what, name, data, id, isState) {
    const place = `${what}\n${name}`, from = data[`old${name}`];
    const known = this.#known.get(place);
    this.#known.set(place, { value: data[`new${name}`] });
    if (this.#known.size > MAX_VALUES) this.#known.delete(this.#known.keys().next().value);
    if (!known || isState) return true;
    this.checked += 1;
    if (same(known.value, from)) return true;
    this.missing += 1;
    this.breaks.unshift({ what, name: `old${name}`, is: from, was: known.value, id });
    this.breaks.length = Math.min(this.breaks.length, MAX_BREAKS);
    return false;
  }

  /**
   * Events may be missing, or were skipped as superseded: the next value of each thing is not compared.
   * With a text, only of the things whose names begin with it.
   */
  forget(what = "") {
    for (const place of [...this.#known.keys()]) if (place.startsWith(what)) this.#known.delete(place);
  }
}

const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);
