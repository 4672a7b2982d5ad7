// Has a Chromium that runs already load a page, prints what the page and the browser tell of it as JSON, and ends the browser.
//
// Usage: node browser.cjs LIBRARIES DEVTOOLS URL, where DEVTOOLS is the address that Chromium prints, and the page has a promise
// `told`.

const { createRequire } = require("node:module");
const { once } = require("node:events");
const { setTimeout: wait } = require("node:timers/promises");

const [libraries, devtools, url] = process.argv.slice(2);
const { WebSocket } = createRequire(`${libraries}/package.json`)("ws");

const answers = new Map();
const [complaints, responses] = [[], []];
let count = 0;

function call(socket, method, params = {}, sessionId = undefined) {
  count += 1;
  const id = count;
  socket.send(JSON.stringify({ id, method, params, sessionId }));
  return new Promise((resolve) => answers.set(id, resolve));
}

function take({ id, result, error, method, params }) {
  if (id) answers.get(id)(error ? { error } : result);
  if (method === "Network.responseReceived") {
    const { status, protocol } = params.response;
    if (params.response.url.startsWith("http")) responses.push(`${protocol} ${status}`);
  }
  if (method === "Log.entryAdded") complaints.push(params.entry.text);
  if (method === "Runtime.consoleAPICalled") complaints.push(JSON.stringify(params.args));
  if (method === "Runtime.exceptionThrown") complaints.push(params.exceptionDetails.text);
}

async function load(socket) {
  const { targetId } = await call(socket, "Target.createTarget", { url: "about:blank" });
  const { sessionId } = await call(socket, "Target.attachToTarget", { targetId, flatten: true });
  for (const domain of ["Page", "Network", "Log", "Runtime"]) await call(socket, `${domain}.enable`, {}, sessionId);
  await call(socket, "Page.navigate", { url }, sessionId);
  for (;;) {
    const asked = { expression: "window.told", awaitPromise: true };
    const told = (await call(socket, "Runtime.evaluate", asked, sessionId)).result?.value;
    if (told) return told;
  }
}

(async () => {
  const socket = new WebSocket(devtools);
  socket.on("message", (data) => take(JSON.parse(data)));
  await once(socket, "open");
  const told = await Promise.race([load(socket), wait(25_000, "nothing")]);
  const counts = {};
  for (const response of responses) counts[response] = (counts[response] ?? 0) + 1;
  console.log(JSON.stringify({ told, complaints, responses: counts }));
  socket.send(JSON.stringify({ id: 0, method: "Browser.close" }));
  await once(socket, "close");
  process.exit();
})();
