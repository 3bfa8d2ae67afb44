"""SIGTERM and SIGINT, the mailbox of the main thread, and threads for whatever blocks.

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
# So many questions reach a nameserver at once. With more, a slow one would only be slower.
MAX_THREADS = 16

Mailbox = SimpleQueue[Sequence[Any]]
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
    """A blocking function is over: what it returned, or the exception that it raised."""

    number: int
    outcome: Any


class Threads:
    """Runs blocking functions in daemon threads, at most 16 at once; the others wait."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._todo: SimpleQueue[tuple[int, Callable[[], Any]]] = SimpleQueue()
        self._threads = 0
        self._idle = threading.Semaphore(0)

    def start(self, number: int, blocking: Callable[[], Any]) -> None:
        """Runs the function soon. Done arrives in the mailbox, with this number."""
        self._todo.put((number, blocking))
        if not self._idle.acquire(blocking=False) and self._threads < MAX_THREADS:
            self._threads += 1
            start_thread(self._carry_out)

    def _carry_out(self) -> None:
        while True:
            number, blocking = self._todo.get()
            try:
                outcome = blocking()
            except Exception as error:  # noqa: BLE001 - it is raised again in the main thread
                outcome = error
            self._idle.release()
            self._mailbox.put([Done(number, outcome)])


class Stop:
    """The main thread's mailbox, which stop signals and all results reach, and its threads.

    `requested` is True once a signal has arrived. `Sink.flush` then waits less long.
    """

    def __init__(self) -> None:
        self.requested = False
        self.mailbox: Mailbox = SimpleQueue()
        self.threads = Threads(self.mailbox)

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
            self.requested = True
            self.mailbox.put([StopSignal(number)])

    def done(self) -> Done:
        """Waits for the next function of `Threads` to end. For the main thread, before any call.

        Raises what the function raised, and Stopped as soon as a stop signal comes.
        """
        (message,) = self.mailbox.get()
        if isinstance(message, StopSignal):
            raise Stopped(message.number)
        assert isinstance(message, Done)
        if isinstance(message.outcome, Exception):
            raise message.outcome
        return message

    def outwait(self, blocking: Callable[[], T]) -> T:
        """The result of a function that may block for ever. Raises as `done` does."""
        self.threads.start(0, blocking)
        return self.done().outcome  # type: ignore[no-any-return]


def start_thread(target: Callable[[], None]) -> threading.Thread:
    """Starts a daemon thread: one that the end of the program does not wait for."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread
