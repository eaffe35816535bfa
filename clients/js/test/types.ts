// Compiled, and never run: what an editor knows of events.
import { subscribe } from "../src/client.js";

interface Inventory {
  "stock-change": { newStock: number };
  sold: { buyer: string };
}

export const stream = subscribe<Inventory>("/v1/inventory/stream", {
  types: ["stock-change", "sold"],
  onEvent(event) {
    if (event.type === "stock-change") event.data.newStock.toFixed();
    else event.data.buyer.trim();
    // @ts-expect-error: only one of the two has a buyer
    event.data.buyer;
  },
  onReset: ({ state }) => state === true,
});

// @ts-expect-error: there is no such type
subscribe<Inventory>("/v1/inventory/stream", { types: ["stokc-change"] });

export async function read() {
  for await (const event of stream) {
    if (event.type === "sold") event.data.buyer.trim();
    if (event.type === "stream.reset") event.data.reason.trim();
  }
}

// Without types, data may be used as they are.
subscribe("/v1/inventory/stream", { onEvent: (event) => event.data.anything.at.all });
