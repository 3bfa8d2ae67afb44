"""SIGTERM and SIGINT, as the rest of the program sees them.

Imported before anything heavy, so that a signal is never lost. The handler only notes the signal
and wakes whoever waits; what stopping means is decided in `ledger` and done in `broadcast`.
"""

from __future__ import annotations

import os
import select
import signal
from types import FrameType


class Stopped(Exception):
    """A stop signal ended a wait."""


class Stop:
    """The stop signals received so far. `fileno` is readable as soon as there is one."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.noticed = False  # somebody has logged it
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signals.append(number)
        if len(self.signals) == 1:
            os.write(self._writer, b"\0")

    @property
    def requested(self) -> bool:
        return bool(self.signals)

    @property
    def urgent(self) -> bool:
        """Whether a second signal said that calls in flight are to be cut off at once."""
        return len(self.signals) > 1

    def fileno(self) -> int:
        return self._reader

    def wait(self, seconds: float) -> None:
        """Sleeps, but not past a stop signal."""
        select.select([self._reader], [], [], max(seconds, 0.0))
