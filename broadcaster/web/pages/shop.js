// The pet store: cards with stock and price, which change as events come, and the proof that none is
// missing.

import { Ledger } from "./ledger.js";
import { line } from "./line.js";
import { orders } from "./orders.js";
import { paintProof } from "./proof.js";
import { publish, ticketFor } from "./token.js";
import { recommendations } from "./recommendations.js";
import { valueOf } from "./run.js";
import { $, about, button, clock, count, flash, make, money, paintSoon, say, set, text, urlOf } from "./dom.js";

// The catalogue of workers/store.py, which events name by id alone.
export const PETS = {
  "019b4132": ["Biscuit", "dog"], "01a7c0de": ["Clover", "rabbit"], "01b2f4e8": ["Domino", "cat"],
  "01c9d351": ["Ember", "gecko"], "01d40b77": ["Fig", "hamster"], "01e86a2c": ["Ginger", "cat"],
  "01f15e90": ["Hazel", "dog"], "02038cb4": ["Inky", "fish"], "0211d7fa": ["Juniper", "parrot"],
  "022e9053": ["Kiwi", "parrot"], "0237b61e": ["Lotus", "turtle"], "0244fca9": ["Mochi", "hamster"],
};
const MAX_PETS = 200;          // kept at a time; the oldest one is dropped first
const MAX_OTHERS = 5;
const TYPES = ["stock-change", "price-change", "status", "complete"];

const pets = new Map();
const changed = new Set();
const others = [];
let ledger = new Ledger();
let desk = false;

/** Returns true if these are the channels of the pet store. */
export function fits(channels) {
  return channels.get("inventory")?.path === "/v1/inventory/stream" && channels.has("recommendations");
}

/** Shows the pet store, and follows its streams. */
export function show(channels) {
  desk = about.token && channels.has("desk");
  $("pets").replaceChildren();
  pets.clear();
  for (const id of Object.keys(PETS)) petOf(id);
  ledger = new Ledger();
  const all = channels.has("orders") && !channels.get("orders").key_required;
  const streams = all ? ["inventory", "orders"] : ["inventory"];
  orders.begin(channels.get("orders"), all);
  recommendations.begin(channels.get("recommendations"));
  line.open({
    url: urlOf("v1/events", { channel: streams, from: "state" }),
    types: TYPES, share: true, ticket: ticketFor(streams), onEvent, onReset,
    onSuperseded: () => ledger.forget(),
  });
  paintSoon(paint);
}

function onEvent(event) {
  if (event.type === "stream.state") forget(JSON.parse(event.data));
  if (event.hubs) return;
  const value = valueOf(event.data);
  if (event.stream === "orders" || (event.stream !== "inventory" && value.orderId !== undefined)) {
    ledger.add("order", {}, event);
    orders.take(event.type, value);
  } else if (event.type === "message") {  // the workers send none, so it was published by hand
    ledger.add("", {}, event);
    other(event);
  } else {
    const pet = petOf(text(value.petId, 200));
    const changes = ledger.add(pet.id, value, event);
    for (const change of changes) take(pet, change);
    changed.add(pet);
  }
  paintSoon(paint);
}

function onReset() {
  ledger.forget();
}

/** Forgets what is shown of a channel whose state follows; without all of it, it says so. */
function forget({ channel, since, too_large: tooLarge }) {
  if (channel !== "inventory") return;
  ledger.forget();
  for (const pet of pets.values()) {
    if (!(pet.id in PETS)) {
      pets.delete(pet.id);
      changed.delete(pet);
      pet.card?.remove();
      continue;
    }
    for (const place of [pet.stock, pet.price]) Object.assign(place, { now: undefined, by: 0, moved: true });
    changed.add(pet);
  }
  let note = since ? `Changes up to ${clock(Number(since.split("-")[0]))} may be missing: they were trimmed.` : "";
  if (tooLarge) note = "The state is too large to be sent, so only what changes is shown.";
  set($("shop-note"), note);
  paintSoon(paint);
}

function take(pet, { name, from, to, ok }) {
  const place = name === "Price" ? pet.price : pet.stock;
  place.by = typeof to === "number" && typeof from === "number" ? to - from : 0;
  place.now = to;
  place.moved = true;
  if (ok) return;
  pet.broken = true;
  if (ledger.missing === 1) say("A change does not follow from the one before it");
}

function other(event) {
  others.unshift(`An event of your own${event.entry && `, ${event.entry}`}: ${text(event.data, 300)}`);
  others.length = Math.min(others.length, MAX_OTHERS);
  $("others").hidden = false;
  $("others").replaceChildren(...others.map((each) => make("li", "", each)));
}

/** Returns the name of a pet; the id, if the catalogue has none. */
export const nameOf = (id) => PETS[id]?.[0] ?? text(id, 24);

function petOf(id) {
  let pet = pets.get(id);
  if (!pet) {
    const value = () => ({ now: undefined, by: 0, moved: false });
    pet = { id, stock: value(), price: value(), broken: false };
    pets.set(id, pet);
    if (pets.size > MAX_PETS) {
      const [oldest] = pets.values();
      pets.delete(oldest.id);
      oldest.card?.remove();
    }
    changed.add(pet);
  }
  return pet;
}

function cardOf(pet) {
  const name = nameOf(pet.id), species = PETS[pet.id]?.[1] ?? "pet";
  const mark = make("span", "mark", name.slice(0, 1).toUpperCase());
  mark.ariaHidden = "true";
  mark.style.setProperty("--hue", [...species].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7));
  const row = (label, value) => {
    value.text = make("dd", "", "–");
    value.delta = make("dd", "by");
    value.row = make("div", "value", "", make("dt", "", label), value.text, value.delta);
    return value.row;
  };
  const values = make("dl", "", "", row("stock", pet.stock), row("price", pet.price));
  const card = make("article", "pet", "", make("header", "", "", mark, make("h3", "", name), make("p", "", species)), values);
  if (desk) card.append(buttons(pet, name));
  return card;
}

function buttons(pet, name) {
  const change = (by) => ask("change-stock", pet.id, { petId: pet.id, by }, `The stock of ${name}`);
  return make("footer", "", "",
    button("small", "−", () => change(-1), `One ${name} less in stock`),
    button("small", "+", () => change(1), `One ${name} more in stock`),
    button("main", "Order", () => orders.place(pet.id, name), `Order ${name}`));
}

async function ask(type, key, data, what) {
  try {
    await publish("desk", { type, key, data: JSON.stringify(data) });
  } catch (error) {
    set($("shop-note"), `${what}: ${error.message}`);
    say($("shop-note").textContent);
  }
}

function paint() {
  paintProof(ledger, nameOf);
  orders.paintSoon();
  for (const pet of changed) {
    if (!pet.card) {
      pet.card = cardOf(pet);
      $("pets").append(pet.card);
    }
    paintValue(pet.stock, count);
    paintValue(pet.price, money);
    pet.card.classList.toggle("broken", pet.broken);
  }
  changed.clear();
}

function paintValue(value, show) {
  if (!value.moved) return;
  value.moved = false;
  const up = value.by >= 0, known = value.now !== undefined;
  set(value.text, known ? show(value.now) : "–");
  set(value.delta, value.by ? `${up ? "▲" : "▼"} ${show(Math.abs(value.by))}` : "");
  value.delta.className = value.by ? `by ${up ? "up" : "down"}` : "by";
  if (known) flash(value.row, up);
}

export const statistics = () => ({
  checked: ledger.checked, missing: ledger.missing, events: ledger.events, pets: pets.size,
});
