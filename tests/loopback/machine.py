"""What has to be asked for again and again, since nobody tells of it; and ports that are free."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from tests.loopback.serving import HANG_SECONDS

ADDRESS = "127.0.0.1"
TICK_SECONDS = 0.05

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T]) -> T:
    """The first value that is true. It may be a server's that takes a minute to start."""
    seconds = 10 * HANG_SECONDS
    end = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(TICK_SECONDS)
    return value


def free_port() -> int:
    """A port that is free for both UDP and TCP. None of those that the system gives away itself."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tcp.bind((ADDRESS, port))
                udp.bind((ADDRESS, port))
            except OSError:
                continue
            return port
