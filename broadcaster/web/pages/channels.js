// Any channels of the hub: a table of keys with their newest values, and the frames as they come.

import { Ledger } from "./ledger.js";
import { line } from "./line.js";
import { paintProof } from "./proof.js";
import { bodyOf, presented } from "./token.js";
import { about, $, button, clock, count, flash, make, paintSoon, say, set, text, urlOf } from "./dom.js";

const MAX_CHANNELS = 8;        // that are chosen at the start
const MAX_KEYS = 500;          // kept at a time; the one that is quiet for longest is dropped first
const MAX_FIELDS = 12;
const MAX_FRAMES = 60;
const PAINT_MS = 100;

const HUBS = {
  "stream.at": "a position to remember",
  "stream.expired": "the right to read this has ended",
  "stream.live": "everything that was missed was sent; what follows is new",
  "stream.reset": "it can't be proven that nothing is missing",
  "stream.restart": "the answer begins anew, by another worker",
  "stream.waiting": "no worker has the run",
  "stream.state": "what is, up to stream.live; what was shown before is out of date",
  "stream.superseded": "events were skipped, because newer ones follow; nothing is lost",
};

let channels = new Map(), chosen = new Set();
let rows = new Map(), changed = new Set(), frames = [];
let ledger = new Ledger();
let paused = false, timer = 0, typing = 0, url = "";

/** Shows the channels, and follows those that can be read without a key. */
export function show(all) {
  channels = all;
  const open = [...all.values()].filter((channel) => !channel.key_required).map((channel) => channel.channel);
  chosen = new Set([...chosen].filter((name) => all.has(name)));
  if (!chosen.size) chosen = new Set(open.length ? open.slice(0, MAX_CHANNELS) : [...all.keys()].slice(0, 1));
  $("chips").replaceChildren(...[...all.values()].map(chip));
  follow();
}

function chip(channel) {
  const name = channel.channel;
  const made = button("chip", name, () => {
    const alone = (one) => channels.get(one).on_demand;
    if (chosen.has(name)) chosen.delete(name);
    else {
      if (alone(name) || [...chosen].some(alone)) chosen.clear();
      chosen.add(name);
    }
    for (const each of $("chips").children) each.ariaPressed = String(chosen.has(each.textContent));
    follow();
  });
  made.ariaPressed = String(chosen.has(name));
  made.title = channel.key_required ? "needs a key" : `${count(channel.length)} events are retained`;
  return made;
}

const filters = () => ({ key: $("filter-key").value.trim(), type: $("filter-type").value.trim() });

/** Follows what is chosen, from the newest past on. */
function follow() {
  rows.clear();
  frames = [];
  changed.clear();
  ledger = new Ledger();
  $("rows").replaceChildren();
  $("frames").replaceChildren();
  const { key, type } = filters(), names = [...chosen];
  const hint = hintFor(names, key);
  set($("channels-note"), hint);
  const made = names.some((name) => channels.get(name).on_demand);
  url = urlOf("v1/events", { channel: names, key, type, from: made ? "" : "1m" });
  set($("curl"), commands());
  paintSoon(paint);
  if (hint) line.close();
  else line.open({ url, types: null, headers: presented(), onEvent, onReset: forget, onSuperseded: forget });
}

const forget = () => ledger.forget();

function hintFor(names, key) {
  if (!names.length) return "Choose a channel.";
  const needing = names.filter((name) => channels.get(name).key_required);
  if (!key && needing.length) return `${needing.join(", ")}: name a key.`;
  return "";
}

function onEvent(event) {
  frames.unshift(event);
  frames.length = Math.min(frames.length, MAX_FRAMES);
  if (event.type === "stream.state") ledger.forget(`${JSON.parse(event.data).channel}\n`);
  if (!event.hubs) keep(event);
  timer ||= setTimeout(() => { timer = 0; paintSoon(paint); }, PAINT_MS);
}

