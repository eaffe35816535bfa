// What stock clients make of answers: the chat of npm `ai`, 6 and 7, without React; npm `openai`; and
// an agent of npm `@ag-ui/client`, with the two lines of docs/answers.md by which it comes back.
//
// Reads commands, one JSON object a line, runs them side by side, and writes a verdict for each:
// {"number", "judge", "base", "chat", "action": "send" | "follow", "returns": true if it comes back
// after a cut, "saying": what its fetch says of a cut} -> {"number", "text", "outcome", "error"}
import { createInterface } from "node:readline";
import { HttpAgent } from "@ag-ui/client";
import * as ai6 from "ai6";
import * as ai7 from "ai7";
import OpenAI from "openai";

const TRIES = 5;
const pause = () => new Promise((done) => setTimeout(done, 100));

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, message); };
  snapshot = (value) => structuredClone(value);
}

// Node says "terminated" of a body that is cut, and each browser something else: `ai` reads it.
function fetchSaying(text) {
  return async (url, options) => {
    const answer = await fetch(url, options);
    if (!text || !answer.body) return answer;
    const reader = answer.body.getReader();
    const body = new ReadableStream({
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          done ? controller.close() : controller.enqueue(value);
        } catch {
          controller.error(new TypeError(text));
        }
      },
    });
    return new Response(body, answer);
  };
}

async function chat({ AbstractChat, DefaultChatTransport }, { base, chat, action, returns, saying }) {
  class Chat extends AbstractChat {}
  const ends = [];
  const made = new Chat({
    id: chat,
    state: new State(),
    generateId: () => crypto.randomUUID(),
    transport: new DefaultChatTransport({ api: `${base}/api/chat`, fetch: fetchSaying(saying) }),
    onError: () => {},
    onFinish: (end) => ends.push(end),
  });
  if (action === "send") await made.sendMessage({ text: "why?" });
  else await made.resumeStream();
  for (let tries = 0; returns && made.error instanceof TypeError && tries < TRIES; tries++) {
    await pause();
    await made.resumeStream();
  }
  const answers = made.messages.filter((message) => message.role === "assistant");
  const text = answers.flatMap((message) => message.parts).map((part) => part.text ?? "").join("");
  const outcomes = { stop: "success", other: "stopped" };
  let outcome = ends.length === 0 ? "nothing" : (outcomes[ends.at(-1).finishReason] ?? "a clean end");
  if (made.status === "error") outcome = "error";
  return { text, outcome, error: made.error?.message };
}

async function response({ base, chat, action, returns }) {
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
  if (action !== "send") {
    const found = await client.responses.stream({ response_id: chat }).finalResponse();
    return { text: found.output_text, outcome: found.status === "completed" ? "success" : found.status };
  }
  const ask = { model: "stub", input: "why?", user: chat, stream: true };
  let text = "", id, last, error;
  let asking = () => client.responses.create(ask);
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      for await (const event of await asking()) {
        last = event.sequence_number;
        id ??= event.response?.id;
        if (event.type === "response.output_text.delta") text += event.delta;
        if (event.type === "response.completed") return { text, outcome: "success", id };
        if (event.type === "response.failed") return { text, outcome: "error", error: event.response.error.message };
        if (event.type === "response.incomplete") return { text, outcome: "stopped" };
      }
      return { text, outcome: "a clean end" };
    } catch (failure) {
      error = failure;
    }
    if (!returns || id === undefined) break;
    await pause();
    if (error.status === 409) { text = ""; last = undefined; } // it has begun anew
    asking = () => client.responses.retrieve(id, { stream: true, starting_after: last });
  }
  return { text, outcome: "error", error: String(error?.message), id };
}

// `@ag-ui/client` 1.0.0 cancels the reader of a body that was cut, and does not handle what that says.
process.on("unhandledRejection", (error) => { if (error?.message !== "terminated") throw error; });

class Agent extends HttpAgent {
  connect(input) { return this.run(input); }
}

async function agent({ base, chat, action, returns }) {
  const initialMessages = [{ id: "question", role: "user", content: "why?" }];
  const made = new Agent({ url: `${base}/agent`, threadId: chat, initialMessages });
  const runId = `run of ${chat}`, before = made.messages;
  let outcome, error;
  const ends = {
    onRunFinishedEvent: () => { outcome = "success"; },
    onRunErrorEvent: ({ event }) => {
      outcome = event.code === "stopped" ? "stopped" : "error";
      error = event.message;
    },
  };
  for (let tries = 0; outcome === undefined && tries < TRIES; tries++) {
    try {
      await (tries || action !== "send" ? made.connectAgent({ runId }, ends) : made.runAgent({ runId }, ends));
      outcome ??= "a clean end";
    } catch (failure) {
      error = failure.message;
      if (!returns) break;
      made.messages = before; // the whole answer comes again
      await pause();
    }
  }
  const answers = made.messages.filter((message) => message.role === "assistant");
  return { text: answers.map((message) => message.content).join(""), outcome: outcome ?? "error", error };
}

const JUDGES = { ai6: (command) => chat(ai6, command), ai7: (command) => chat(ai7, command), openai: response, "ag-ui": agent };

for await (const line of createInterface({ input: process.stdin })) {
  const { number, judge, ...command } = JSON.parse(line);
  JUDGES[judge](command)
    .catch((error) => ({ outcome: "error", error: String(error?.message), text: "" }))
    .then((verdict) => console.log(JSON.stringify({ number, ...verdict })));
}
