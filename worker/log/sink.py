"""Where lines go: a file descriptor whose reader may be slow, stuck or gone."""

from __future__ import annotations

import os
import select

from worker.stop import Stop

STALL_SECONDS = 30.0
STALL_SECONDS_AFTER_STOP = 0.5
SLICE_SECONDS = 0.1  # how often a wait looks for a stop signal


class Sink:
    """Writes lines to a file descriptor. `lost` tells whether one could not be written.

    A run must end whoever reads its log. So a reader that takes nothing for STALL_SECONDS is given
    up, and after a stop signal sooner: after STALL_SECONDS_AFTER_STOP.
    """

    def __init__(self, descriptor: int, stop: Stop) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self.lost = False

    def write(self, line: bytes) -> None:
        """Writes all of it, or sets `lost`. After that it writes nothing more."""
        while line and not self.lost:
            try:
                self._wait_for_room()
                # A longer write may block even when there is room (pipe(7)).
                line = line[os.write(self._descriptor, line[: select.PIPE_BUF]) :]
            except OSError:
                self.lost = True

    def _wait_for_room(self) -> None:
        """Raises TimeoutError when the reader has taken nothing for too long."""
        patience = STALL_SECONDS
        while not self._room.poll(SLICE_SECONDS * 1000):
            if self._stop.requested:
                patience = min(patience, STALL_SECONDS_AFTER_STOP)
            patience -= SLICE_SECONDS
            if patience <= 0:
                raise TimeoutError

    info = warning = error = write  # structlog calls the method that it was called with
