"""A few threads that make HTTP calls, each of which keeps many calls in flight."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from worker.calls.loop import CallCoroutine, Ended, Loop
from worker.words import CallError

MAX_THREADS = 4  # they share one interpreter lock: docs/decisions/0017-one-thread-decides.md
CGROUP = Path("/sys/fs/cgroup")


class Pool:
    """Gives calls to the thread that has the fewest. For one thread alone to use.

    The pool's threads give the calls that have ended to `post`. `size`: the most threads that
    there may be; a thread starts when there are calls for it.
    """

    def __init__(self, post: Callable[[list[Ended]], None], size: int) -> None:
        self._post = post
        self._size = size
        self._loops: list[Loop] = []

    @property
    def loads(self) -> list[int]:
        """The number of calls that each thread has in flight."""
        return [loop.in_flight for loop in self._loops]

    def start(self, number: int, calls: Sequence[CallCoroutine]) -> None:
        """Starts the calls soon. `number` is their broadcast's."""
        while len(self._loops) < min(self._size, sum(self.loads) + len(calls)):
            self._loops.append(Loop(self._post))
        share = math.ceil(len(calls) / len(self._loops))
        for first in range(0, len(calls), share):
            loop = min(self._loops, key=lambda loop: loop.in_flight)
            loop.start(number, calls[first : first + share])

    def cut(self, number: int, error_type: CallError) -> None:
        """Ends the calls of this broadcast, which fail with this type unless they are answered."""
        for loop in self._loops:
            loop.cut(number, error_type)


def pool_size() -> int:
    """The number of threads that a pool of this process should have."""
    return thread_count(len(os.sched_getaffinity(0)), cpu_quota(CGROUP))


def thread_count(processors: int, quota: float | None) -> int:
    """The number of whole processors that the container may use, but from 1 to 4."""
    allowed = min(processors, quota or processors)
    return max(1, min(MAX_THREADS, int(allowed)))


def cpu_quota(cgroup: Path) -> float | None:
    """The processors that a container may use, by its cgroup's files; None if nothing limits it.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files, and version 1. Some
    runtimes have empty files there, or files with other values.
    """
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
    return None
