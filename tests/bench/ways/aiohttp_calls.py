"""aiohttp, so many at once. Arguments: NAMESERVER PORT NAME PODS_PORT CONCURRENCY"""

import asyncio
import sys

import aiohttp
import dns.resolver

nameserver, port, name, pods_port, concurrency = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = [nameserver], int(port)
urls = [f"http://{record}:{pods_port}/clear-caches" for record in resolver.resolve(name, "A")]


async def main() -> None:
    connector = aiohttp.TCPConnector(limit=int(concurrency), force_close=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def call(url: str) -> None:
            async with session.post(url) as response:
                await response.read()
                response.raise_for_status()

        await asyncio.gather(*map(call, urls))


asyncio.run(main())
