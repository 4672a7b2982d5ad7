"""Gets URL twenty times with a library of Python on one connection; prints status and length of the last answer, and how many there were.

Usage: fetch.py LIBRARY URL CA, where LIBRARY is requests, httpx or aiohttp.
"""

import asyncio
import ssl
import sys

COUNT = 20


def with_requests(url, ca):
    import requests

    with requests.Session() as session:
        session.trust_env, session.verify = False, ca
        answers = [session.get(url) for _ in range(COUNT)]
        return [(answer.status_code, answer.text) for answer in answers]


def with_httpx(url, ca):
    import httpx

    with httpx.Client(verify=ca, trust_env=False) as client:
        answers = [client.get(url) for _ in range(COUNT)]
        return [(answer.status_code, answer.text) for answer in answers]


async def with_aiohttp(url, ca):
    import aiohttp

    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca))
    answers = []
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(COUNT):
            async with session.get(url) as answer:
                answers.append((answer.status, await answer.text()))
    return answers


library, *arguments = sys.argv[1:]
result = globals()[f"with_{library}"](*arguments)
answers = asyncio.run(result) if asyncio.iscoroutine(result) else result
assert all(answer == answers[0] for answer in answers), answers
print(answers[-1][0], len(answers[-1][1]), len(answers))
