"""A pseudo-terminal and what its screen shows; the whole program on one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pyte

from tests.loopback.nameserver import Nameserver
from tests.loopback.program import BARE_ENVIRONMENT, ROOT, command_line
from tests.loopback.serving import HANG_SECONDS

SCROLLBACK_LINES = 20_000


class Watched:
    """A pseudo-terminal. `raw` is everything that a program has written to `slave`, its side."""

    def __init__(self, columns: int = 100, lines: int = 30) -> None:
        self.raw = b""
        self._fed = 0  # so much of it is on the screen
        self._screen = pyte.HistoryScreen(columns or 80, lines or 24, history=SCROLLBACK_LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = threading.Condition()
        self._master, self.slave = pty.openpty()
        self._set_size(columns, lines)
        left, self._leave = os.pipe()
        self._descriptors = [self._master, left, self._leave]
        self._reader = threading.Thread(target=self._read, args=[left])
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.slave)
        self.hang_up()

    def _read(self, left: int) -> None:
        poll = select.poll()  # select.select has room for 1,024 descriptors only
        for descriptor in (self._master, left):
            poll.register(descriptor, select.POLLIN)
        while left not in dict(poll.poll()):
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # EIO: nobody has the other side open any more
                return
            with self._changed:
                self.raw += data
                self._changed.notify_all()

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        with self._changed:
            self._catch_up()
            self._screen.resize(lines, columns)
            self._set_size(columns, lines)

    def _catch_up(self) -> None:
        """Puts what has been read on the screen, so slowly that no program is to wait for it."""
        with self._changed:
            data, self._fed = self.raw[self._fed :], len(self.raw)
            self._stream.feed(data)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def hang_up(self) -> None:
        """As if the window were closed, or the connection lost."""
        os.write(self._leave, b"\0")
        self._reader.join()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    @property
    def shown(self) -> list[str]:
        """All lines up to the last that is not blank, with those that scrolled off the screen."""
        self._catch_up()
        scrolled = [
            "".join(line[column].data for column in range(self._screen.columns)).rstrip()
            for line in self._screen.history.top
        ]
        lines = scrolled + [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def cursor_hidden(self) -> bool:
        self._catch_up()
        return bool(self._screen.cursor.hidden)

    def wait_for(self, what: str, predicate: Callable[[list[str]], bool]) -> list[str]:
        """Returns what is shown, as soon as the predicate is true of it."""
        with self._changed:
            there = self._changed.wait_for(lambda: predicate(self.shown), HANG_SECONDS)
            assert there, f"{what}: not within {HANG_SECONDS:g} s of {self.shown}"
            return self.shown


class Terminal(Watched):
    """A run of the whole program on a terminal."""

    def __init__(
        self,
        directory: Path,
        config: str | Path,
        *arguments: str,
        nameserver: Nameserver | None = None,
        environment: Mapping[str, str] | None = None,
        columns: int = 100,
        lines: int = 30,
        prefix: Sequence[str] = (),
    ) -> None:
        super().__init__(columns, lines)
        self.directory = directory
        line = command_line(directory, config, nameserver)
        self.process = subprocess.Popen(
            [*prefix, "setsid", "--ctty", *line, *arguments],  # so that ^C is a signal
            cwd=ROOT,
            env=BARE_ENVIRONMENT | {"TERM": "xterm-256color"} | dict(environment or {}),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
        )
        os.close(self.slave)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.finish()
        if self._descriptors:
            self.hang_up()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def finish(self, timeout: float = 60.0) -> int:
        """Waits until it has ended. Returns the exit code."""
        exit_code = self.process.wait(timeout)
        self._reader.join()
        return exit_code
