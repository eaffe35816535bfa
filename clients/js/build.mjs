// Builds client.js and react.js: `node build.mjs [DIRECTORY]`. Without one, into dist, with their types.
import { spawnSync } from "node:child_process";
import { build } from "esbuild";

const outdir = process.argv[2] ?? "dist";
const common = { bundle: true, format: "esm", target: "es2022", minify: true, outdir };
await build({ ...common, entryPoints: ["src/client.ts"] });
await build({ ...common, entryPoints: ["src/react.ts"], external: ["react", "./client.js"] });
if (!process.argv[2]) {
  const { status } = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc"], { stdio: "inherit" });
  process.exitCode = status ?? 1;
}
