"""A thread pool of requests.post. Arguments: NAMESERVER PORT NAME PODS_PORT CONCURRENCY"""

import sys
from concurrent.futures import ThreadPoolExecutor

import dns.resolver
import requests

nameserver, port, name, pods_port, concurrency = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = [nameserver], int(port)
urls = [f"http://{record}:{pods_port}/clear-caches" for record in resolver.resolve(name, "A")]


def call(url: str) -> None:
    requests.post(url, timeout=10).raise_for_status()


with ThreadPoolExecutor(int(concurrency)) as pool:
    list(pool.map(call, urls))
