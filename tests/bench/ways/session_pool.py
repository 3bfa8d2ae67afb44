"""Threads with a Session each. Arguments: NAMESERVER PORT NAME PODS_PORT CONCURRENCY"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import dns.resolver
import requests

nameserver, port, name, pods_port, concurrency = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = [nameserver], int(port)
urls = [f"http://{record}:{pods_port}/clear-caches" for record in resolver.resolve(name, "A")]
local = threading.local()


def open_session() -> None:
    local.session = requests.Session()


def call(url: str) -> None:
    local.session.post(url, timeout=10).raise_for_status()


with ThreadPoolExecutor(int(concurrency), initializer=open_session) as pool:
    list(pool.map(call, urls))
