// What stock `useChat` makes of an answer: its chat, of npm `ai`, without React.
//
// node judge.mjs BASE CHAT send|resume   prints {"text", "id", "status", "isAbort", …}
import { AbstractChat, DefaultChatTransport } from "ai";

const [base, chat, action] = process.argv.slice(2);

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, message); };
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {}

const ends = [];
const made = new Chat({
  id: chat,
  state: new State(),
  generateId: () => crypto.randomUUID(),
  transport: new DefaultChatTransport({
    api: `${base}/api/chat`,
    prepareSendMessagesRequest: ({ id }) => ({ api: `${base}/api/chat/${id}?text=why`, body: {} }),
    prepareReconnectToStreamRequest: ({ id }) => ({ api: `${base}/api/chat/${id}/stream` }),
  }),
  onError: () => {},
  onFinish: ({ isAbort, isDisconnect, isError }) => ends.push({ isAbort, isDisconnect, isError }),
});
if (action === "send") await made.sendMessage({ text: "why?" });
else await made.resumeStream();
const answer = made.messages.findLast((message) => message.role === "assistant");
const text = (answer?.parts ?? []).filter((part) => part.type === "text").map((part) => part.text).join("");
console.log(JSON.stringify({ text, id: answer?.id, status: made.status, error: made.error?.message, ends }));
