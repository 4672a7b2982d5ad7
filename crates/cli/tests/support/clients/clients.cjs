// Gets URL through PROXY with the agents that most of node uses, and prints status and text of the answer.
//
// Usage: node clients.cjs FOLDER PROXY URL CA, where FOLDER has the libraries.

const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { createRequire } = require("node:module");

const [folder, proxy, url, caFile] = process.argv.slice(2);
const load = createRequire(`${folder}/package.json`);
const { HttpsProxyAgent } = load("https-proxy-agent");
const { SocksProxyAgent } = load("socks-proxy-agent");

const ca = fs.readFileSync(caFile);
const agent = proxy.startsWith("socks") ? new SocksProxyAgent(proxy) : new HttpsProxyAgent(proxy, { ca });
const request = (url.startsWith("https:") ? https : http).get(url, { agent, ca }, (answer) => {
  let text = "";
  answer.on("data", (data) => (text += data));
  answer.on("end", () => console.log(answer.statusCode, text.trim()));
});
request.on("error", (error) => {
  console.error(String(error));
  process.exitCode = 1;
});
