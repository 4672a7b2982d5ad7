// Asks for URL on so many streams of one connection of HTTP/2, prints a line once all have heads, and reads no further.
//
// Usage: node slow.cjs LIBRARIES URL COUNT

const http2 = require("node:http2");

const [url, count] = process.argv.slice(3);
const { origin, pathname, search } = new URL(url);
const session = http2.connect(origin);
let heads = 0;
for (let number = 0; number < Number(count); number += 1) {
  const stream = session.request({ ":path": pathname + search });
  stream.on("response", () => {
    heads += 1;
    if (heads === Number(count)) console.log("all have begun");
  });
}
setTimeout(() => {}, 60_000);
