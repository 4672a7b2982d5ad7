// An HTTP server with what nginx has not, over HTTP/1.1 and, on a port of its own, over HTTP/2 with prior knowledge.
//
// Usage: node backend.cjs PORT H2-PORT NAME MILLISECONDS, for which it keeps connections

const http = require("node:http");
const http2 = require("node:http2");
const { once } = require("node:events");

const [port, portOfH2, name, kept] = process.argv.slice(2);

/** The fields of an object of this shape as node has it, without the pseudo-fields of HTTP/2. */
const plain = (fields) =>
  Object.fromEntries(Object.entries(fields).filter(([name]) => !name.startsWith(":")));

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function json(answer, value) {
  answer.setHeader("content-type", "application/json");
  answer.end(JSON.stringify(value));
}

// What has come so far, but for questions after it.
const seen = [];

// Streams of events whose next event waits for somebody to ask for it.
const streams = new Map();

const actions = {
  "/": (request, answer) => answer.end(name),

  /** Everything about the request as it came. */
  "/request": async (request, answer) => {
    const body = await read(request);
    const { method, url, httpVersion, rawHeaders } = request;
    const [fields, trailers] = [plain(request.headers), plain(request.trailers)];
    json(answer, { name, method, url, version: httpVersion, raw: rawHeaders, fields, body: body.length, trailers });
  },

  /** What has come so far. */
  "/seen": (request, answer) => json(answer, seen),

  /** Sends the body back while it comes. */
  "/echo": (request, answer) => {
    const how = request.headers["content-length"] === undefined ? "chunked" : "counted";
    answer.setHeader("x-asked", `${request.method} ${how} ${request.httpVersion}`);
    answer.flushHeaders?.();
    request.pipe(answer);
  },

  /** A body in pieces, and a trailer. */
  "/trailers": async (request, answer) => {
    const body = await read(request);
    answer.setHeader("trailer", "x-sum, x-seen");
    answer.write("one ");
    await new Promise((resolve) => setImmediate(resolve));
    answer.write("two");
    answer.addTrailers({ "x-sum": String(body.length), "x-seen": request.trailers["x-sent"] ?? "none" });
    answer.end();
  },

  /** 103, twice, before the answer. */
  "/hints": (request, answer) => {
    if (answer.writeEarlyHints && request.httpVersion !== "2.0") {
      answer.writeEarlyHints({ link: "</a.css>; rel=preload; as=style" });
      answer.writeEarlyHints({ link: "</b.js>; rel=preload; as=script" });
    } else {
      answer.stream.additionalHeaders({ ":status": 103, link: "</a.css>; rel=preload; as=style" });
      answer.stream.additionalHeaders({ ":status": 103, link: "</b.js>; rel=preload; as=script" });
    }
    answer.end("hinted");
  },

  /** No length, and no more framing than the end of the connection where there is none better. */
  "/pieces": async (request, answer) => {
    for (let piece = 0; piece < 50; piece += 1) {
      if (!answer.write(`piece ${piece}\n`)) await once(answer, "drain");
      await new Promise((resolve) => setImmediate(resolve));
    }
    answer.end();
  },

  /** Some megabytes, as fast as they are taken. */
  "/large": async (request, answer) => {
    const chunk = Buffer.alloc(65536, 7);
    const count = Number(new URL(request.url, "http://a").searchParams.get("megabytes")) * 16;
    request.on("close", () => (answer.isGone = true));
    for (let sent = 0; sent < count && !answer.destroyed; sent += 1) {
      if (!answer.write(chunk)) await Promise.race([once(answer, "drain"), once(answer, "close")]);
    }
    answer.end();
  },

  /** A stream of events; each waits for a request of /next. */
  "/events": (request, answer) => {
    const id = new URL(request.url, "http://a").searchParams.get("id");
    answer.setHeader("content-type", "text/event-stream");
    answer.setHeader("cache-control", "no-cache");
    answer.flushHeaders?.();
    streams.set(id, { answer, count: 0 });
    answer.on("close", () => streams.delete(id));
    answer.write("id: 0\ndata: event 0\n\n");
  },

  "/next": (request, answer) => {
    const stream = streams.get(new URL(request.url, "http://a").searchParams.get("id"));
    if (!stream) {
      answer.statusCode = 404;
      return answer.end("no such stream");
    }
    stream.count += 1;
    stream.answer.write(`id: ${stream.count}\ndata: event ${stream.count}\n\n`);
    return answer.end(String(stream.count));
  },

  /** Ends a stream of events. */
  "/end": (request, answer) => {
    streams.get(new URL(request.url, "http://a").searchParams.get("id"))?.answer.end("data: over\n\n");
    answer.end("ended");
  },

  /** Whether somebody listens to events of this id. */
  "/listens": (request, answer) =>
    answer.end(String(streams.has(new URL(request.url, "http://a").searchParams.get("id")))),

  /** The status that the query names, without a look at the body. */
  "/status": (request, answer) => {
    answer.statusCode = Number(new URL(request.url, "http://a").searchParams.get("code"));
    answer.setHeader("x-backend", name);
    answer.end(answer.statusCode === 304 || answer.statusCode === 204 ? undefined : `status ${answer.statusCode}`);
  },

  /** Text that gets much shorter when it is compressed. */
  "/text": (request, answer) => {
    answer.setHeader("content-type", "text/plain; charset=utf-8");
    answer.setHeader("etag", '"one"');
    answer.end("The towpath runs along the canal. ".repeat(2000));
  },

  /** Bytes of a picture, which nobody compresses. */
  "/picture": (request, answer) => {
    answer.setHeader("content-type", "image/png");
    answer.end(Buffer.alloc(20000));
  },

  /** Cookies of its own. */
  "/cookies": (request, answer) => {
    answer.setHeader("set-cookie", ["a=1; Path=/", "b=2; Path=/; HttpOnly"]);
    answer.end(request.headers.cookie ?? "none");
  },
};

function serve(request, answer) {
  const action = actions[request.url.split("?")[0]];
  if (request.url !== "/seen") seen.push(`${request.method} ${request.url}`);
  answer.setHeader("x-served-by", name);
  // A client that leaves is no news.
  request.on("error", () => {});
  answer.on("error", () => {});
  if (!action) {
    answer.statusCode = 404;
    answer.end("not here");
    return;
  }
  Promise.resolve(action(request, answer)).catch(() => answer.destroy?.());
}

/** A request with `Expect: 100-continue`: refused at once where its path says so. */
function checkContinue(request, answer) {
  if (request.url.startsWith("/status")) return serve(request, answer);
  answer.writeContinue();
  return serve(request, answer);
}

/** Upgrades are refused, in words. */
function upgrade(request, socket) {
  socket.on("error", () => {});
  socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nX-Backend: ");
  socket.end(`${name}\r\n\r\nrefused`);
}

const options = { keepAliveTimeout: Number(kept), requestTimeout: 0 };
const server = http.createServer(options, serve);
server.on("checkContinue", checkContinue).on("upgrade", upgrade);
server.listen(Number(port), "127.0.0.1");
const h2 = http2.createServer({ settings: { maxConcurrentStreams: 1000 } }, serve);
h2.on("checkContinue", checkContinue).on("sessionError", () => {});
h2.listen(Number(portOfH2), "127.0.0.1");
