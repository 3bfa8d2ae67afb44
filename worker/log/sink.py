"""Writes lines to a file descriptor whose reader may be slow, stuck or gone."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque

from worker.stop import Stop, start_thread

# The end of a run waits for the reader: so long without any progress, and so long in all.
PATIENCE_SECONDS = (30.0, 30.0)
PATIENCE_SECONDS_AFTER_STOP = (2.0, 5.0)  # Kubernetes kills 30 s after SIGTERM by default
SLICE_SECONDS = 0.1  # that wait looks for a stop signal so often
# About 40,000 lines of calls, and an eighth of the memory limit in manifests/base.
MAX_BACKLOG_BYTES = 16 * 1024 * 1024


class Sink:
    """Writes lines to a file descriptor, and never waits for its reader before `flush`.

    What the reader does not take at once becomes a backlog, which a thread writes. So a slow
    reader does not keep the pods from being called. `lost`: a line could not be written.
    """

    def __init__(self, descriptor: int, stop: Stop) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._changed = threading.Condition()
        self._writing = False  # there is a thread, which alone writes
        self.lost = False

    def write(self, line: bytes) -> None:
        """Writes the line, or puts it behind the backlog. After a loss it writes nothing more."""
        if not self._writing:
            line = self._write(line, wait=False)
        if line and not self.lost:
            self._put(line)

    info = warning = error = write  # structlog calls the method of the level

    def flush(self) -> None:
        """Waits until all is written, but not for long: a run must end whoever reads its log.

        What is left then is lost. After a stop signal it waits less long.
        """
        with self._changed:
            began_at = progressed_at = time.monotonic()
            left = self._backlog_bytes
            while left and not self.lost:
                self._changed.wait(SLICE_SECONDS)
                now = time.monotonic()
                if self._backlog_bytes < left:
                    left, progressed_at = self._backlog_bytes, now
                stopped = self._stop.requested
                stalled, in_all = PATIENCE_SECONDS_AFTER_STOP if stopped else PATIENCE_SECONDS
                if now - progressed_at >= stalled or now - began_at >= in_all:
                    self.lost = True

    def _write(self, data: bytes, wait: bool) -> bytes:
        """Writes as much as there is room for, or, with `wait`, all of it. Returns the rest."""
        try:
            # `flush` may give up while this waits: after a loss, the reader gets nothing more.
            while data and self._room.poll(None if wait else 0) and not self.lost:
                # A longer write may block even when there is room (pipe(7)).
                data = data[os.write(self._descriptor, data[: select.PIPE_BUF]) :]
        except OSError:
            self.lost = True
        return b"" if self.lost else data

    def _put(self, line: bytes) -> None:
        with self._changed:
            self._backlog.append(line)
            self._backlog_bytes += len(line)
            self.lost = self.lost or self._backlog_bytes > MAX_BACKLOG_BYTES
            if not self._writing:
                self._writing = True
                start_thread(self._write_backlog)
            self._changed.notify_all()

    def _write_backlog(self) -> None:
        """Runs in a thread that never ends: a reader that was slow once may be slow again."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._backlog)
                line = self._backlog.popleft()
            while line:
                rest = self._write(line[: select.PIPE_BUF], wait=True) + line[select.PIPE_BUF :]
                with self._changed:
                    self._backlog_bytes -= len(line) - len(rest)
                    self._changed.notify_all()
                line = b"" if self.lost else rest
