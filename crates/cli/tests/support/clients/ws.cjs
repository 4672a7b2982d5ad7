// WebSocket by the library ws: a server that sends every message back, and a client of one.
//
// Usage: node ws.cjs LIBRARIES serve PORT, or node ws.cjs LIBRARIES client URL CA SECONDS, which is silent for so long and
// prints how it ended.

const assert = require("node:assert");
const fs = require("node:fs");
const http = require("node:http");
const { createRequire } = require("node:module");
const { once } = require("node:events");
const { setTimeout: wait } = require("node:timers/promises");

const [libraries, kind, ...rest] = process.argv.slice(2);
const { WebSocket, WebSocketServer } = createRequire(`${libraries}/package.json`)("ws");

function serve(port) {
  const server = http.createServer((_request, answer) => answer.end("no socket"));
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => "chat", perMessageDeflate: true });
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", () => {});
    if (request.url === "/refused") {
      return socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\nX-Why: not you\r\n\r\nrefused\n");
    }
    return sockets.handleUpgrade(request, socket, head, (opened) => {
      opened.on("message", (data, isBinary) => {
        const words = isBinary ? [] : String(data).split(" ");
        if (words[0] === "close") opened.close(Number(words[1]), words.slice(2).join(" "));
        else opened.send(data, { binary: isBinary });
      });
    });
  });
  server.listen(Number(port), "127.0.0.1");
}

async function open(url, ca) {
  const socket = new WebSocket(url, "chat", { ca });
  const messages = [];
  socket.on("message", (data, isBinary) => messages.push(isBinary ? data : String(data)));
  await once(socket, "open");
  const next = async () => {
    while (messages.length === 0) await once(socket, "message");
    return messages.shift();
  };
  return [socket, next];
}

async function client(url, caFile, seconds) {
  const ca = fs.readFileSync(caFile);
  const [socket, next] = await open(url, ca);
  assert.equal(socket.protocol, "chat");
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 3_000_000]) {
    const message = Buffer.alloc(size, "towpath");
    socket.send(message);
    assert.ok(message.equals(await next()), String(size));
  }
  for (let number = 0; number < 500; number += 1) socket.send(`message ${number}`);
  for (let number = 0; number < 500; number += 1) assert.equal(await next(), `message ${number}`);
  await wait(Number(seconds) * 1000);
  socket.ping();
  await once(socket, "pong");
  socket.send("still here");
  assert.equal(await next(), "still here");
  socket.send("close 4001 good bye");
  const [code, reason] = await once(socket, "close");
  const [other] = await open(url, ca);
  other.close(4002, "mine");
  const [back, said] = await once(other, "close");
  console.log(`${code} ${reason}, ${back} ${said}`);
}

({ serve, client })[kind](...rest);
