"""An HTTP server with what nginx has not: it sends bodies back, speaks WebSocket and runs git's server.

Usage: origin.py PORT FOLDER, where FOLDER holds the repositories.
"""

import asyncio
import os
import sys

from aiohttp import WSMsgType, web


async def echo(request):
    """Sends the body of a request back, and tells how it came."""
    body = await request.read()
    how = "chunked" if request.headers.get("Transfer-Encoding") else "counted"
    return web.Response(body=body, headers={"X-Asked": f"{request.method} {how} {len(body)}"})


async def websocket(request):
    """Sends every message back."""
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def git(request):
    """Hands a request to `git http-backend`, which speaks CGI (RFC 3875)."""
    variables = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": sys.argv[2],
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": "somebody",
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path.removeprefix("/git"),
        "QUERY_STRING": request.query_string,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
    }
    pipe = asyncio.subprocess.PIPE
    backend = await asyncio.create_subprocess_exec(
        "git", "http-backend", stdin=pipe, stdout=pipe, env=variables
    )
    output, _ = await backend.communicate(await request.read())
    head, _, body = output.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    status = int(fields.pop("Status", "200").split()[0])
    return web.Response(status=status, headers=fields, body=body)


app = web.Application(client_max_size=0)
app.router.add_route("*", "/echo", echo)
app.router.add_get("/websocket", websocket)
app.router.add_route("*", "/git/{path:.*}", git)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
