"""Gets URL twice through PROXY with a library of Python, and prints status and text of the second answer.

Usage: clients.py LIBRARY PROXY URL CA, where LIBRARY is requests, httpx, aiohttp or websocket.
"""

import asyncio
import ssl
import sys


def with_requests(proxy, url, ca):
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.proxies, session.verify = {"http": proxy, "https": proxy}, ca
        session.get(url)
        answer = session.get(url)
        return answer.status_code, answer.text


def with_httpx(proxy, url, ca):
    import httpx

    # It resolves names at the proxy, and calls that socks5.
    proxy = proxy.replace("socks5h:", "socks5:")
    with httpx.Client(proxies=proxy, verify=ca, trust_env=False) as client:
        client.get(url)
        answer = client.get(url)
        return answer.status_code, answer.text


def aiohttp_session(proxy, ca):
    """A session, and what each request of it takes more."""
    import aiohttp
    from aiohttp_socks import ProxyConnector

    context = ssl.create_default_context(cafile=ca)
    if proxy.startswith("socks"):
        connector = ProxyConnector.from_url(proxy.replace("socks5h:", "socks5:"), rdns=True, ssl=context)
        return aiohttp.ClientSession(connector=connector), {}
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)), {"proxy": proxy}


async def with_aiohttp(proxy, url, ca):
    session, more = aiohttp_session(proxy, ca)
    async with session:
        async with session.get(url, **more) as answer:
            await answer.read()
        async with session.get(url, **more) as answer:
            return answer.status, await answer.text()


async def with_websocket(proxy, url, ca):
    session, more = aiohttp_session(proxy, ca)
    async with session, session.ws_connect(url, **more) as socket:
        for size in (0, 5, 70_000, 3_000_000):
            message = bytes(range(256)) * (size // 256) + bytes(size % 256)
            await socket.send_bytes(message)
            assert await socket.receive_bytes() == message, size
        await socket.send_str("over")
        return socket._response.status, await socket.receive_str()


library, *arguments = sys.argv[1:]
result = globals()[f"with_{library}"](*arguments)
status, text = asyncio.run(result) if asyncio.iscoroutine(result) else result
print(status, text.strip())
