// Sends a body in two pieces with a trailer, and prints the answer and its trailers as JSON.
//
// Usage: node trailers.cjs LIBRARIES h1|h2 URL CA

const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const http2 = require("node:http2");

const [version, url, caFile] = process.argv.slice(3);
const ca = fs.readFileSync(caFile);

function print(status, body, trailers) {
  console.log(JSON.stringify({ status, body, trailers: Object.fromEntries(Object.entries(trailers)) }));
}

function byH1() {
  const { request: make } = url.startsWith("https:") ? https : http;
  const headers = { "Transfer-Encoding": "chunked", Trailer: "X-Sent" };
  const request = make(url, { method: "POST", ca, headers }, (answer) => {
    let body = "";
    answer.on("data", (data) => (body += data));
    answer.on("end", () => print(answer.statusCode, body, answer.trailers));
  });
  request.write("first ");
  request.addTrailers({ "X-Sent": "after it" });
  request.end("second");
}

function byH2() {
  const { origin, pathname } = new URL(url);
  const session = http2.connect(origin, { ca });
  const stream = session.request({ ":method": "POST", ":path": pathname }, { waitForTrailers: true });
  let [status, body, trailers] = [0, "", {}];
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-sent": "after it" }));
  stream.on("response", (fields) => (status = fields[":status"]));
  stream.on("trailers", (fields) => (trailers = fields));
  stream.on("data", (data) => (body += data));
  stream.on("close", () => {
    print(status, body, trailers);
    session.close();
  });
  stream.write("first ");
  stream.end("second");
}

(version === "h2" ? byH2 : byH1)();
