// Operations: the nodes, which one of them serves this tab, and how they are. The hub's own event
// stream brings a line each second.

import { Chart } from "./chart.js";
import { line } from "./line.js";
import { presented } from "./token.js";
import { $, clock, count, draw, lasting, make, paintSoon, say, set, text, urlOf } from "./dom.js";

const SPAN_MS = 600_000;
const COLORS = 6;
const LIMITS = {
  draining: "came to a node that shuts down", full: "came to a node that is full", address: "too many streams of one address",
  subject: "too many streams of one subject", rate: "too many clients at once", loading: "came while windows were read",
  redis: "the stream could not be read", refused: "needs an operator", requests: "too many requests wait",
  access: "rights could not be checked", keys: "too many keys", channels: "too many channels", query: "too long a query",
  slowed: "replays that had to wait", invalid: "was no HTTP", head: "too long a head", slow: "too slow a head", tls: "failed in TLS",
  behind: "too much behind a request",
};
const OUTCOMES = { window: "from memory", redis: "with pages from Redis", state: "with a state", reset: "after a reset" };

const nodes = new Map();       // by name: { name, color, points, figures, seenAt }
let charts = null, serving = "", moved = null, lostAt = 0, until = 0;

export const url = () => urlOf("v1/operations/stream");

/** Shows the nodes, and follows them. */
export function show() {
  charts ??= {
    clients: new Chart($("chart-clients"), "Clients", count),
    deliveries: new Chart($("chart-deliveries"), "Deliveries per second", (value) => count(Math.round(value))),
    lag: new Chart($("chart-lag"), "Lag", (value) => lasting(value)),
  };
  nodes.clear();
  serving = "";
  moved = null;
  const headers = presented();
  line.open({ url: url(), types: headers.authorization ? null : ["history", "operations"], headers, onEvent, onLost, note });
}

function onEvent({ type, data }) {
  if (type === "history") for (const { at_ms: at, nodes: seen } of JSON.parse(data)) remember(at, seen);
  if (type !== "operations") return;
  const look = JSON.parse(data);
  if (serving && look.node !== serving) {
    moved = { from: serving, to: look.node, gapMs: lostAt ? performance.now() - lostAt : 0 };
    say(`This tab went on at ${look.node}`);
  }
  serving = look.node;
  lostAt = 0;
  take(look);
  paintSoon(paint);
}

function onLost() {
  lostAt ||= performance.now();
}

/** Returns what the line says beside its state: where this tab is served, and where it went on. */
function note() {
  if (!serving) return "";
  if (!moved) return ` · at ${serving}`;
  return ` · ${moved.from} went; this tab went on at ${moved.to} after ${lasting(moved.gapMs)}`;
}

function nodeOf(name) {
  let node = nodes.get(name);
  if (!node) {
    const used = new Set([...nodes.values()].map((each) => each.color));
    const free = [...Array(COLORS).keys()].find((each) => !used.has(each)) ?? nodes.size % COLORS;
    node = { name, color: free, points: [], figures: null, seenAt: 0 };
    nodes.set(name, node);
  }
  return node;
}

function remember(at, seen) {
  for (const [name, values] of Object.entries(seen)) {
    const { points } = nodeOf(name);
    if (!points.length || at > points.at(-1)[0]) points.push([at, ...values]);
  }
  until = Math.max(until, at);
}

function take({ at_ms: at, nodes: seen }) {
  for (const [name, figures] of Object.entries(seen)) {
    const node = nodeOf(name);
    node.figures = figures;
    node.seenAt = at;
  }
  remember(at, Object.fromEntries(Object.entries(seen).map(([name, { clients, deliveries_per_s: rate, lag_ms: lag }]) =>
    [name, [clients, rate, lag]])));
  for (const [name, node] of nodes) {
    while (node.points.length && node.points[0][0] < at - SPAN_MS) node.points.shift();
    if (!(name in seen)) node.figures = null;
    if (!node.points.length && !node.figures) nodes.delete(name);
  }
}

function paint() {
  const there = [...nodes.values()].filter((node) => node.figures);
  const sum = (name) => there.reduce((all, { figures }) => all + figures[name], 0);
  set($("ops-nodes"), count(there.length));
  set($("ops-clients"), count(sum("clients")));
  set($("ops-deliveries"), count(Math.round(sum("deliveries_per_s"))));
  set($("ops-lag"), lasting(Math.max(0, ...there.map(({ figures }) => figures.lag_ms))));
  set($("ops-lagging"), count(sum("lagging")));
  paintCharts();
  $("nodes").replaceChildren(...[...nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).map(rowOf));
  paintCounts($("resumes"), there, "resumes", OUTCOMES, "No client has come back yet.");
  paintCounts($("limits"), there, "limits", LIMITS, "No limit was reached.");
}

function paintCharts() {
  ["clients", "deliveries", "lag"].forEach((name, at) => {
    charts[name].show(new Map([...nodes.values()].map((node) =>
      [node.name, { color: `var(--n${node.color})`, points: node.points.map((point) => [point[0], point[at + 1]]) }])), until);
  });
}

function rowOf({ name, color, figures, points }) {
  const dot = draw("svg", { viewBox: "0 0 10 10", class: "key", "aria-hidden": "true" }, draw("circle", { cx: 5, cy: 5, r: 5 }));
  dot.firstChild.style.fill = `var(--n${color})`;
  const named = make("th", "", "", dot, make("span", "mono", text(name, 60)));
  named.scope = "row";
  if (name === serving) named.append(make("span", "badge here", "serves this tab"));
  if (!figures) {
    const gone = make("td", "gone", `gone since ${clock(points.at(-1)?.[0])}`);
    gone.colSpan = 5;
    return make("tr", "gone", "", named, gone);
  }
  const numbers = [count(figures.clients), count(figures.lagging), count(Math.round(figures.deliveries_per_s)), lasting(figures.lag_ms)];
  return make("tr", "", "", named, ...numbers.map((each) => make("td", "number", each)),
    make("td", figures.problems.length ? "bad" : "ok", figures.problems.map((each) => text(each, 120)).join("; ") || "ready"));
}

/** Shows counts of all nodes together, with bars. */
function paintCounts(place, there, name, labels, none) {
  const all = {};
  for (const { figures } of there) for (const [each, many] of Object.entries(figures[name])) all[each] = (all[each] ?? 0) + many;
  const found = Object.entries(all).filter(([each, many]) => many || name === "resumes");
  const most = Math.max(1, ...found.map(([, many]) => many));
  place.replaceChildren(...found.map(([each, many]) => {
    const bar = make("span", "share", "", make("i"));
    bar.firstChild.style.setProperty("--share", `${(100 * many / most).toFixed(1)}%`);
    return make("li", each, "", make("span", "", labels[each] ?? text(each)), make("strong", "number", count(many)), bar);
  }));
  if (!found.length) place.replaceChildren(make("li", "empty", none));
}

export const statistics = () => ({
  serving, moved, nodes: [...nodes.values()].filter((node) => node.figures).map((node) => node.name),
  gone: [...nodes.values()].filter((node) => !node.figures).map((node) => node.name),
});
