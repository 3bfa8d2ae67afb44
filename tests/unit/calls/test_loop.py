"""What a bug in a call comes to: it must not end the thread, with which all others would hang."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import types
from collections.abc import Generator
from queue import SimpleQueue

import pytest

from tests.loopback.pods import Pods, silent
from tests.loopback.serving import HANG_SECONDS
from worker.calls.call import Caller
from worker.calls.connection import Cut, Wait
from worker.calls.loop import Ended, Loop
from worker.model import Broadcast, CallResult, Endpoint

RESULT = CallResult(Endpoint("127.0.0.1", 80), "", 0.0)


@pytest.mark.parametrize("cut", [False, True])
def test_a_bug_in_a_call_is_what_it_came_to_and_others_go_on(cut: bool) -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    loop, bug = Loop(arrived.put), RuntimeError("a bug")
    reader, writer = os.pipe()

    @types.coroutine
    def wait() -> Generator[Wait, None, None]:
        """For what never comes."""
        yield Wait(reader, select.EPOLLIN, time.monotonic() + HANG_SECONDS)

    async def broken() -> CallResult:
        if cut:
            try:
                await wait()
            except Cut:
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
    loop, busy, go_on = Loop(arrived.put), threading.Event(), threading.Event()
    reader, writer = os.pipe()

    @types.coroutine
    def wait() -> Generator[Wait, None, None]:
        yield Wait(reader, select.EPOLLIN, time.monotonic() + HANG_SECONDS)

    async def answered() -> CallResult:
        await wait()
        os.close(reader)  # as a call closes its socket
        return RESULT

    async def keep_busy() -> CallResult:
        busy.set()
        go_on.wait(HANG_SECONDS)
        return RESULT

    loop.start(7, [answered()])
    loop.start(8, [keep_busy()])
    assert busy.wait(HANG_SECONDS)
    os.write(writer, b"x")
    loop.cut(7, "cancelled")
    go_on.set()
    assert arrived.get(timeout=HANG_SECONDS) == [Ended(8, RESULT), Ended(7, RESULT)]
    os.close(writer)


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
        url = f"http://web:{pods.port}/"
        broadcast = Broadcast("b", url, False, "web", pods.port, timeout_seconds=HANG_SECONDS)
        caller = Caller(broadcast, "0" * 32, None)
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
    def wait() -> Generator[Wait, None, None]:
        yield Wait(reader, select.EPOLLIN, time.monotonic() + HANG_SECONDS)

    async def stubborn() -> CallResult:
        for _ in range(2):
            with contextlib.suppress(Cut):
                await wait()
        return RESULT

    loop.start(7, [stubborn()])
    loop.cut(7, "cancelled")
    (ended,) = arrived.get(timeout=HANG_SECONDS)
    assert isinstance(ended.outcome, RuntimeError)
    os.close(reader)
    os.close(writer)
