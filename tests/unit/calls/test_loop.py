"""What a bug in a call comes to: it must not end the thread, with which all others would hang."""

from __future__ import annotations

import os
import select
import time
import types
from collections.abc import Generator
from queue import SimpleQueue

import pytest

from tests.loopback.serving import HANG_SECONDS
from worker.calls.connection import Cut, Wait
from worker.calls.loop import Ended, Loop
from worker.model import CallResult, Endpoint

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
