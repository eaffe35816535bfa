// Reads the stock of a pet with the client that was made of the document, until the stream is live.
import { client } from "./made/client.gen";
import { readInventory } from "./made/sdk.gen";
import type { InventoryData } from "./made/types.gen";
import { subscribe } from "./hub/client";

client.setConfig({ baseUrl: process.argv[2] });

// [recipe]
async function follow(show: (left: number) => void) {
  const done = new AbortController();
  const { stream } = await readInventory({
    query: { petId: ["7"], from: "earliest" },
    signal: done.signal,
    onSseEvent({ event, data }) {
      if (event === "stock-change") show((data as InventoryData["stock-change"]).newStock);
      if (event === "stream.live") done.abort();
    },
  });
  for await (const _ of stream);  // without a reader nothing is read
}
// [/recipe]

const seen: number[] = [];
void follow((left) => seen.push(left)).then(() => console.log(JSON.stringify(seen)));

// Never called: only the types matter.
export function typed(): void {
  subscribe<InventoryData>("/stock", {
    types: ["stock-change"],
    onEvent(event) {
      if (event.type !== "stock-change") return;
      const left: number = event.data.newStock;
      // @ts-expect-error: it is a number
      const text: string = event.data.newStock;
      console.log(left, text);
    },
  });
  // @ts-expect-error: there is no such type
  subscribe<InventoryData>("/stock", { types: ["stock-changes"] });
}
