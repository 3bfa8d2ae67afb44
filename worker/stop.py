"""SIGTERM and SIGINT, as the rest of the program sees them.

Imported before anything heavy, so that a signal is never lost. What stopping means is decided in
`rounds`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

T = TypeVar("T")


class Stopped(Exception):
    """A stop signal came before anybody was called."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopSignal(NamedTuple):
    """One signal, as it arrives in the mailbox."""

    number: int


class Done(NamedTuple):
    """What a blocking function returned, or raised."""

    value: Any
    error: Exception | None


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

    def outwait(self, blocking: Callable[[], T]) -> T:
        """What the function returns or raises, which may block for ever: it has its own thread.

        Raises Stopped as soon as a stop signal comes. For the main thread, before any call.
        """

        def carry_out() -> None:
            try:
                self.mailbox.put([Done(blocking(), None)])
            except Exception as error:  # noqa: BLE001 - it is raised again in the main thread
                self.mailbox.put([Done(None, error)])

        start_thread(carry_out)
        (message,) = self.mailbox.get()
        if isinstance(message, StopSignal):
            raise Stopped(message.number)
        if message.error:
            raise message.error
        return message.value  # type: ignore[no-any-return]

    @property
    def requested(self) -> bool:
        """Whether a signal arrived: for what may not wait for long, such as writing the log."""
        return bool(self.signals)


def start_thread(target: Callable[[], None]) -> threading.Thread:
    """Starts a daemon thread: one that the end of the program does not wait for."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread
