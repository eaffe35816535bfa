// Makes a client of the document, in `made`.
export default {
  input: "openapi.json",
  output: "made",
  plugins: ["@hey-api/client-fetch", "@hey-api/sdk", "@hey-api/typescript"],
};
