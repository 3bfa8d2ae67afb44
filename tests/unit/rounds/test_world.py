"""Stop signals that arrive between two looks at them."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable

from tests.loopback.pods import Pods
from worker.calls.call import Transport
from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import ResolvConf
from worker.model import Broadcast, Endpoint
from worker.rounds.world import LiveWorld
from worker.stop import Stop


def live_world(pods: Pods, stop: Stop, on_stop: Callable[[int], None]) -> LiveWorld:
    entry = Broadcast("clear", f"http://web:{pods.port}/", False, "web", pods.port)
    return LiveWorld(
        entry,
        Lookup(entry.host, entry.port, "auto", ResolvConf()),
        Transport(entry, trace_id="0" * 32),
        stop,
        grace_seconds=60,
        on_stop=on_stop,
    )


def test_a_stop_signal_just_before_the_calls_keeps_them_from_starting() -> None:
    stop = Stop()
    noticed: list[int] = []
    with Pods(1) as pods:
        world = live_world(pods, stop, noticed.append)
        stop.signals.append(signal.SIGTERM)
        assert list(world.calls([Endpoint(pods.addresses[0], pods.port)], math.inf)) == []
        assert pods[0].connections == 0
    assert noticed == [signal.SIGTERM]


def test_when_the_time_is_up_before_the_first_call_there_are_no_calls() -> None:
    with Pods(1) as pods:
        world = live_world(pods, Stop(), lambda _: None)
        endpoint = Endpoint(pods.addresses[0], pods.port)
        assert list(world.calls([endpoint], time.monotonic())) == []
        assert pods[0].connections == 0
