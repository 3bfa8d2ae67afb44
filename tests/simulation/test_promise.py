"""The promise, in a simulated cluster: thousands of histories in virtual time, none by hand."""

from __future__ import annotations

import itertools
import json
import math
import signal
from collections import Counter
from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulation.cluster import Cache, DnsError, Fault, History, PodState, SimulatedWorld
from worker.log.masking import Masker
from worker.log.setup import configure, summary_line
from worker.log.sink import Sink
from worker.model import Answer, Broadcast, BroadcastReport, RunReport
from worker.report.outcome import summary as run_summary
from worker.rounds import run as broadcast
from worker.stop import Stop

TIMES = st.one_of(
    st.sampled_from([0.0, 0.005, 0.5, 1.0, 1.02, 1.5, 2.0, 5.0, 10.0, 31.0]),
    st.floats(0, 60, allow_nan=False).map(lambda at: round(at, 3)),
)


@st.composite
def pods(draw: st.DrawFn) -> tuple[PodState, ...]:
    """One pod's life: begins somewhere, changes a few times."""
    times = sorted({-1.0, *draw(st.lists(TIMES, max_size=3))})
    return tuple(
        PodState(
            at=at,
            listening=draw(st.booleans()),
            listed=draw(st.booleans()),
            behaviour=draw(st.sampled_from(["ok", "ok", "ok", "503", "404", "hang", "reset"])),
            seconds=draw(st.sampled_from([0.001, 0.01, 0.5, 3.0, 20.0])),
        )
        for at in times
    )


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    begins_at = draw(TIMES)
    kinds = st.sampled_from(get_args(DnsError))
    return Fault(begins_at, begins_at + draw(TIMES), draw(kinds))


@st.composite
def histories(draw: st.DrawFn) -> History:
    stop_at = draw(st.one_of(st.just(math.inf), st.just(math.inf), TIMES))
    cache = Cache(
        ttl_seconds=draw(st.sampled_from([0, 1, 5, 30])),
        holds_seconds=draw(st.sampled_from([0, 0, 5, 30])),
        stale_seconds=draw(st.sampled_from([0, 0, 3])),
    )
    return History(
        pods=tuple(draw(st.lists(pods(), max_size=5))),
        caches=(cache,),
        turns=tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=4))),
        faults=tuple(draw(st.lists(faults(), max_size=2))),
        dns_seconds=draw(st.sampled_from([0.0005, 0.002, 0.3])),
        stop_at=stop_at,
        stop_again_at=stop_at + draw(st.sampled_from([0.0, 1.0, 100.0])),
    )


BROADCASTS = st.builds(
    Broadcast,
    name=st.just("clear"),
    url=st.just("http://web:8080/clear"),
    https=st.just(False),
    host=st.just("web"),
    port=st.just(8080),
    concurrency=st.sampled_from([1, 2, 16]),
    stagger_seconds=st.sampled_from([0.0, 0.0, 0.2]),
    timeout_seconds=st.sampled_from([1.0, 10.0]),
    attempts=st.integers(1, 5),
    backoff_initial_seconds=st.sampled_from([0.1, 1.0]),
    backoff_max_seconds=st.sampled_from([1.0, 15.0]),
    settle_seconds=st.sampled_from([0.0, 2.0, 40.0]),
    deadline_seconds=st.sampled_from([5.0, 60.0, 300.0]),
    min_pods=st.integers(0, 3),
)


STOP = Stop()  # never requested: a simulated world has its own


class Lines(Sink):
    """The log, in memory."""

    def __init__(self) -> None:
        super().__init__(STOP.fileno(), STOP)  # to which nothing is written
        self.entries: list[dict[str, Any]] = []

    def write(self, line: bytes) -> None:
        self.entries.append(json.loads(line))

    info = warning = error = write


def run(entry: Broadcast, history: History) -> tuple[SimulatedWorld, BroadcastReport, Lines]:
    world, lines = SimulatedWorld(entry, history), Lines()
    report = broadcast.run(entry, world, configure(lines, "json", "info", Masker(())))
    return world, report, lines


def check(world: SimulatedWorld, report: BroadcastReport, lines: Lines) -> None:
    check_calls(world)
    check_verdicts(world, report)
    check_completeness(world, report)
    check_log(report, lines)
    check_run(world, report, lines)
    check_time(world)


def check_run(world: SimulatedWorld, report: BroadcastReport, lines: Lines) -> None:
    """Log, termination message and exit code say the same."""
    stopped = world.now() >= world.history.stop_at
    run = RunReport((report,), report.duration_seconds, signal.SIGTERM if stopped else None)
    summary = run_summary(run)
    message = json.loads(summary_line(summary, Masker(())))
    finished = lines.entries[-1]
    for name in ("outcome", "seen", "acknowledged", "failed", "gone", "cancelled"):
        assert message[name] == finished[name]
    assert message[f"broadcasts_{report.outcome}"] == 1
    assert message["exit_code"] == (143 if stopped else finished["exit_code"])
    if not stopped:
        assert (message["exit_code"] == 0) == (report.outcome == "complete")


