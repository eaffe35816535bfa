// A page with both hooks, under StrictMode. The test says by which urls, and turns them.
import { useChannelState, useStream } from "broadcaster-hub/react";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

interface Inventory {
  "stock-change": { petId: string; newStock: number };
}

interface Orders {
  message: { status: string };
  complete: { status: string };
}

function Stock({ url }: { url: string | null }) {
  const { status, state } = useChannelState<Record<string, number>, Inventory>(url, {
    types: ["stock-change"],
    initial: {},
    fold: (stock, { data }) => ({ ...stock, [data.petId]: data.newStock }),
  });
  return <p id="stock" title={status}>{JSON.stringify(state)}</p>;
}

function Order({ url }: { url: string | null }) {
  const { status, events, error } = useStream<Orders>(url, { limit: 3 });
  const steps = events.map((event) => event.data.status).join();
  return <p id="order" title={status}>{error ? error.message : steps}</p>;
}

function Page() {
  const [urls, setUrls] = useState<{ stock: string | null; order: string | null }>({ stock: null, order: null });
  Object.assign(window, { show: setUrls });
  return (
    <>
      <Stock url={urls.stock} />
      <Order url={urls.order} />
    </>
  );
}

const root = createRoot(document.body.appendChild(document.createElement("div")));
Object.assign(window, { root });
root.render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
