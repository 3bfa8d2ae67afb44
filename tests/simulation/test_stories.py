"""The same promise, told as stories: a cluster to which one thing happens after another.

Hypothesis chooses what happens next by what there is (stateful testing), and what breaks the
promise is shrunk to the shortest story. The histories of test_promise.py are wilder, these are
likelier: pods start, become ready, crash and come back on another address, as in a real cluster.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    precondition,
    rule,
)

from tests.simulation.cluster import Behaviour, Cache, DnsError, Fault, History, PodState, Scenario
from tests.simulation.test_promise import BROADCASTS, check, run
from worker.model import Broadcast

MAX_PODS = 6
SECONDS = st.sampled_from([0.0, 0.005, 0.5, 1.0, 1.02, 2.0, 5.0, 10.0, 30.0])


class Cluster(RuleBasedStateMachine):
    """Pods by their addresses: a pod's number, and the states that it goes through."""

    pods = Bundle("pods")

    def __init__(self) -> None:
        super().__init__()
        self.now = -1.0  # the worker starts at 0
        self.lives: list[list[PodState]] = []
        self.faults: list[Fault] = []
        self.stop_at = math.inf
        self.stop_again_at = math.inf

    @initialize(
        entry=BROADCASTS,
        ttl_seconds=st.sampled_from([0, 5, 30]),
        holds_seconds=st.sampled_from([0, 5, 30]),
        stale_seconds=st.sampled_from([0, 3]),
    )
    def the_worker_starts(
        self, entry: Broadcast, ttl_seconds: int, holds_seconds: int, stale_seconds: int
    ) -> None:
        self.entry = entry
        self.cache = Cache(ttl_seconds, holds_seconds, stale_seconds)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.now = max(self.now, 0.0) + seconds

    @precondition(lambda self: len(self.lives) < MAX_PODS)
    @rule(target=pods)
    def a_pod_starts(self) -> int:
        self.lives.append([PodState(self.now, listening=False, listed=False)])
        return len(self.lives) - 1

    @rule(pod=pods, seconds=st.sampled_from([0.001, 0.01, 0.5, 3.0]))
    def it_becomes_ready(self, pod: int, seconds: float) -> None:
        self._change(pod, listening=True, listed=True, seconds=seconds)

    @rule(pod=pods)
    def it_becomes_unready(self, pod: int) -> None:
        self._change(pod, listed=False)

    @rule(pod=pods, behaviour=st.sampled_from(["503", "404", "hang", "reset", "ok"]))
    def it_behaves(self, pod: int, behaviour: Behaviour) -> None:
        self._change(pod, behaviour=behaviour)

    @rule(pod=pods)
    def it_crashes(self, pod: int) -> None:
        self._change(pod, listening=False)

    @precondition(lambda self: len(self.lives) < MAX_PODS)
    @rule(target=pods, pod=consumes(pods))
    def it_comes_back_on_another_address(self, pod: int) -> int:
        self._change(pod, listening=False, listed=False, exists=False)
        self.lives.append([PodState(self.now, listening=True, listed=True)])
        return len(self.lives) - 1

    @rule(seconds=SECONDS, error_type=st.sampled_from(["dns_servfail", "dns_timeout"]))
    def dns_breaks_for(self, seconds: float, error_type: DnsError) -> None:
        self.faults.append(Fault(self.now, self.now + seconds, error_type))

    @precondition(lambda self: self.stop_at == math.inf and self.now >= 0)
    @rule()
    def a_stop_signal_comes(self) -> None:
        self.stop_at = self.now

    @precondition(lambda self: self.stop_again_at == math.inf and self.stop_at < math.inf)
    @rule()
    def another_one_comes(self) -> None:
        self.stop_again_at = self.now

    def teardown(self) -> None:
        history = History(
            pods=tuple(map(tuple, self.lives)),
            caches=(self.cache,),
            faults=tuple(self.faults),
        )
        scenario = Scenario(
            ((self.entry, history),), stop_at=self.stop_at, stop_again_at=self.stop_again_at
        )
        check(*run(scenario))

    def _change(self, pod: int, **changes: object) -> None:
        life = self.lives[pod]
        life.append(replace(life[-1], at=self.now, **changes))  # type: ignore[arg-type]


TestStories = pytest.mark.usefixtures("unmeasured")(Cluster.TestCase)
TestStories.settings = settings(
    max_examples=400,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
