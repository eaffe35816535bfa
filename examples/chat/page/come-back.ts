// A chat of stock `useChat` that comes back after a cut. `useChat` takes an answer up when the page loads,
// and when a hidden tab is shown again. It does not do so in a tab that is visible: these lines do.
import { Chat } from "@ai-sdk/react";
import type { UIMessage } from "ai";

const TRIES = 8;

export async function saved(id: string): Promise<UIMessage[]> {
  const answer = await fetch(`/api/chat/${id}`);
  if (!answer.ok) throw new Error(`the messages can't be read: ${answer.status}`);
  return answer.json();
}

export function chatOf(id: string, messages: UIMessage[]): Chat<UIMessage> {
  let came: "nothing" | "half" | "the end" = "nothing";
  let coming = false;
  const chat: Chat<UIMessage> = new Chat({
    id,
    messages,
    onFinish: ({ isAbort, finishReason }) => {
      // Only an answer that has come to its end has a reason. `isDisconnect` is not enough: it does not
      // know what Firefox says of a cut, and some WebKits take a cut for the end.
      const failed = chat.error !== undefined && !(chat.error instanceof TypeError);
      came = finishReason || isAbort || failed ? "the end" : "half";
      if (came === "half") void comeBack();
    },
  });

  async function comeBack(): Promise<void> {
    if (coming) return;
    coming = true;
    for (let tries = 0; tries < TRIES; tries++) {
      await new Promise((done) => setTimeout(done, 250 * 2 ** tries * (1 + Math.random())));
      if (chat.status === "submitted" || chat.status === "streaming") break; // there is a new question
      came = "nothing";
      await chat.resumeStream();
      if (came === "the end") break;
      if (came === "nothing" && chat.status === "ready") {
        // 204: it ended meanwhile. What the page has is half of it.
        try {
          chat.messages = await saved(id);
          break;
        } catch (error) {
          console.warn(error);
        }
      }
    }
    coming = false;
  }

  return chat;
}
