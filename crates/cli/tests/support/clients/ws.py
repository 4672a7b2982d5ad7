"""WebSocket by the library websockets: a server that sends every message back, and a client of one.

Usage: ws.py serve PORT, or ws.py client URL CA SECONDS, which is silent for so long and prints how it ended.
"""

import asyncio
import http
import ssl
import sys

import websockets


async def echo(socket, _path):
    async for message in socket:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            await socket.close(int(code), reason)
            return
        await socket.send(message)


async def refuse(path, _fields):
    if path == "/refused":
        return http.HTTPStatus.FORBIDDEN, [("X-Why", "not you")], b"refused\n"
    return None


async def serve(port):
    options = {"max_size": None, "subprotocols": ["chat"], "process_request": refuse, "ping_interval": None}
    async with websockets.serve(echo, "127.0.0.1", int(port), **options):
        await asyncio.Future()


async def client(url, ca, seconds):
    tls = ssl.create_default_context(cafile=ca) if url.startswith("wss:") else None
    options = {"max_size": None, "subprotocols": ["chat"], "ping_interval": None, "ssl": tls}
    async with websockets.connect(url, **options) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        for size in (0, 1, 125, 126, 65_535, 65_536, 3_000_000):
            message = bytes(range(256)) * (size // 256) + bytes(size % 256)
            await socket.send(message)
            assert await socket.recv() == message, size
        # Many on their way at once.
        await asyncio.gather(*(socket.send(f"message {number}") for number in range(500)))
        for number in range(500):
            assert await socket.recv() == f"message {number}", number
        await asyncio.sleep(float(seconds))
        await (await socket.ping())
        await socket.send("still here")
        assert await socket.recv() == "still here"
        await socket.send("close 4001 good bye")
        await socket.wait_closed()
        theirs = f"{socket.close_code} {socket.close_reason}"
    async with websockets.connect(url, **options) as socket:
        await socket.close(4002, "mine")
        print(f"{theirs}, {socket.close_code} {socket.close_reason}")


asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
