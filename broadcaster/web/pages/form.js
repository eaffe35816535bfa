// The form that publishes a test event.

import { paintCommands } from "./channels.js";
import { canPublish, publish, useToken } from "./token.js";
import { $, about, make, say, set } from "./dom.js";

let listed = [];

/** Offers these channels. */
export function offer(channels) {
  const names = [...channels.keys()];
  if (names.join() !== listed.join()) {
    listed = names;
    $("publish-channel").replaceChildren(...names.map((name) => make("option", "", name)));
  }
  $("token-field").hidden = about.token;
  paintCommands();
}

$("publish").oninput = () => {
  useToken($("token").value);
  paintCommands();
};
$("publish").onsubmit = async (event) => {
  event.preventDefault();
  const { channel, type, key, data } = Object.fromEntries(new FormData($("publish")));
  const note = $("publish-note");
  note.className = "note";
  if (!canPublish()) {
    set(note, "Publishing needs a token: see the page about security in the documents.");
    return;
  }
  $("publish-send").disabled = true;
  try {
    const id = await publish(channel, { type, key, data });
    set(note, `Published as ${id}.`);
  } catch (error) {
    note.className = "note bad";
    set(note, `Not published: ${error.message}`);
  }
  $("publish-send").disabled = false;
  say(note.textContent);
};
