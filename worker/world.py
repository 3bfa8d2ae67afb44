"""The world as one broadcast meets it: the clock, DNS, a pool of threads, and the stop signal.

`broadcast` runs against a `World`; this is the real one. Results of all threads come to the main
thread through one queue, so that ledger and log are never shared.
"""

from __future__ import annotations

import math
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

from worker.discovery import Lookup
from worker.model import Answer, Broadcast, CallResult, Endpoint, ResolutionFailure
from worker.stop import Stop
from worker.transport import Transport

CUT_AGAIN_SECONDS = 0.05  # a thread may have been about to connect when it was cut off

Item = CallResult | BaseException | Literal["ended", "woken"]


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
        self._next_start_at = 0.0

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
        pool = _Pool(endpoints, self._call, self._broadcast, ends_at, self._next_start_at)
        self._stop.wake = lambda: pool.items.put("woken")
        if self._stop.requested:  # perhaps before there was somebody to wake
            pool.close()
        running = pool.start()
        cut_at = math.inf
        try:
            while running:
                item = _next_item(pool.items, cut_at - time.monotonic())
                if item == "ended":
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                elif isinstance(item, CallResult):
                    yield item
                if self._stop.requested:
                    pool.close()
                    self.stopped()  # which may log it: no call may start after that line
                    cut_at = min(cut_at, time.monotonic() + self._grace_seconds)
                    if self._stop.urgent or time.monotonic() >= cut_at:
                        self._transport.cut()
                        cut_at = time.monotonic() + CUT_AGAIN_SECONDS
        finally:
            pool.close()
            if running:
                self._transport.cut()
            pool.join()
            self._stop.wake = None
            self._next_start_at = pool.next_start_at

    def _call(self, endpoint: Endpoint) -> CallResult:
        span_id = f"{random.getrandbits(64):016x}"  # os.urandom is slower
        return self._transport.call(endpoint, span_id)


def _next_item(items: queue.SimpleQueue[Item], seconds: float) -> Item:
    try:
        return items.get(timeout=None if seconds == math.inf else max(seconds, 0.0))
    except queue.Empty:
        return "woken"


class _Pool:
    """Threads that draw endpoints from one iterator; what they find goes into `items`.

    Plain threads instead of concurrent.futures, which costs each call a tenth of a millisecond.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        call: Callable[[Endpoint], CallResult],
        broadcast: Broadcast,
        ends_at: float,
        next_start_at: float,
    ) -> None:
        self.items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.next_start_at = next_start_at
        self._todo = iter(endpoints)
        self._call = call
        self._stagger_seconds = broadcast.stagger_seconds
        self._ends_at = ends_at
        self._drawing = threading.Lock()
        self._closed = threading.Event()
        count = min(broadcast.concurrency, len(endpoints))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    def start(self) -> int:
        """Returns the number of threads."""
        # Signals are the main thread's: a system call that one interrupts waits without a bound.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            for thread in self._threads:
                thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        return len(self._threads)

    def close(self) -> None:
        """No call starts any more."""
        self._closed.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            while endpoint := self._draw():
                self.items.put(self._call(endpoint))
        except BaseException as error:  # noqa: BLE001 - a bug; the main thread raises it
            self.items.put(error)
        finally:
            self.items.put("ended")

    def _draw(self) -> Endpoint | None:
        with self._drawing:
            early = min(self.next_start_at, self._ends_at) - time.monotonic()
            if early > 0:
                self._closed.wait(early)
            if self._closed.is_set() or time.monotonic() >= self._ends_at:
                return None
            self.next_start_at = time.monotonic() + self._stagger_seconds
            return next(self._todo, None)
