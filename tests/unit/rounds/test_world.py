"""The real world: questions in threads, calls in the pool, one mailbox."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

import pytest

from tests.loopback.pods import Pods, silent
from tests.loopback.program import ROOT
from tests.loopback.serving import HANG_SECONDS
from tests.records import parsed
from worker.calls.call import Caller
from worker.calls.loop import Ended
from worker.config.tls import tls_context
from worker.model import Answer, CallResult, Endpoint, Exchange, ResolutionFailure
from worker.rounds.world import (
    LiveWorld,
    Message,
)
from worker.stop import MAX_THREADS, Done, Mailbox, Stop, Threads

SERVFAIL = ResolutionFailure("web", "dns_servfail", "broken")


@pytest.fixture
def pods() -> Iterator[Pods]:
    with Pods(3) as pods:
        yield pods


EXCHANGE = Exchange(parsed("http://web:8080/"))


def live_world(stop: Stop) -> LiveWorld:
    """Two broadcasts to the same pods."""
    callers = {EXCHANGE: Caller(EXCHANGE, "0" * 32, tls_context)}
    return LiveWorld([lambda _: SERVFAIL] * 2, callers, stop)


def receive(world: LiveWorld, count: int) -> Sequence[Message]:
    """So many messages."""
    messages: list[Message] = []
    while len(messages) < count:
        arrived = world.receive(world.now() + HANG_SECONDS)
        assert arrived, f"only {messages} within {HANG_SECONDS:g} s"
        messages += arrived
    return messages


def endpoints(pods: Pods) -> list[Endpoint]:
    return [Endpoint(address, pods.port) for address in pods.addresses]


def test_what_calls_came_to_arrives_with_the_number_of_their_broadcast(pods: Pods) -> None:
    world = live_world(Stop())
    world.call(1, EXCHANGE, endpoints(pods), math.inf)
    ended = receive(world, 3)
    assert {message.number for message in ended if isinstance(message, Ended)} == {1}
    assert pods.requests == dict.fromkeys(pods.addresses, 1)


def test_only_the_calls_of_one_broadcast_are_cut(pods: Pods) -> None:
    pods[0].script(silent)
    pods[1].script(silent)
    world = live_world(Stop())
    first, second, third = endpoints(pods)
    world.call(0, EXCHANGE, [first], math.inf)
    world.call(1, EXCHANGE, [second], math.inf)
    with pods.changed:
        pods.changed.wait_for(lambda: pods.in_flight == 2, HANG_SECONDS)
    world.cut(0, "deadline")
    (cut,) = receive(world, 1)
    assert isinstance(cut, Ended)
    assert isinstance(cut.outcome, CallResult)
    assert (cut.number, cut.outcome.endpoint) == (0, first)
    assert cut.outcome.error_type == "deadline"
    assert cut.outcome.error_message == "cut off at the deadline"
    world.call(1, EXCHANGE, [third], math.inf)
    assert [m.number for m in receive(world, 1) if isinstance(m, Ended)] == [1]
    world.cut(1, "cancelled")
    (cut,) = receive(world, 1)
    assert isinstance(cut, Ended)
    assert isinstance(cut.outcome, CallResult)
    assert (cut.number, cut.outcome.error_type) == (1, "cancelled")


def test_an_answer_arrives_with_the_number_of_its_broadcast() -> None:
    world = live_world(Stop())
    world.ask(1, ends_at=time.monotonic() + 1)
    assert receive(world, 1) == [Done(1, SERVFAIL)]


def test_nothing_arrives_and_the_wait_ends() -> None:
    world = live_world(Stop())
    assert world.receive(world.now() - 1) == []
    until = world.now() + 0.01
    assert world.receive(until) == []
    assert world.now() >= until


STOP_TRIES = """
import os, signal, sys, time
from worker.rounds.world import LiveWorld
from worker.stop import Stop, StopSignal, start_thread
stop = Stop()
stop.install()
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # who is woken takes its waker's place
world = LiveWorld([], {}, stop)
def send():
    for number in range(300):
        begun.get()
        until = time.perf_counter() + number % 5 * 1e-6
        while time.perf_counter() < until:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
from queue import SimpleQueue
begun = SimpleQueue()
start_thread(send)
for number in range(300):
    begun.put(None)
    assert world.receive(time.monotonic() + 60) == [StopSignal(signal.SIGTERM)], number
"""


def test_a_stop_signal_ends_a_wait_whenever_it_comes() -> None:
    """Also just before the main thread falls asleep, where a handler would not wake it."""
    subprocess.run([sys.executable, "-c", STOP_TRIES], cwd=ROOT, check=True, timeout=HANG_SECONDS)


def test_a_slow_question_holds_no_other_up() -> None:
    mailbox: Mailbox = SimpleQueue()
    questions, go_on = Threads(mailbox), threading.Event()

    def slow() -> Answer | ResolutionFailure:
        go_on.wait(HANG_SECONDS)
        return SERVFAIL

    for number in range(MAX_THREADS - 1):
        questions.start(number, slow)
    for number in range(100, 103):  # one after the other, in the one thread that is left
        questions.start(number, lambda: SERVFAIL)
        assert mailbox.get(timeout=HANG_SECONDS) == [Done(number, SERVFAIL)]
    for number in range(200, 203):
        questions.start(number, slow)  # more than there are threads: they wait for one
    go_on.set()
    answered = [mailbox.get(timeout=HANG_SECONDS) for _ in range(MAX_THREADS + 2)]
    numbers = {
        number
        for (message,) in answered
        if isinstance(message, Done)
        for number in [message.number]
    }
    assert numbers == {*range(MAX_THREADS - 1), 200, 201, 202}


def test_a_bug_in_a_question_arrives_as_its_exception() -> None:
    mailbox: Mailbox = SimpleQueue()
    bug = RuntimeError("a bug")

    def ask() -> Answer | ResolutionFailure:
        raise bug

    Threads(mailbox).start(7, ask)
    assert mailbox.get(timeout=HANG_SECONDS) == [Done(7, bug)]
