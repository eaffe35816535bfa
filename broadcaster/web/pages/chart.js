// A small line chart of the last ten minutes, with a line for each node.

import { clock, draw, make, set } from "./dom.js";

const MOST_MS = 600_000, LEAST_MS = 60_000;
const GAP_MS = 12_000;         // a node that says nothing for longer was away
const WIDTH = 600, HEIGHT = 150;

/** Draws series of points `[time, value]` into an element. */
export class Chart {
  #svg; #lines = new Map(); #top; #read; #title; #show; #series = new Map(); #until = 0; #span = MOST_MS; #cursor; #since; #most = 1;

  /** show: makes the text of a value. */
  constructor(place, title, show) {
    this.#show = show;
    this.#title = title;
    this.#top = make("span", "top-value");
    this.#read = make("span", "read");
    this.#cursor = draw("line", { y1: 0, y2: HEIGHT, class: "cursor", x1: -9, x2: -9 });
    const grid = [0.25, 0.5, 0.75].map((at) => draw("line", { x1: 0, x2: WIDTH, y1: HEIGHT * at, y2: HEIGHT * at, class: "grid" }));
    this.#svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, ...grid, this.#cursor);
    this.#svg.onpointermove = (event) => this.#point(event);
    this.#svg.onpointerleave = () => this.#leave();
    this.#since = make("span");
    const axis = make("div", "axis", "", this.#since, make("span", "", "now"));
    place.append(make("div", "chart-top", "", make("h2", "", title), this.#read), make("div", "plot", "", this.#top, this.#svg), axis);
  }

  /** Shows these series, by name: `{ color, points }`. */
  show(series, until) {
    this.#series = series;
    this.#until = until;
    let most = 0, first = until;
    for (const { points } of series.values()) {
      first = Math.min(first, points[0]?.[0] ?? until);
      for (const [, value] of points) most = Math.max(most, value);
    }
    this.#span = Math.max(LEAST_MS, Math.min(MOST_MS, until - first));
    set(this.#since, this.#span < 2 * LEAST_MS ? `${Math.round(this.#span / 1000)} s ago` : `${Math.round(this.#span / 60_000)} min ago`);
    this.#most = nice(most);
    set(this.#top, this.#show(this.#most));
    for (const [name, path] of this.#lines) {
      if (series.has(name)) continue;
      path.remove();
      this.#lines.delete(name);
    }
    for (const [name, { color, points }] of series) {
      let path = this.#lines.get(name);
      if (!path) {
        path = draw("path", { class: "series" });
        path.style.stroke = color;
        this.#lines.set(name, path);
        this.#svg.insertBefore(path, this.#cursor);
      }
      path.setAttribute("d", this.#path(points));
    }
    const last = [...series].map(([name, { points }]) => `${name}: ${points.length ? this.#show(points.at(-1)[1]) : "–"}`);
    this.#svg.setAttribute("aria-label", `${this.#title}. ${last.join(", ")}`);
  }

  #x = (at) => WIDTH * (1 - (this.#until - at) / this.#span);
  #y = (value) => HEIGHT - 2 - (HEIGHT - 6) * value / this.#most;

  #path(points) {
    let before = -Infinity, d = "";
    for (const [at, value] of points) {
      d += `${at - before > GAP_MS ? "M" : "L"}${this.#x(at).toFixed(1)} ${this.#y(value).toFixed(1)}`;
      before = at;
    }
    return d;
  }

  #point(event) {
    const box = this.#svg.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width, at = this.#until - this.#span * (1 - share);
    const found = [...this.#series].flatMap(([name, { points }]) => {
      const near = points.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best), [-Infinity, 0]);
      return Math.abs(near[0] - at) < GAP_MS ? [`${name} ${this.#show(near[1])}`] : [];
    });
    this.#cursor.setAttribute("x1", share * WIDTH);
    this.#cursor.setAttribute("x2", share * WIDTH);
    set(this.#read, `${clock(at)}  ${found.join("  ")}`);
  }

  #leave() {
    this.#cursor.setAttribute("x1", -9);
    this.#cursor.setAttribute("x2", -9);
    set(this.#read, "");
  }
}

/** Returns a round number that is not below a value: 1, 2 or 5 times a power of ten. */
function nice(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((each) => each * power >= value) * power;
}