function keep(event) {
  const channel = event.stream.replace(/\.\d+$/, "") || [...chosen][0];
  const value = parsed(event.data);
  const key = keyOf(channels.get(channel), value);
  const place = `${channel}\n${key}`;
  let row = rows.get(place);
  if (!row) row = { channel, key, fields: new Map(), events: 0, type: "", at: 0, cells: null };
  rows.delete(place);
  rows.set(place, row);        // the map is in the order of the last event
  if (rows.size > MAX_KEYS) {
    const [[quiet, dropped]] = rows;
    rows.delete(quiet);
    dropped.cells?.row.remove();
  }
  if (!event.isState) row.events += 1;
  row.type = event.type;
  row.at = Number(event.entry.split("-")[0]);  // 0: a value of a state does not say its time
  const changes = ledger.add(place, value, event);
  row.up = changes.every(({ from, to }) => !(to < from));
  fold(row.fields, value);
  changed.add(row);
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

/** Returns what an event is about. Its key is not sent, but its data mostly has it. */
function keyOf(channel, value) {
  const { key } = filters();
  if (key && !key.includes(",")) return key;
  if (!value || typeof value !== "object") return "";
  const names = [channel?.key_param, "key", "id", ...Object.keys(value).filter((name) => /(Id|_id)$/.test(name))];
  const found = names.find((name) => name && ["string", "number"].includes(typeof value[name]));
  return found ? text(value[found], 200) : "";
}

/** Keeps the newest value of each field: `newStock` is the `stock` that is true now. */
function fold(fields, value) {
  const entries = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [["", value]];
  for (const [name, each] of entries) {
    if (/^old[A-Z_]/.test(name)) continue;
    const plain = /^new[A-Z_]/.test(name) ? name.slice(3).replace(/^_/, "") : name;
    const called = plain === name ? name : plain[0].toLowerCase() + plain.slice(1);
    if (fields.size < MAX_FIELDS || fields.has(called)) fields.set(called, each);
  }
}

function paint() {
  paintProof(ledger, (place) => place.replace("\n", " "));
  set($("keys-count"), count(rows.size));
  $("rows-empty").hidden = rows.size > 0;
  if (paused) return;
  for (const row of changed) paintRow(row);
  changed.clear();
  paintFrames();
}

function paintRow(row) {
  if (!row.cells) {
    const key = make("th", "mono", row.key || "–");
    key.scope = "row";
    const cells = row.cells = {
      key, type: make("td", "mono type"), values: make("td", "values"), at: make("td", "number"),
      events: make("td", "number"), channel: make("td", "", row.channel),
    };
    cells.row = make("tr", "", "", key, cells.channel, cells.values, cells.type, cells.events, cells.at);
    const order = (each) => `${each.cells[1].textContent}\n${each.cells[0].textContent}`;
    const mine = `${row.channel}\n${row.key || "–"}`;
    const next = [...$("rows").children].find((each) => order(each) > mine);
    $("rows").insertBefore(cells.row, next ?? null);
  }
  const { cells } = row;
  const pairs = [...row.fields].filter(([, value]) => text(value, 200) !== row.key).sort();
  cells.values.replaceChildren(...pairs.map(([name, value]) =>
    make("span", "pair", "", make("b", "", name), ` ${text(value, 60)}`)));
  set(cells.type, row.type);
  set(cells.at, row.at ? clock(row.at) : "–");
  set(cells.events, count(row.events));
  flash(cells.values, row.up);
}

function paintFrames() {
  const list = $("frames"), known = new Set(frames);
  for (const item of [...list.children]) if (!known.has(item.event)) item.remove();
  const newest = list.firstChild?.event;
  const fresh = newest ? frames.slice(0, frames.indexOf(newest)) : frames;
  list.prepend(...fresh.map((event) => {
    const item = make("li", event.hubs ? "hubs" : "", event.raw ?? rawOf(event));
    if (event.hubs) item.prepend(make("em", "", `of the hub: ${HUBS[event.type] ?? event.type}\n`));
    item.event = event;
    return item;
  }));
}

const rawOf = ({ id, type, data }) => `id: ${id}\nevent: ${type}\ndata: ${data}`;

/** Returns commands that do without a browser what is done here. */
function commands() {
  const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;
  const { channel, type, key, data } = Object.fromEntries(new FormData($("publish")));
  const added = `XADD ${channel || "CHANNEL"} '*'${type ? ` type ${quoted(type)}` : ""}${key ? ` key ${quoted(key)}` : ""} data ${quoted(data)}`;
  return [
    `curl -N ${quoted(url)}`,
    `curl ${urlOf(`v1/channels/${channel || "CHANNEL"}/events`)} -H "Authorization: Bearer $TOKEN" \\\n`
      + `  -H 'Content-Type: application/json' -d ${quoted(bodyOf({ type, key, data }))}`,
    `redis-cli -u ${about.redis || "YOUR_REDIS_URL"} ${added}`,
  ].join("\n");
}

export const paintCommands = () => set($("curl"), commands());

for (const id of ["filter-key", "filter-type"]) {
  $(id).oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(follow, 300);
  };
}
$("pause").onclick = () => {
  paused = !paused;
  $("pause").ariaPressed = String(paused);
  set($("pause"), paused ? "Go on" : "Pause");
  if (!paused) paintSoon(paint);
};
$("copy").onclick = async () => {
  await navigator.clipboard?.writeText(`curl -N '${url}'`).catch(() => {});
  say("The command is copied");
  set($("copy"), "Copied");
  setTimeout(() => set($("copy"), "Copy as curl"), 1500);
};

export const statistics = () => ({
  checked: ledger.checked, missing: ledger.missing, events: ledger.events, keys: rows.size, frames: frames.length,
  chosen: [...chosen],
});
