// The orders of the pet store: those that move now, and one that is followed until it is complete.

import { publish } from "./token.js";
import { Run } from "./run.js";
import { $, button, clock, count, make, paintSoon, say, set, text, urlOf, words } from "./dom.js";

const MAX_ORDERS = 400;        // kept at a time; the oldest one is dropped first
const MAX_ROWS = 8;
const MAX_STEPS = 100;
const STEPS = ["payment_processing", "payment_confirmed", "preparing_shipment"];
const LIST_MS = 250;           // shortest time between two changes of the list, so that it can be read

const known = new Map();
let channel = null, timer = 0, held = false, listed = 0, nameless = 0;
let followed = "", title = "", steps = [];
const run = new Run("The order", $("order-state"));

/** Starts anew. `all` says that the steps of all orders come by the line. */
function begin(told, all) {
  channel = told;
  known.clear();
  nameless = listed = 0;
  $("orders-all").hidden = !all;
  $("orders-none").hidden = all;
  paintSoon(paintSteps);
}

/** Takes a step of any order. */
function take(type, value) {
  if (value.orderId === undefined) {
    nameless += 1;
    return;
  }
  const id = text(value.orderId, 200);
  let order = known.get(id);
  if (!order) {
    order = { id, status: "", at: 0, done: 0, over: false };
    known.set(id, order);
    if (known.size > MAX_ORDERS) known.delete(known.keys().next().value);
  }
  order.status = value.status;
  order.at = value.timestamp ?? Date.now();
  order.over ||= type === "complete";
  order.done = order.over ? STEPS.length + 1 : Math.max(order.done, STEPS.indexOf(value.status) + 1);
}

/** Places an order for a pet: the desk of the shop is asked, and the order is followed. */
async function place(petId, name) {
  // As the worker makes them: the time, and 16 bits that are drawn. They say how long it takes.
  const drawn = crypto.getRandomValues(new Uint16Array(1))[0];
  const id = Date.now().toString(16) + drawn.toString(16).padStart(4, "0");
  follow(id, `One ${name}`);
  $("order").scrollIntoView({ block: "nearest" });
  try {
    await publish("desk", { type: "place-order", key: id, data: JSON.stringify({ orderId: id, petId }) });
  } catch (error) {
    set($("order-note"), `It was not placed: ${error.message}`);
    say($("order-note").textContent);
  }
}

/** Follows an order: its steps so far are replayed, and the last one ends its stream for good. */
function follow(id, called = "") {
  followed = $("order-id").value = id;
  title = called;
  steps = [];
  set($("order-note"), "");
  // JSON may contain a lone surrogate, which can't be encoded in a url.
  const path = channel.path.replace("{key}", encodeURIComponent(id.toWellFormed?.() ?? id));
  const onEvent = ({ type, value }) => {
    steps.push({ type, status: value.status, at: value.timestamp, tracking: value.trackingNumber });
    if (steps.length > MAX_STEPS) steps.shift();
    paintSoon(paintSteps);
  };
  run.open(channel.channel, urlOf(path), ["status"], { onEvent });
  paintSoon(paintSteps);
}

function paintSteps() {
  $("order-empty").hidden = followed !== "";
  set($("order-what"), followed ? `${title || "Order"} · ${text(followed, 40)}` : "");
  const over = steps.some((step) => step.type === "complete");
  const done = steps.map((step) => {
    const item = make("li", step.status === "cancelled" ? "cancelled" : "done", words(step.status));
    if (step.at !== undefined) item.append(make("time", "", clock(step.at)));
    if (step.tracking !== undefined) item.append(make("span", "mono", text(step.tracking)));
    return item;
  });
  const seen = new Set(steps.map((step) => step.status));
  const todo = over || !followed ? [] : [...STEPS.filter((step) => !seen.has(step)), "complete"];
  const rest = todo.map((step, at) => make("li", at ? "todo" : "todo next", words(step)));
  if (over) rest.push(make("li", "end", "complete"));
  $("steps").replaceChildren(...done, ...rest);
}

function paintList() {
  const note = `${count(nameless)} events have no "orderId" in their data: they can't be listed by order.`;
  set($("nameless"), nameless ? note : "");
  const list = $("order-list");
  held = list.matches(":hover, :has(:focus-visible)");
  $("held").hidden = !held;
  const newest = [...known.values()].slice(-MAX_ROWS).reverse();
  for (const order of newest) paintOrder(order);
  const rows = newest.map((order) => order.row), present = $("newest").children;
  listed = rows.length;
  // While the pointer is over the list, no row moves, so that rows can be clicked.
  if (held && present.length) return;
  if (rows.length !== present.length || rows.some((row, at) => row !== present[at])) $("newest").replaceChildren(...rows);
}

function paintOrder(order) {
  if (!order.row) {
    const pick = button("link", text(order.id, 24), () => follow(order.id), `Follow the order ${text(order.id, 24)}`);
    order.pips = make("span", "pips", "", ...[...STEPS, "end"].map(() => make("i")));
    order.pips.ariaHidden = "true";
    order.words = make("span", "what");
    order.row = make("li", "", "", pick, order.pips, order.words);
  }
  const cancelled = order.status === "cancelled";
  order.row.className = cancelled ? "cancelled" : order.over ? "over" : "";
  [...order.pips.children].forEach((pip, at) => { pip.className = at < order.done ? "on" : ""; });
  set(order.words, words(order.status));
}

for (const type of ["pointerleave", "focusout"]) $("order-list").addEventListener(type, () => paintSoon(paintList));
$("follow").onsubmit = (event) => {
  event.preventDefault();
  follow($("order-id").value.trim());
};

export const orders = {
  begin, take, place,
  paintSoon() {
    timer ||= setTimeout(() => { timer = 0; paintSoon(paintList); }, LIST_MS);
  },
  get statistics() {
    return { known: known.size, listed, nameless };
  },
  get order() {
    return { state: run.state, events: run.events, id: followed, steps: steps.map((step) => step.status) };
  },
};
