"""Calls in flight, all in one thread: each goes on when its socket is ready or its time is up.

Not asyncio, which takes nearly twice the CPU time for a call: docs/decisions/0013-one-thread.md.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Coroutine, Iterator

from worker.calls.connection import Cut, Wait
from worker.model import CallResult

Call = Coroutine[Wait, None, CallResult]


class Loop:
    """Runs calls that await nothing but one `Connection` each."""

    def __init__(self, stop_fileno: int) -> None:
        """`stop_fileno`: readable when there is a stop signal, which ends a wait, too."""
        self._stop_fileno = stop_fileno
        self._poll = select.epoll()
        self._poll.register(stop_fileno, select.EPOLLIN)
        self._waiting: dict[int, tuple[Call, Wait]] = {}  # by the socket's file descriptor
        self._next_end_at = math.inf  # nobody's time is up before

    def __len__(self) -> int:
        """How many calls are in flight."""
        return len(self._waiting)

    def forget_stop(self) -> None:
        """From here on it ends no wait: it stays readable."""
        self._poll.unregister(self._stop_fileno)

    def start(self, call: Call) -> CallResult | None:
        """Returns the result if the call was over without a wait."""
        return self._resume(call, None)

    def run(self, until: float) -> Iterator[CallResult]:
        """Waits once, at most `until`. Yields the results of calls that ended."""
        left = min(until, self._next_end_at) - time.monotonic()
        for fileno, _ in self._poll.poll(max(left, 0.0) if left < math.inf else None):
            if fileno != self._stop_fileno:
                call, wait = self._waiting.pop(fileno)
                if result := self._resume(call, wait):
                    yield result
        # Only now: a pod that answered while the log held this process up is not late.
        now = time.monotonic()
        if now >= self._next_end_at:
            yield from self._throw(TimeoutError, now)
            self._next_end_at = min(
                (w.ends_at for _, w in self._waiting.values()), default=math.inf
            )

    def cut(self) -> Iterator[CallResult]:
        """Ends all calls. Yields their results."""
        return self._throw(Cut, math.inf)

    def close(self) -> None:
        """Drops the calls in flight, if any, without a result."""
        for call, _ in self._waiting.values():
            call.close()
        self._poll.close()

    def _resume(self, call: Call, before: Wait | None) -> CallResult | None:
        try:
            wait = call.send(None)
        except StopIteration as end:  # its socket is closed: epoll(7) has dropped it
            result: CallResult = end.value
            return result
        if before is None:
            self._poll.register(wait.fileno, wait.event)
        elif wait.event != before.event:
            self._poll.modify(wait.fileno, wait.event)
        self._waiting[wait.fileno] = call, wait
        self._next_end_at = min(self._next_end_at, wait.ends_at)
        return None

    def _throw(self, error: type[Exception], now: float) -> Iterator[CallResult]:
        """Ends the calls whose time is up at `now`."""
        for fileno, (call, wait) in tuple(self._waiting.items()):
            if wait.ends_at <= now:
                del self._waiting[fileno]
                try:
                    call.throw(error())
                except StopIteration as end:
                    yield end.value
