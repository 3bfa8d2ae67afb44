"""Keeps many calls in flight in one thread. Each goes on when its socket is ready.

`pool` has a few such threads. Not asyncio, and not a thread for each call: what both cost is in
docs/decisions/0017-one-thread-decides.md.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple

from worker.calls.connection import CutOff, SocketWait
from worker.model import CallResult
from worker.stop import start_thread
from worker.words import CallError

CallCoroutine = Coroutine[SocketWait, None, CallResult]


class Ended(NamedTuple):
    """A call is over. `number` is its broadcast's, counted from 0; an exception is a bug."""

    number: int
    outcome: CallResult | Exception


class _InFlight(NamedTuple):
    number: int
    call: CallCoroutine
    wait: SocketWait


class Loop:
    """A daemon thread that runs calls, and gives those that have ended to `post`, some at a time.

    Another thread calls the public methods; they tell this one what to do.
    """

    def __init__(self, post: Callable[[list[Ended]], None]) -> None:
        self._post = post
        self._started = 0  # counted by the thread that starts calls …
        self._over = 0  # … and by this one
        self._orders: deque[Callable[[], None]] = deque()
        self._asleep = False
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._wakeup, select.EPOLLIN)
        self._waiting: dict[int, _InFlight] = {}  # by the socket's file descriptor
        self._next_ends_at = math.inf  # no call's time is up before
        self._ended: list[Ended] = []
        start_thread(self._run)

    @property
    def in_flight(self) -> int:
        """The number of calls that are started and not over."""
        return self._started - self._over

    def start(self, number: int, calls: Sequence[CallCoroutine]) -> None:
        """Starts the calls soon. `number` is their broadcast's."""
        self._started += len(calls)
        self._order(lambda: self._start(number, calls))

    def cut(self, number: int, error_type: CallError) -> None:
        """Ends the calls of this broadcast soon, except those whose response has arrived."""
        self._order(lambda: self._cut(number, error_type))

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        if self._asleep:
            os.eventfd_write(self._wakeup, 1)

    # --- in its own thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                self._asleep = True  # from here on each order wakes this thread
                self._go_on(0.0 if self._orders else self._next_ends_at - time.monotonic())
                while self._orders:
                    self._orders.popleft()()
                if self._ended:
                    ended, self._ended = self._ended, []
                    self._over += len(ended)
                    self._post(ended)
        except Exception as error:  # noqa: BLE001 - a bug ends the run, in the main thread
            number = next((flying.number for flying in self._waiting.values()), 0)
            self._post([Ended(number, error)])

    def _go_on(self, seconds: float) -> bool:
        """Waits `seconds` at most, runs the calls that are ready, and ends those whose time is up.

        Returns True if a socket was ready, or an order came.
        """
        ready = self._look(seconds)
        now = time.monotonic()
        if now >= self._next_ends_at:
            # A pod that answered while this process was held up (SIGSTOP, a frozen cgroup) is not
            # late: the call's time is up, but its answer has not been read yet.
            ready = self._look(0.0) or ready
            self._throw(TimeoutError, lambda flying: flying.wait.ends_at <= now)
            ends = (flying.wait.ends_at for flying in self._waiting.values())
            self._next_ends_at = min(ends, default=math.inf)
        return ready

    def _look(self, seconds: float) -> bool:
        """Waits `seconds` at most, and runs the calls that are ready. Returns as `_go_on` does."""
        timeout = max(seconds, 0.0) if seconds < math.inf else None
        ready = self._poll.poll(timeout, len(self._waiting) + 1)
        self._asleep = False
        for fileno, _ in ready:
            if fileno == self._wakeup:
                os.eventfd_read(self._wakeup)
            else:
                number, call, wait = self._waiting.pop(fileno)
                self._resume(number, call, wait)
        return bool(ready)

    def _cut(self, number: int, error_type: CallError) -> None:
        while self._go_on(0.0):  # reads all that has arrived; each response has its limit
            pass
        self._throw(lambda: CutOff(error_type), lambda flying: flying.number == number)

    def _start(self, number: int, calls: Sequence[CallCoroutine]) -> None:
        for call in calls:
            self._resume(number, call, None)

    def _resume(self, number: int, call: CallCoroutine, before: SocketWait | None) -> None:
        """Runs a call from its start, or from the wait `before`, until its next wait or its end."""
        try:
            wait = call.send(None)
            if before is None:
                self._poll.register(wait.fileno, wait.event)
            elif wait.event != before.event:
                self._poll.modify(wait.fileno, wait.event)
        except StopIteration as end:  # its socket is closed: epoll(7) has dropped it
            self._ended.append(Ended(number, end.value))
        except Exception as error:  # noqa: BLE001 - a bug ends the run, in the main thread
            self._ended.append(Ended(number, error))
        else:
            self._waiting[wait.fileno] = _InFlight(number, call, wait)
            self._next_ends_at = min(self._next_ends_at, wait.ends_at)

    def _throw(
        self, make_error: Callable[[], Exception], concerned: Callable[[_InFlight], bool]
    ) -> None:
        """Ends each call for which `concerned` is true, by an error that is raised in it."""
        for fileno, flying in tuple(self._waiting.items()):
            if concerned(flying):
                del self._waiting[fileno]
                try:
                    flying.call.throw(make_error())
                    raise RuntimeError("a call went on after its end")
                except StopIteration as end:
                    self._ended.append(Ended(flying.number, end.value))
                except Exception as bug:  # noqa: BLE001 - as above
                    self._ended.append(Ended(flying.number, bug))
