// What all parts of the page share: elements, texts, times, and when to paint.

export const $ = (id) => document.getElementById(id);

/** What the hub says of itself: which parts there are, whether it has a token, where its Redis is. */
export const about = JSON.parse(document.querySelector("meta[name=hub]").content || "{}");

// The hub may be mounted under a prefix, and its page served there without a slash at the end. Then
// a relative url would lose the prefix. A module lies at PREFIX/page/dom.js.
const base = new URL("../", import.meta.url);

/** Returns the url of a path of the hub. A value that is a list is a parameter for each of them. */
export function urlOf(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), base);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== "" && one !== undefined) url.searchParams.append(name, one);
  }
  return url.href;
}

const whole = new Intl.NumberFormat("en");
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Returns any value from a stream as text of a bounded length. */
export function text(value, limit = 80) {
  if (value === undefined || value === null) return "–";
  const all = typeof value === "object" ? JSON.stringify(value) : String(value);
  return all.length > limit ? `${all.slice(0, limit)}…` : all;
}

export const count = (value) => (typeof value === "number" ? whole.format(value) : text(value, 16));
export const money = (value) => (typeof value === "number" ? cents.format(value) : text(value, 16));
export const words = (value) => text(value).replaceAll("_", " ");
export const events = (many) => `${count(many)} ${many === 1 ? "event" : "events"}`;

/** Returns a time of the day. Anything that is no time is returned as text. */
export function clock(value = Date.now()) {
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? text(value, 24) : date.toLocaleTimeString("en-GB");
}

/** Returns a length of time, such as `85 ms` or `10.2 s`. */
export function lasting(ms) {
  return ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 9_950 ? 1 : 0)} s`;
}

/** Makes an element with a class, text and child nodes. Never parses markup. */
export function make(tag, className = "", content = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== "") element.textContent = content;
  element.append(...children);
  return element;
}

/** Makes a button that calls a function. */
export function button(className, content, onclick, label = "") {
  const made = make("button", className, content);
  made.type = "button";
  made.onclick = onclick;
  if (label) made.ariaLabel = label;
  return made;
}

/** Makes an element of a drawing. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function set(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

/** Announces a text to screen readers. Use it only for what is worth an interruption. */
export const say = (what) => set($("said"), what);

export const still = matchMedia("(prefers-reduced-motion: reduce)");

// An event changes the data at once. The page is painted once per frame, however many events came.

const toPaint = new Set();
let frame = 0;
export function paintSoon(painter) {
  toPaint.add(painter);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const painters = [...toPaint];
    toPaint.clear();
    for (const painter of painters) painter();
  });
}

/** Lets a cell light up for a moment, in the colour of a rise or of a fall. */
export function flash(element, up) {
  if (still.matches) return;
  const from = { backgroundColor: up ? "var(--up)" : "var(--down)" };
  element.animate([from, {}], { duration: 900, easing: "ease-out" });
}
