"""The world as one broadcast meets it: the clock, DNS, calls in flight, and the stop signal.

`broadcast` runs against a `World`; this is the real one. All of it is one thread's: ledger and log
are never shared, and a signal meets no race.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

from worker.calls.call import Transport
from worker.calls.loop import Call, Loop
from worker.discovery.dns.lookup import Lookup
from worker.model import Answer, Broadcast, CallResult, Endpoint, ResolutionFailure
from worker.stop import Stop

URGENT_SECONDS = 0.05  # from a second signal to its effect, at most


class World(Protocol):
    """What `broadcast` needs of the world. Times are seconds of one monotonic clock."""

    def now(self) -> float: ...

    def stopped(self) -> bool:
        """Whether a stop signal arrived."""

    def wait(self, seconds: float) -> None:
        """Returns early at a stop signal."""

    def ask(self, ends_at: float) -> Answer | ResolutionFailure:
        """Resolves the Service's name. Raises Stopped."""

    def calls(self, endpoints: Sequence[Endpoint], ends_at: float) -> Iterator[CallResult]:
        """Calls the endpoints, at most `concurrency` at once; yields each result when it is there.

        No call starts after `ends_at` or a stop signal.
        """


class LiveWorld:
    """Real sockets in real time. `on_stop` is told once, by the first who notices the signal."""

    def __init__(
        self,
        broadcast: Broadcast,
        lookup: Lookup,
        transport: Transport,
        stop: Stop,
        grace_seconds: float,
        on_stop: Callable[[int], None],
    ) -> None:
        self._broadcast = broadcast
        self._lookup = lookup
        self._transport = transport
        self._stop = stop
        self._grace_seconds = grace_seconds
        self._on_stop = on_stop
        self._next_start_at = 0.0  # `stagger` holds across rounds

    def now(self) -> float:
        return time.monotonic()

    def stopped(self) -> bool:
        if self._stop.requested and not self._stop.noticed:
            self._stop.noticed = True
            self._on_stop(self._stop.signals[0])
        return self._stop.requested

    def wait(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def ask(self, ends_at: float) -> Answer | ResolutionFailure:
        return self._lookup.ask(ends_at)

    def calls(self, endpoints: Sequence[Endpoint], ends_at: float) -> Iterator[CallResult]:
        """As World.calls. At a stop signal, calls in flight get the grace period, then are cut."""
        todo = deque(endpoints)
        with closing(Loop(self._stop.fileno())) as loop:
            while not self._stop.requested:
                now = time.monotonic()
                if now >= ends_at:
                    todo.clear()
                if not todo and not len(loop):
                    break
                if not todo or len(loop) == self._broadcast.concurrency:
                    yield from loop.run(math.inf)
                elif now < self._next_start_at:
                    yield from loop.run(min(self._next_start_at, ends_at))
                else:
                    self._next_start_at = now + self._broadcast.stagger_seconds
                    if result := loop.start(self._call(todo.popleft())):
                        yield result
            if self._stop.requested:
                yield from self._end(loop)

    def _call(self, endpoint: Endpoint) -> Call:
        span_id = f"{random.getrandbits(64):016x}"  # os.urandom is slower
        return self._transport.call(endpoint, span_id)

    def _end(self, loop: Loop) -> Iterator[CallResult]:
        self.stopped()  # which may log it: no call starts after that line
        loop.forget_stop()
        cut_at = time.monotonic() + self._grace_seconds
        while len(loop) and not self._stop.urgent and (now := time.monotonic()) < cut_at:
            yield from loop.run(min(cut_at, now + URGENT_SECONDS))
        yield from loop.cut()
