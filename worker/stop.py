"""SIGTERM and SIGINT, as the rest of the program sees them.

Imported before anything heavy, so that a signal is never lost. What stopping means is decided in
`rounds`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A stop signal ended a command that calls nobody."""


class StopSignal(NamedTuple):
    """One signal, as it arrives in the mailbox."""

    number: int


class Stop:
    """The stop signals so far, and the main thread's mailbox, which they and all results reach."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.mailbox: SimpleQueue[Sequence[Any]] = SimpleQueue()

    def install(self) -> None:
        """Takes SIGTERM and SIGINT over, before any other thread starts.

        A thread waits for them and posts each to the mailbox. A handler would not do: one that runs
        just before the main thread falls asleep on its mailbox does not wake it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # in all threads that follow, too
        start_thread(self._wait)

    def _wait(self) -> None:
        while True:
            number = signal.sigwait(STOP_SIGNALS)
            self.signals.append(number)
            self.mailbox.put([StopSignal(number)])

    @property
    def requested(self) -> bool:
        """Whether a signal arrived: for what may not wait for long, such as writing the log."""
        return bool(self.signals)


def start_thread(target: Callable[[], None]) -> threading.Thread:
    """Starts a daemon thread: one that the end of the program does not wait for."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread
