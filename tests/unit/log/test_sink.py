"""Writing to a reader that is slow, stuck or gone."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from worker.log import sink as sinks
from worker.log.sink import Sink
from worker.stop import Stop

STOP = Stop()


@pytest.fixture
def pipe() -> Any:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_a_pipe_that_is_full_and_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    line, lines = b"x" * 1023 + b"\n", 200  # a pipe holds 64 KiB
    sink = Sink(writer, STOP)

    def write() -> None:
        for _ in range(lines):
            sink.write(line)

    thread = threading.Thread(target=write)
    thread.start()
    received = b""
    while len(received) < lines * len(line):
        received += os.read(reader, 4096)
    thread.join()
    assert received == line * lines
    assert not sink.lost


def test_a_line_that_cannot_be_written_is_remembered() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink(writer, STOP)
    sink.write(b"line\n")
    os.close(writer)
    assert sink.lost


def test_a_pipe_that_is_full_for_a_while_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    filled = os.write(writer, b"x" * (1 << 20))
    sink = Sink(writer, STOP)
    threading.Timer(0.1, os.read, [reader, filled]).start()
    sink.write(b"line\n")
    assert (sink.lost, os.read(reader, 100)) == (False, b"line\n")


@pytest.mark.parametrize("stopped", [False, True])
def test_a_reader_that_takes_nothing_is_given_up(
    stopped: bool, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "STALL_SECONDS", 3600 if stopped else 0.3)
    stop = Stop()
    sink = Sink(pipe[1], stop)
    if stopped:
        monkeypatch.setattr(sinks, "STALL_SECONDS_AFTER_STOP", 0.1)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        stop.install()
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
    while not sink.lost:
        sink.write(b"x" * 10_000)
    if stopped:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert stop.requested == stopped


def test_after_a_stop_signal_a_slow_reader_still_gets_the_report(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stop = Stop()
    stop.signals.append(signal.SIGTERM)
    sink = Sink(writer, stop)
    lines = [b"x" * 10_000 + b"\n"] * 20
    thread = threading.Thread(target=lambda: sink.write(b"".join(lines)))
    thread.start()
    received = b""
    while len(received) < sum(map(len, lines)):
        received += os.read(reader, 4096)
    thread.join()
    assert received == b"".join(lines)
    assert not sink.lost
