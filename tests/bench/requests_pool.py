"""What the worker is compared with: a thread pool of requests.post calls.

`python -m tests.bench.requests_pool FIRST_ADDRESS COUNT PORT CONCURRENCY`
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import requests

from tests.bench.pods import addresses


def main(first: str, count: int, port: int, concurrency: int) -> None:
    urls = [f"http://{address}:{port}/clear-caches" for address in addresses(first, count)]
    with ThreadPoolExecutor(concurrency) as pool:
        for response in pool.map(lambda url: requests.post(url, timeout=10), urls):
            response.raise_for_status()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
