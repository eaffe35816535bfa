// The proof in view: how many events there were, how many are missing, and how many were skipped
// because newer ones followed.

import { line } from "./line.js";
import { $, count, make, set, text } from "./dom.js";

/** Shows what a ledger says; `nameOf` returns the name of a thing that values are of. */
export function paintProof(ledger, nameOf) {
  set($("events"), count(ledger.events));
  set($("missing"), count(ledger.missing));
  set($("checked"), count(ledger.checked));
  set($("superseded"), count(line.superseded));
  $("superseded").parentElement.hidden = !line.superseded;
  set($("disorder"), count(line.disorder));
  $("proof").classList.toggle("bad", ledger.missing > 0 || line.disorder > 0);
  $("breaks").hidden = !ledger.missing;
  if (!ledger.missing) return;
  const lines = ledger.breaks.map((each) =>
    `${nameOf(each.what)}: ${each.name} is ${text(each.is)} but was ${text(each.was)} (${each.id})`);
  if ($("breaks").firstChild?.textContent !== lines[0]) {
    $("breaks").replaceChildren(...lines.map((each) => make("li", "", each)));
  }
}
