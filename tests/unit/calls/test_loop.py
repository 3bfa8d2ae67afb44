"""What a bug in a call comes to: it must not end the thread, with which all others would hang."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue

import pytest

from tests.loopback.pods import Pods, silent
from tests.loopback.serving import HANG_SECONDS
from tests.records import parsed
from worker.calls.call import Caller
from worker.calls.connection import CutOff, SocketWait
from worker.calls.loop import Ended, Loop
from worker.config.tls import tls_context
from worker.model import CallResult, Endpoint, Exchange

RESULT = CallResult(Endpoint("127.0.0.1", 80), "", 0.0)
LATE = CallResult(Endpoint("127.0.0.1", 80), "", 0.0, error_type="timeout")
CUT = CallResult(Endpoint("127.0.0.1", 80), "", 0.0, error_type="cancelled")


class Pipe:
    """What a call of a test waits for: bytes that the test writes."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def arrive(self) -> None:
        """Makes it ready; the call that waits then closes it."""
        os.write(self._writer, b"x")
        os.close(self._writer)

    @types.coroutine
    def _wait(self, seconds: float) -> Generator[SocketWait, None, None]:
        yield SocketWait(self._reader, select.EPOLLIN, time.monotonic() + seconds)

    async def call(self, seconds: float = HANG_SECONDS) -> CallResult:
        """Waits for so long at most. RESULT, LATE or CUT."""
        try:
            await self._wait(seconds)
        except TimeoutError:
            return LATE
        except CutOff:
            return CUT
        finally:
            os.close(self._reader)
        return RESULT


class Busy:
    """A call that keeps the loop's thread busy from `begun` until it may go on."""

    def __init__(self) -> None:
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    async def call(self) -> CallResult:
        self.begun.set()
        self.may_go_on.wait(HANG_SECONDS)
        return RESULT


def test_what_is_ready_goes_on_before_anybodys_time_is_up() -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop, pipe, late, busy = Loop(arrived.put), Pipe(), Pipe(), Busy()
    loop.start(1, [pipe.call(seconds=0.01), late.call(seconds=0.01)])
    loop.start(2, [busy.call()])
    assert busy.begun.wait(HANG_SECONDS)
    pipe.arrive()
    late_at = time.monotonic() + 0.02
    while time.monotonic() < late_at:
        pass
    busy.may_go_on.set()
    ended = [*arrived.get(timeout=HANG_SECONDS), *arrived.get(timeout=HANG_SECONDS)]
    assert ended == [Ended(2, RESULT), Ended(1, RESULT), Ended(1, LATE)]


def test_a_cut_of_one_broadcast_leaves_the_calls_of_others() -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop, one, other = Loop(arrived.put), Pipe(), Pipe()
    loop.start(1, [one.call()])
    loop.start(2, [other.call()])
    loop.cut(1, "cancelled")
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(1, CUT)]
    assert loop.in_flight == 1
    other.arrive()
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(2, RESULT)]


class CountingLoop(Loop):
    """One that counts how often it wakes."""

    wakes = 0

    def _go_on(self, seconds: float) -> bool:
        self.wakes += 1
        return super()._go_on(seconds)


def test_when_the_time_of_one_call_is_up_the_loop_sleeps_again() -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop, short, long = CountingLoop(arrived.put), Pipe(), Pipe()
    loop.start(1, [short.call(seconds=0.01), long.call()])
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(1, LATE)]
    with pytest.raises(Empty):
        arrived.get(timeout=0.2)
    assert loop.wakes < 20
    long.arrive()
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(1, RESULT)]


def test_each_call_ends_when_its_own_time_is_up() -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop, long = Loop(arrived.put), Pipe()
    loop.start(1, [long.call()])
    loop.start(2, [Pipe().call(0.01)])
    loop.start(3, [Pipe().call(0.05)])
    assert arrived.get(timeout=HANG_SECONDS / 2) == [Ended(2, LATE)]
    assert arrived.get(timeout=HANG_SECONDS / 2) == [Ended(3, LATE)]
    long.arrive()
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(1, RESULT)]


def late_ones(loop: Loop, ended: Callable[[], list[Ended]], times: int) -> None:
    for _ in range(times):
        loop.start(2, [Pipe().call(0.01)])
        assert ended() == [Ended(2, LATE)]


def cut_ones(loop: Loop, ended: Callable[[], list[Ended]], times: int) -> None:
    for _ in range(times):
        loop.start(2, [Pipe().call()])
        loop.cut(2, "cancelled")
        assert ended() == [Ended(2, CUT)]


@pytest.mark.parametrize("others", [late_ones, cut_ones])
def test_nobody_waits_longer_than_needed(
    others: Callable[[Loop, Callable[[], list[Ended]], int], None],
) -> None:
    """A second for each of ten, and another call's time would be up before."""
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop, slow = Loop(arrived.put), Pipe()
    loop.start(1, [slow.call(seconds=5.0)])
    others(loop, lambda: arrived.get(timeout=HANG_SECONDS), 10)
    slow.arrive()
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(1, RESULT)]


def test_an_order_that_is_there_is_not_waited_for() -> None:
    """Each call that has ended starts the next one, ten times, in the loop's own thread."""
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    left = iter(range(10))

    async def call() -> CallResult:
        return RESULT

    def post(ended: list[Ended]) -> None:
        if ended[0].number == 2 and next(left, None) is not None:
            loop.start(2, [call()])
        else:
            arrived.put(ended)

    loop, slow = Loop(post), Pipe()
    loop.start(1, [slow.call(seconds=5.0)])
    loop.start(2, [call()])
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(2, RESULT)]
    slow.arrive()
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(1, RESULT)]


def test_a_call_may_wait_to_write_and_then_to_read() -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    written = threading.Event()

    @types.coroutine
    def wait(event: int) -> Generator[SocketWait, None, None]:
        yield SocketWait(ours.fileno(), event, time.monotonic() + HANG_SECONDS)

    async def call() -> CallResult:
        await wait(select.EPOLLOUT)
        written.set()
        await wait(select.EPOLLIN)
        assert ours.recv(1) == b"x"
        return RESULT

    async def nothing() -> CallResult:
        return CUT

    loop = Loop(arrived.put)
    loop.start(1, [call()])
    assert written.wait(HANG_SECONDS)
    for _ in range(3):  # the loop goes round
        loop.start(2, [nothing()])
        assert arrived.get(timeout=HANG_SECONDS) == [Ended(2, CUT)]
    theirs.send(b"x")
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(1, RESULT)]
    ours.close()
    theirs.close()


@pytest.mark.parametrize("cut", [False, True])
def test_a_bug_in_a_call_is_what_it_came_to_and_others_go_on(cut: bool) -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop, bug = Loop(arrived.put), RuntimeError("a bug")
    reader, writer = os.pipe()

    @types.coroutine
    def wait() -> Generator[SocketWait, None, None]:
        """For what never comes."""
        yield SocketWait(reader, select.EPOLLIN, time.monotonic() + HANG_SECONDS)

    async def broken() -> CallResult:
        if cut:
            try:
                await wait()
            except CutOff:
                raise bug from None
        raise bug

    async def sound() -> CallResult:
        return RESULT

    loop.start(7, [broken()])
    loop.cut(7, "cancelled")
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(7, bug)]
    loop.start(8, [sound()])
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(8, RESULT)]
    assert loop.in_flight == 0
    os.close(reader)
    os.close(writer)


def test_what_has_arrived_before_a_cut_is_read_first() -> None:
    """The loop's thread is busy while a response arrives and its broadcast is cut."""
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop, pipe, busy = Loop(arrived.put), Pipe(), Busy()
    loop.start(7, [pipe.call()])
    loop.start(8, [busy.call()])
    assert busy.begun.wait(HANG_SECONDS)
    pipe.arrive()
    loop.cut(7, "cancelled")
    busy.may_go_on.set()
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(8, RESULT), Ended(7, RESULT)]


class BrokenLoop(Loop):
    """One whose thread has a bug, once it is told."""

    broken = False

    def _go_on(self, seconds: float) -> bool:
        if self.broken:
            raise MemoryError
        return super()._go_on(seconds)


def test_a_bug_in_a_thread_of_the_pool_reaches_the_main_thread() -> None:
    """Else its calls never end: neither a deadline nor SIGTERM ends the run any more."""
    posted: SimpleQueue[list[Ended]] = SimpleQueue()
    with Pods(1) as pods:
        pods[0].script(silent)
        url = parsed(f"http://web:{pods.port}/")
        caller = Caller(Exchange(url, timeout_seconds=HANG_SECONDS), "0" * 32, tls_context)
        loop = BrokenLoop(posted.put)
        loop.start(0, [caller.call(Endpoint(pods.addresses[0], pods.port), "0" * 16)])
        pods.wait_for("the request", lambda: bool(pods[0].requests))
        loop.broken = True
        loop.start(0, [])  # wakes it
        (ended,) = posted.get(timeout=HANG_SECONDS)
    assert isinstance(ended.outcome, MemoryError)


def test_a_call_that_goes_on_after_its_end_is_a_bug() -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop = Loop(arrived.put)
    reader, writer = os.pipe()

    @types.coroutine
    def wait() -> Generator[SocketWait, None, None]:
        yield SocketWait(reader, select.EPOLLIN, time.monotonic() + HANG_SECONDS)

    async def stubborn() -> CallResult:
        for _ in range(2):
            with contextlib.suppress(CutOff):
                await wait()
        return RESULT

    loop.start(7, [stubborn()])
    loop.cut(7, "cancelled")
    (ended,) = arrived.get(timeout=HANG_SECONDS)
    assert isinstance(ended.outcome, RuntimeError)
    os.close(reader)
    os.close(writer)


class _Overlooked(deque[Callable[[], None]]):
    """Orders, of which another one comes just after the loop has seen twice that there are none.

    The first time it has carried them all out, the second time it is about to fall asleep.
    """

    def __init__(self, come: Callable[[], None], times: int) -> None:
        super().__init__()
        self._come = come
        self._times = times
        self._seen_empty = 0

    def __bool__(self) -> bool:
        there = len(self) > 0
        self._seen_empty = 0 if there else self._seen_empty + 1
        if self._seen_empty == 2 and self._times:
            self._times -= 1
            self._come()
        return there


def test_an_order_that_comes_just_before_the_loop_falls_asleep_wakes_it() -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()

    async def call() -> CallResult:
        return RESULT

    class BusyLoop(Loop):
        def __init__(self) -> None:
            super().__init__(arrived.put)
            self._orders = _Overlooked(lambda: self.start(1, [call()]), times=10)

    BusyLoop().start(0, [call()])
    ended: list[Ended] = []
    while len(ended) < 11:
        ended += arrived.get(timeout=HANG_SECONDS)
    assert [each.number for each in ended] == [0] + [1] * 10
