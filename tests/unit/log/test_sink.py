"""Writing to a reader that is slow, stuck or gone."""

from __future__ import annotations

import os
import threading

import pytest

from tests.loopback.serving import HANG_SECONDS
from worker.log import sink as sinks
from worker.log.sink import Sink
from worker.stop import Stop

STOP = Stop()


def fill(writer: int) -> int:
    """Fills the pipe. Returns how many bytes it holds."""
    os.set_blocking(writer, False)
    filled = 0
    try:
        while True:
            filled += os.write(writer, b"x" * 4096)
    except BlockingIOError:
        return filled


def read(reader: int, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += os.read(reader, 4096)
    return received


def test_more_than_a_pipe_holds_is_written_as_its_reader_takes_it(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = [b"%d" % number + b"x" * 1023 + b"\n" for number in range(200)]  # it holds 64 KiB
    sink = Sink(writer, STOP)
    for line in lines:
        sink.write(line)  # and waits for nobody
    assert read(reader, sum(map(len, lines))) == b"".join(lines)
    sink.write(b"later\n")
    sink.flush()
    assert (sink.lost, os.read(reader, 100)) == (False, b"later\n")


def test_a_line_that_cannot_be_written_is_remembered() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink(writer, STOP)
    sink.write(b"line\n")
    sink.write(b"line\n")
    os.close(writer)
    assert sink.lost


def test_a_backlog_whose_reader_goes_away_is_lost() -> None:
    reader, writer = os.pipe()
    fill(writer)
    sink = Sink(writer, STOP)
    sink.write(b"line\n")
    assert not sink.lost
    os.close(reader)
    sink.flush()
    assert sink.lost
    sink.write(b"line\n")
    os.close(writer)


def test_a_backlog_is_no_larger_than_memory_allows(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "MAX_BACKLOG_BYTES", 10_000)
    fill(pipe[1])
    sink = Sink(pipe[1], STOP)
    sink.write(b"x" * 9_000)
    assert not sink.lost
    sink.write(b"x" * 9_000)
    assert sink.lost


@pytest.mark.parametrize("stopped", [False, True])
def test_a_reader_that_takes_nothing_is_given_up_at_the_end(
    stopped: bool, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = (0.1, 3600.0), (3600.0, 3600.0)
    monkeypatch.setattr(sinks, "PATIENCE_SECONDS", long if stopped else short)
    monkeypatch.setattr(sinks, "PATIENCE_SECONDS_AFTER_STOP", short if stopped else long)
    fill(pipe[1])
    stop = Stop()
    sink = Sink(pipe[1], stop)
    sink.write(b"line\n")
    assert not sink.lost
    if stopped:
        threading.Timer(0.1, setattr, [stop, "requested", True]).start()
    sink.flush()
    assert sink.lost
    assert stop.requested == stopped


def test_a_reader_that_takes_ever_so_little_is_given_up_too(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "PATIENCE_SECONDS", (3600.0, 0.5))
    reader, writer = pipe
    fill(writer)
    sink = Sink(writer, STOP)
    sink.write(b"x" * 1_000_000)
    over = threading.Event()

    def read_slowly() -> None:
        while not over.wait(0.05):
            os.read(reader, 4096)

    thread = threading.Thread(target=read_slowly)
    thread.start()
    sink.flush()
    over.set()
    thread.join()
    assert sink.lost


class WatchedSink(Sink):
    """Tells when its thread has waited for the reader."""

    def __init__(self, descriptor: int, stop: Stop) -> None:
        super().__init__(descriptor, stop)
        self.woke = threading.Event()

    def _write(self, data: bytes, wait: bool) -> bytes:
        rest = super()._write(data, wait)
        if wait:
            self.woke.set()
        return rest


def test_a_reader_that_comes_back_after_the_loss_gets_nothing_more(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the log would go on behind a gap."""
    monkeypatch.setattr(sinks, "PATIENCE_SECONDS", (0.1, 3600.0))
    reader, writer = pipe
    filled = fill(writer)
    sink = WatchedSink(writer, STOP)
    sink.write(b"line\n")
    sink.flush()
    assert sink.lost
    assert read(reader, filled) == b"x" * filled
    assert sink.woke.wait(HANG_SECONDS)
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)


def test_after_a_stop_signal_a_reader_still_gets_the_report(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "PATIENCE_SECONDS_AFTER_STOP", (60.0, 60.0))
    reader, writer = pipe
    stop = Stop()
    stop.requested = True
    sink = Sink(writer, stop)
    lines = [b"x" * 10_000 + b"\n"] * 20
    for line in lines:
        sink.write(line)
    thread = threading.Thread(target=sink.flush)
    thread.start()
    assert read(reader, sum(map(len, lines))) == b"".join(lines)
    thread.join()
    assert not sink.lost
