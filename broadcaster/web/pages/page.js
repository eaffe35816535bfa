// The page: asks the hub for its channels, and shows one view of them at a time.

import * as channelsView from "./channels.js";
import { offer } from "./form.js";
import { line } from "./line.js";
import * as operationsView from "./operations.js";
import { orders } from "./orders.js";
import { recommendations } from "./recommendations.js";
import * as shopView from "./shop.js";
import { reason } from "./tap.js";
import { presented, useToken } from "./token.js";
import { $, about, say, set, urlOf } from "./dom.js";

const AGAIN_MS = 2_000;
const VIEWS = { shop: shopView, channels: channelsView, operations: operationsView };

let channels = new Map();
let shown = "";

async function start() {
  try {
    await Promise.all([findOperations(), about.channels && findChannels()]);
  } catch {
    set($("start-note"), "No node answers. The page tries again every 2 s.");
    setTimeout(start, AGAIN_MS);
    return;
  }
  const views = Object.keys(VIEWS).filter((view) => !$(`to-${view}`).hidden);
  $("start").hidden = views.length > 0;
  if (views.length) go();
}

/** Shows the way to the nodes, where operators' routes are at this place, and may be read. */
async function findOperations() {
  if (!about.operations) return;
  const answer = await fetch(operationsView.url(), { method: "HEAD", headers: presented() });
  $("to-operations").hidden = !answer.ok;
  if (answer.status === 401 && !about.channels) {
    set($("start-note"), "The nodes are shown to operators, who have operators_token.");
    $("start-token").hidden = false;
  }
}

async function findChannels() {
  const answer = await fetch(urlOf("v1/channels"), { headers: presented() });
  if (!answer.ok) {
    set($("start-note"), `The hub does not say which channels it has: ${await reason(answer)}`);
    $("start-token").hidden = ![401, 403].includes(answer.status);
    return;
  }
  const found = (await answer.json()).channels;
  channels = new Map(found.map((channel) => [channel.channel, channel]));
  if (!channels.size) set($("start-note"), "There is no channel that you may see.");
  $("to-channels").hidden = !channels.size;
  $("to-shop").hidden = !shopView.fits(channels);
  offer(channels);
}

/** Returns the view that the address names, or the first one that there is. */
function wanted() {
  const named = location.hash.slice(1);
  const there = Object.keys(VIEWS).filter((view) => !$(`to-${view}`).hidden);
  return there.includes(named) ? named : there[0];
}

function go() {
  const view = wanted();
  if (!view || view === shown) return;
  shown = view;
  for (const each of Object.keys(VIEWS)) {
    $(each).hidden = each !== view;
    if (each === view) $(`to-${each}`).setAttribute("aria-current", "page");
    else $(`to-${each}`).removeAttribute("aria-current");
  }
  $("proof").hidden = view === "operations";
  line.close();
  VIEWS[view].show(channels);
}

$("start-token").onsubmit = (event) => {
  event.preventDefault();
  $("token").value = $("start-bearer").value;
  useToken($("token").value);
  say("Asks again");
  start();
};
addEventListener("hashchange", go);

/** The counters of this page, read-only, for tests and the console. */
Object.defineProperty(window, "hub", {
  value: Object.freeze({
    get view() { return shown; },
    get line() { return Object.freeze(line.statistics); },
    get shop() { return Object.freeze(shopView.statistics()); },
    get channels() { return Object.freeze(channelsView.statistics()); },
    get operations() { return Object.freeze(operationsView.statistics()); },
    get orders() { return Object.freeze(orders.statistics); },
    get order() { return Object.freeze(orders.order); },
    get recommendations() { return Object.freeze(recommendations.statistics); },
  }),
});

start();
