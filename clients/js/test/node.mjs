// Follows an order in Node until it is complete: `node node.mjs URL`.
import { subscribe } from "broadcaster-hub";
import { EventSource } from "eventsource";

const stream = subscribe(process.argv[2], { EventSource });
for await (const event of stream) console.log(JSON.stringify([event.type, event.data]));
console.log(JSON.stringify([stream.status]));
