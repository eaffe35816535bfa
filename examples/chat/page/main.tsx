import { useChat } from "@ai-sdk/react";
import { createRoot } from "react-dom/client";
import { chatOf, saved } from "./come-back";

function Page({ chat: given }: { chat: ReturnType<typeof chatOf> }) {
  const { id, messages, sendMessage, status, error } = useChat({ chat: given, resume: true });
  const busy = status === "submitted" || status === "streaming";
  const stop = () => fetch(`/api/chat/${id}/stop`, { method: "POST" });
  return (
    <main data-status={status}>
      {messages.map((message) => (
        <p key={message.id} className={message.role}>
          {message.parts.map((part) => (part.type === "text" ? part.text : ""))}
        </p>
      ))}
      {error && <p className="error">{error.message}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void sendMessage({ text: String(new FormData(event.currentTarget).get("text")) });
          event.currentTarget.reset();
        }}
      >
        <input name="text" required autoFocus placeholder="count slowly" />
        <button id="ask" disabled={busy}>Ask</button>
        <button id="stop" type="button" disabled={!busy} onClick={stop}>Stop</button>
      </form>
    </main>
  );
}

// The chat is named in the address, so that a reload or another device has the same one.
const here = new URL(location.href);
if (!here.searchParams.get("chat")) {
  here.searchParams.set("chat", crypto.randomUUID());
  history.replaceState(null, "", here);
}
const id = here.searchParams.get("chat")!;
const chat = chatOf(id, await saved(id));
createRoot(document.getElementById("chat")!).render(<Page chat={chat} />);
