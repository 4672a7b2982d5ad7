"""Posts again and again on kept connections, with pauses about as long as servers keep theirs; prints how many went wrong.

Usage: posts.py URL CLIENTS ROUNDS SHORTEST LONGEST, the pauses in seconds.
"""

import asyncio
import random
import sys

import aiohttp


async def client(session, url, rounds, pauses):
    wrong = []
    for number in range(rounds):
        await asyncio.sleep(random.uniform(*pauses))
        try:
            async with session.post(url, data=b"x" * 1000) as answer:
                text = await answer.text()
                if answer.status != 200:
                    wrong.append(f"{answer.status} {text}")
        except aiohttp.ClientError as error:
            wrong.append(repr(error))
    return wrong


async def main(url, clients, rounds, shortest, longest):
    pauses = float(shortest), float(longest)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        each = await asyncio.gather(*(client(session, url, int(rounds), pauses) for _ in range(int(clients))))
    wrong = [text for one in each for text in one]
    print(len(wrong), *wrong[:10], sep="\n")


asyncio.run(main(*sys.argv[1:]))
