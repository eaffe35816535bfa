// `node driver.mjs CLIENT MODE URL` follows an event stream and writes a line of JSON per event.

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const take = (id, type, data) => say({ id: id ?? "", type: type || "message", data });

const [client, mode, url] = process.argv.slice(2);
process.on("uncaughtException", (error) => {
  say({ trouble: String(error) });
  process.exit(1);
});
const { follow, plain } = await import(`./${client}.mjs`);
await (mode === "plain" ? plain : follow)(url, take);
