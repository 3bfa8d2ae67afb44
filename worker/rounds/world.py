"""The world as the rounds meet it: clock, questions, calls in flight, signals, one mailbox.

`run` runs against a `World`; this is the real one. Questions and calls go on in other threads, and
everything that comes of them arrives in the mailbox of the main thread.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Mapping, Sequence
from queue import Empty
from typing import Protocol

from worker.calls.call import Caller
from worker.calls.loop import Ended
from worker.calls.pool import Pool, pool_size
from worker.discovery.source import Source
from worker.model import Endpoint, Exchange
from worker.stop import Done, Stop, StopSignal
from worker.words import CallError

Message = Done | Ended | StopSignal


class World(Protocol):
    """All that the rounds need of the world. Times are seconds of one monotonic clock.

    `number` is a broadcast's place in the list, from 0. Nothing but `receive` waits.
    """

    def now(self) -> float: ...

    def ask(self, number: int, ends_at: float) -> None:
        """Asks who the endpoints are. Done arrives, by `ends_at` unless something hangs."""

    def call(
        self, number: int, exchange: Exchange, endpoints: Sequence[Endpoint], ends_at: float
    ) -> None:
        """Starts this exchange with each endpoint. Ended arrives for each, by `ends_at`."""

    def cut(self, number: int, error_type: CallError) -> None:
        """Ends the broadcast's calls in flight, which fail with this type unless answered."""

    def receive(self, until: float) -> Sequence[Message]:
        """The messages that have arrived, in order. Waits for one, but not past `until`."""


class LiveWorld:
    """Real sockets in real time. `sources` are by the broadcast's number."""

    def __init__(
        self, sources: Sequence[Source], callers: Mapping[Exchange, Caller], stop: Stop
    ) -> None:
        self._sources = sources
        self._callers = callers
        self._mailbox = stop.mailbox
        self._threads = stop.threads
        self._pool = Pool(stop.mailbox.put, pool_size())

    def now(self) -> float:
        return time.monotonic()

    def ask(self, number: int, ends_at: float) -> None:
        self._threads.start(number, lambda: self._sources[number](ends_at))

    def call(
        self, number: int, exchange: Exchange, endpoints: Sequence[Endpoint], ends_at: float
    ) -> None:
        call = self._callers[exchange].call
        # A span id has to be unique, not secret: os.urandom is slower.
        calls = [
            call(endpoint, f"{random.getrandbits(64):016x}", ends_at) for endpoint in endpoints
        ]
        self._pool.start(number, calls)

    def cut(self, number: int, error_type: CallError) -> None:
        self._pool.cut(number, error_type)

    def receive(self, until: float) -> Sequence[Message]:
        messages: list[Message] = []
        timeout = max(until - time.monotonic(), 0.0) if until < math.inf else None
        with contextlib.suppress(Empty):
            messages += self._mailbox.get(timeout=timeout)
            while True:
                messages += self._mailbox.get_nowait()
        return messages
