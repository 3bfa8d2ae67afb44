"""Calls that a test makes through the program's own loop, without the rest of the program."""

from __future__ import annotations

import functools
from queue import SimpleQueue

from tests.loopback.serving import HANG_SECONDS
from worker.calls.loop import CallCoroutine, Ended, Loop
from worker.model import CallResult, Endpoint

NOTHING = CallResult(Endpoint("", 0), "", 0.0)

_arrived: SimpleQueue[list[Ended]] = SimpleQueue()


@functools.cache
def loop() -> Loop:
    """One for all tests: its thread never ends."""
    return Loop(_arrived.put)


def make(call: CallCoroutine) -> CallResult:
    """Starts the call, and returns what came of it."""
    loop().start(0, [call])
    return ended()


def start(call: CallCoroutine, number: int = 0) -> None:
    """Starts the call, as one of the broadcast of this number. Returns when it waits."""
    loop().start(number, [call, _nothing()])
    assert ended() is NOTHING


async def _nothing() -> CallResult:
    """A call that is over at once, behind one that is not."""
    return NOTHING


def ended() -> CallResult:
    """What came of the one call that was started."""
    (one,) = _arrived.get(timeout=HANG_SECONDS)
    assert isinstance(one.outcome, CallResult), one.outcome
    return one.outcome