def check_time(world: SimulatedWorld) -> None:
    """It ends: by the deadline plus one call's timeout, and by the stop signal plus the grace."""
    entry, history = world.broadcast, world.history
    assert world.now() <= entry.deadline_seconds + entry.timeout_seconds + 0.001
    if world.now() > history.stop_at:
        cut_at = min(history.stop_at + world.grace_seconds, history.stop_again_at)
        assert world.now() <= cut_at + 0.001, "did not stop in time"


def check_calls(world: SimulatedWorld) -> None:
    entry, made = world.broadcast, sorted(world.made, key=lambda call: call.began_at)
    acknowledged: dict[object, float] = {}
    for call in made:
        current = [a for at, a in world.answers if at <= call.began_at][-1]
        assert isinstance(current, Answer), "called without an answer"
        assert call.endpoint.address in current.addresses, "called somebody who is not listed"
        assert call.endpoint not in acknowledged, "called again after it acknowledged"
        assert call.began_at < world.history.stop_at, "called after the stop signal"
        assert call.began_at < entry.deadline_seconds, "called after the deadline"
        if call.result.error_type is None:
            acknowledged[call.endpoint] = call.ended_at
        overlapping = [c for c in made if c.began_at <= call.began_at < c.ended_at]
        assert len(overlapping) <= entry.concurrency, "too many at once"
    starts = [call.began_at for call in made]
    for earlier, later in itertools.pairwise(starts):
        assert later - earlier >= entry.stagger_seconds - 1e-9, "too close together"
    for endpoint, count in Counter(call.endpoint for call in made).items():
        assert count <= entry.attempts, f"{endpoint} called too often"


def check_verdicts(world: SimulatedWorld, report: BroadcastReport) -> None:
    listed = {
        a for _, answer in world.answers if isinstance(answer, Answer) for a in answer.addresses
    }
    assert {e.endpoint.address for e in report.endpoints} == listed, "seen is not who was listed"
    for endpoint in report.endpoints:
        calls = [c.result for c in world.made if c.endpoint == endpoint.endpoint]
        assert endpoint.attempts == len(calls)
        assert (endpoint.verdict == "acknowledged") == any(c.error_type is None for c in calls)
        if endpoint.verdict == "gone":
            assert calls, "gone without having been tried"
            assert not any(c.connect_seconds for c in calls), "gone though it accepted"
    assert report.calls == len(world.made)


def check_completeness(world: SimulatedWorld, report: BroadcastReport) -> None:
    acknowledged = {e.endpoint.address for e in report.endpoints if e.verdict == "acknowledged"}
    good = [(at, answer) for at, answer in world.answers if isinstance(answer, Answer)]
    if report.outcome == "complete":
        assert good, "complete without an answer"
        assert set(good[-1][1].addresses) <= acknowledged, (
            "complete, but somebody listed was missed"
        )
        assert len(acknowledged) >= world.broadcast.min_pods
    if report.confirmed:
        last = good[-1][1]
        calls_at = [call.began_at for call in world.made]
        basis = [a for at, a in good if at <= max(calls_at)][-1] if calls_at else good[0][1]
        assert world.produced_at(last) > world.produced_at(basis), "confirmed by an old copy"
    steady = [
        f"10.0.0.{number}"
        for number, states in enumerate(world.history.pods, 1)
        if states[0].at < 0
        and all(s.listening and s.listed and s.behaviour == "ok" and s.seconds < 1 for s in states)
    ]
    if report.outcome == "complete":
        assert set(steady) <= acknowledged, "complete, but a pod that was always there was missed"


def check_log(report: BroadcastReport, lines: Lines) -> None:
    verdicts = Counter(endpoint.verdict for endpoint in report.endpoints)
    events = Counter(entry["event"] for entry in lines.entries)
    finished = lines.entries[-1]
    assert finished["event"] == "broadcast.finished"
    assert finished["exit_code"] == {"complete": 0, "partial": 3, "failed": 4}[report.outcome]
    assert finished["seen"] == len(report.endpoints) == sum(verdicts.values())
    for verdict in ("acknowledged", "failed", "gone", "cancelled"):
        assert finished[verdict] == verdicts[verdict]
        if verdict != "acknowledged":
            assert events[f"endpoint.{verdict}"] == verdicts[verdict], "a miss without its line"
    assert events["call.succeeded"] == verdicts["acknowledged"]
    assert events["call.succeeded"] + events["call.failed"] == report.calls
    assert ("reason" in finished) == (report.outcome != "complete")


@settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(BROADCASTS, histories())
def test_the_promise_holds_in_every_history(entry: Broadcast, history: History) -> None:
    check(*run(entry, history))
