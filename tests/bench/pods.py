"""Pods for benchmarks: one process that answers 200 on many loopback addresses, fast.

`python -m tests.bench.pods FIRST_ADDRESS COUNT PORT`. It writes "ready"; then, for each line on
standard input, one of JSON: how many requests came since the last, and the seconds that they took
from first packet to last.
"""

from __future__ import annotations

import ipaddress
import json
import resource
import select
import socket
import sys
import time

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def addresses(first: str, count: int) -> list[str]:
    start = ipaddress.IPv4Address(first)
    return [str(start + number) for number in range(count)]


def main(first: str, count: int, port: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    poll = select.epoll()
    listeners: dict[int, socket.socket] = {}
    for address in addresses(first, count):
        listener = socket.create_server((address, port), backlog=64)
        listener.setblocking(False)
        listeners[listener.fileno()] = listener
        poll.register(listener, select.EPOLLIN)
    poll.register(sys.stdin, select.EPOLLIN)
    print("ready", flush=True)
    connections: dict[int, socket.socket] = {}
    requests, first_at, last_at = 0, 0.0, 0.0
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in listeners:
                first_at = first_at or time.monotonic()
                connection, _ = listeners[descriptor].accept()
                connections[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
            elif descriptor in connections:
                connection = connections.pop(descriptor)
                if connection.recv(65536):
                    connection.send(RESPONSE)
                    requests, last_at = requests + 1, time.monotonic()
                poll.unregister(descriptor)
                connection.close()
            else:
                if not sys.stdin.readline():
                    return
                seconds = last_at - first_at
                print(json.dumps({"requests": requests, "seconds": seconds}), flush=True)
                requests, first_at, last_at = 0, 0.0, 0.0


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
