"""Slow pods: one process that answers 200 on many loopback addresses.

`python -m tests.bench.pods FIRST_ADDRESS COUNT PORT DELAY_SECONDS HANG_EVERY`: each answer is sent
DELAY_SECONDS after its request. One pod in HANG_EVERY never answers; with 0, all do. The process
writes "ready". Then, for each line on standard input, it writes how many requests came since the
line before, and the seconds from the first connection to the last answer.
"""

from __future__ import annotations

import ipaddress
import resource
import select
import socket
import sys
import time
from collections import deque

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def main(first: str, count: int, port: int, delay_seconds: float, hang_every: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    poll = select.epoll()
    listeners: dict[int, tuple[socket.socket, bool]] = {}  # and whether it answers
    for number in range(count):
        address = str(ipaddress.IPv4Address(first) + number)
        listener = socket.create_server((address, port), backlog=64)
        listener.setblocking(False)
        answers = not hang_every or number % hang_every != hang_every - 1
        listeners[listener.fileno()] = listener, answers
        poll.register(listener, select.EPOLLIN)
    poll.register(sys.stdin, select.EPOLLIN)
    print("ready", flush=True)
    connections: dict[int, tuple[socket.socket, bool]] = {}
    due: deque[tuple[float, socket.socket]] = deque()
    requests, first_at, last_at = 0, 0.0, 0.0
    while True:
        # epoll's own timeout counts whole milliseconds, which is too coarse for a pod's delay.
        select.select([poll], [], [], max(due[0][0] - time.monotonic(), 0) if due else None)
        for descriptor, _ in poll.poll(0):
            if descriptor in listeners:
                first_at = first_at or time.monotonic()
                listener, answers = listeners[descriptor]
                connection, _ = listener.accept()
                connections[connection.fileno()] = connection, answers
                poll.register(connection, select.EPOLLIN)
            elif descriptor in connections:
                connection, answers = connections[descriptor]
                data = connection.recv(65536)
                if data and not answers:
                    continue  # the connection stays open until the client gives up
                del connections[descriptor]
                poll.unregister(connection)
                if data:
                    due.append((time.monotonic() + delay_seconds, connection))
                else:
                    connection.close()
            else:
                if not sys.stdin.readline():
                    return
                print(requests, last_at - first_at, flush=True)
                requests, first_at, last_at = 0, 0.0, 0.0
        while due and due[0][0] <= time.monotonic():
            _, connection = due.popleft()
            connection.send(RESPONSE)
            requests, last_at = requests + 1, time.monotonic()
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
