"""SIGTERM and SIGINT, as the rest of the program sees them.

Imported before anything heavy, so that a signal is never lost. The handler posts to the mailbox of
the main thread and does nothing else; what stopping means is decided in `rounds`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import FrameType
from typing import Any, NamedTuple

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A stop signal ended a command that calls nobody."""


class StopSignal(NamedTuple):
    """One signal, as it arrives in the mailbox."""

    number: int


class Stop:
    """The stop signals so far, and the main thread's mailbox, which they and all results reach.

    SimpleQueue is the queue that a signal handler may put to:
    https://docs.python.org/3/library/queue.html#queue.SimpleQueue.put
    """

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.mailbox: SimpleQueue[Sequence[Any]] = SimpleQueue()

    def install(self) -> None:
        """Takes SIGTERM and SIGINT over."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signals.append(number)
        self.mailbox.put([StopSignal(number)])

    @property
    def requested(self) -> bool:
        """Whether a signal arrived: for what may not wait for long, such as writing the log."""
        return bool(self.signals)


def start_thread(target: Callable[[], None]) -> threading.Thread:
    """Starts a daemon thread: one that the end of the program does not wait for.

    It takes no stop signal, so that each reaches the main thread, and ends its wait, at once.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
