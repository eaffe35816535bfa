// Recommendations: made on demand, piece by piece. Opening the stream sends the request, and a
// reconnect continues the same answer.

import { Run, piece } from "./run.js";
import { $, count, make, paintSoon, text, urlOf } from "./dom.js";

const MAX_PIECES = 100;

let channel = null, pieces = [], answer = null, asked = false, ended = "";
const run = new Run("The recommendations", $("answer-state"));

function paint() {
  $("ask-empty").hidden = asked;
  const items = pieces.map((each) => piece(text(each.name, 40), each.score, text(each.reason, 200)));
  if (answer) {
    const took = typeof answer.processingTime === "number" ? `${count(answer.processingTime)} ms` : text(answer.processingTime);
    items.push(make("li", "ended", `Complete: ${text(answer.total)} in ${took}`));
  }
  if (ended) items.push(make("li", "ended", ended));
  $("pieces").replaceChildren(...items);
}

function onEvent({ type, value }) {
  if (type === "complete") answer = value;
  else if (type === "recommendation") pieces.push(value);
  else ended = `${type === "stopped" ? "Stopped" : "Failed"}${value.reason ? `: ${text(value.reason, 200)}` : ""}`;
  if (pieces.length > MAX_PIECES) pieces.shift();
  paintSoon(paint);
}

function onRestart() {
  pieces = [];
  answer = null;
  ended = "";
  paintSoon(paint);
}

$("ask").onsubmit = (event) => {
  event.preventDefault();
  onRestart();
  asked = true;
  const url = urlOf(channel.path, { [channel.key_param]: $("user-id").value.trim() });
  run.open(channel.channel, url, ["recommendation"], { onEvent, onRestart });
};

export const recommendations = {
  begin(told) {
    channel = told;
  },
  get statistics() {
    return { state: run.state, events: run.events, pieces: pieces.length, complete: answer !== null };
  },
};
