"""The promise, in a simulated cluster: thousands of histories in virtual time, none by hand."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.records import broadcast, verified
from tests.simulation import clocks, proofs
from tests.simulation.cluster import (
    Behaviour,
    Cache,
    DnsError,
    Fault,
    History,
    ListsNobody,
    PodState,
    Scenario,
    SimulatedCall,
    SimulatedWorld,
)
from worker.log.masking import Masker
from worker.log.setup import configure, summary_line
from worker.log.sink import Sink
from worker.model import Answer, Broadcast, Endpoint, ResolutionFailure
from worker.report.records import BroadcastReport, RunReport
from worker.report.summary import of_run
from worker.rounds.ledger import LATE_ANSWER_SECONDS
from worker.rounds.run import Rounds
from worker.stop import Stop
from worker.words import GivenUp

TIMES = st.one_of(
    st.sampled_from([0.0, 0.005, 0.5, 1.0, 1.02, 1.5, 2.0, 5.0, 10.0, 31.0]),
    st.floats(0, 60, allow_nan=False).map(lambda at: round(at, 3)),
)


EXISTS = st.sampled_from([True, True, True, False])


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
            exists=draw(EXISTS),
        )
        for at in times
    )


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    begins_at = draw(TIMES)
    kinds = st.sampled_from([*get_args(DnsError), *get_args(ListsNobody) * 3])
    server = draw(st.sampled_from([None, None, 0, 1]))
    return Fault(begins_at, begins_at + draw(TIMES), draw(kinds), server)


@st.composite
def histories(draw: st.DrawFn) -> History:
    cache = Cache(
        ttl_seconds=draw(st.sampled_from([0, 1, 5, 30])),
        holds_seconds=draw(st.sampled_from([0, 0, 5, 30])),
        stale_seconds=draw(st.sampled_from([0, 0, 3, 60])),
        lists_at_most=draw(st.sampled_from([1000, 1000, 1, 3])),
    )
    return History(
        pods=tuple(draw(st.lists(pods(), max_size=5))),
        caches=(cache,),
        turns=tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=4))),
        faults=tuple(draw(st.lists(faults(), max_size=2))),
        dns_seconds=draw(st.sampled_from([0.0005, 0.002, 0.3])),
    )


BROADCASTS = st.builds(
    broadcast,
    discovery=st.sampled_from(["dns", "dns", "endpointslices"]),
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


@st.composite
def scenarios(draw: st.DrawFn, most: int = 1) -> Scenario:
    """A run of so many broadcasts at most."""
    stop_at = draw(st.one_of(st.just(math.inf), st.just(math.inf), TIMES))
    return Scenario(
        entries=tuple(
            draw(st.lists(st.tuples(BROADCASTS, histories()), min_size=1, max_size=most))
        ),
        sequential=draw(st.booleans()),
        deadline_at=draw(st.sampled_from([math.inf, math.inf, 3.0, 40.0])),
        stop_at=stop_at,
        stop_again_at=stop_at + draw(st.sampled_from([0.0, 1.0, 100.0])),
    )


@st.composite
def crowds(draw: st.DrawFn) -> Scenario:
    """Many pods and few places: some hang, say when to come again, come late, leave and return."""
    sometimes = st.sampled_from([-1.0, -1.0, -1.0, 0.3, 1.0, 2.5, 6.0])
    behaviours: st.SearchStrategy[Behaviour] = st.sampled_from(
        ["ok", "ok", "ok", "503", "503", "hang", "reset"]
    )

    def life() -> tuple[PodState, ...]:
        times = sorted({draw(sometimes), *draw(st.lists(TIMES, max_size=2))})
        return tuple(
            PodState(
                at=at,
                listening=draw(st.sampled_from([True, True, True, False])),
                listed=draw(st.sampled_from([True, True, True, False])),
                behaviour=draw(behaviours),
                seconds=draw(st.sampled_from([0.01, 0.5, 3.0, 8.0])),
                retry_after_seconds=draw(st.sampled_from([None, None, 2.0, 9.0])),
                exists=draw(EXISTS),
            )
            for at in times
        )

    def entry() -> tuple[Broadcast, History]:
        broadcast = draw(BROADCASTS)._replace(
            concurrency=draw(st.sampled_from([1, 2, 3])), attempts=draw(st.integers(2, 5))
        )
        ttl = draw(st.sampled_from([5, 30]))
        cache = Cache(ttl, holds_seconds=draw(st.sampled_from([0, 0, 0, 5])))
        lives = tuple(life() for _ in range(draw(st.integers(2, 10))))
        fault = tuple(draw(st.lists(faults(), max_size=1)))
        seconds = draw(st.sampled_from([0.002, 0.002, 0.3, 3.0]))
        return broadcast, History(lives, (cache,), faults=fault, dns_seconds=seconds)

    still = st.lists(st.tuples(TIMES, st.sampled_from([0.5, 5.0])), max_size=1)
    return Scenario(
        entries=tuple(entry() for _ in range(draw(st.integers(1, 3)))),
        stop_at=draw(st.sampled_from([math.inf, math.inf, math.inf, 2.0, 9.0])),
        stands_still=tuple(draw(st.one_of(st.just([]), st.just([]), still))),
    )


@st.composite
def converging(draw: st.DrawFn) -> Scenario:
    """A crowd of which each broadcast verifies, has canaries, or gives up after some failures."""
    crowd = draw(crowds())

    def entry(broadcast: Broadcast, history: History) -> tuple[Broadcast, History]:
        every, within = draw(st.sampled_from([(0.5, 3.0), (1.0, 10.0), (5.0, 2.0)]))
        verify = verified(every_seconds=every, within_seconds=within)
        lives = tuple(
            tuple(
                replace(state, shows=draw(st.sampled_from([True, True, False]))) for state in life
            )
            for life in history.pods
        )
        changed = broadcast._replace(
            verify=draw(st.sampled_from([None, verify])),
            canary=draw(st.sampled_from([0, 0, 1, 2, 20])),
            max_failed=draw(st.sampled_from([None, None, 0, 1])),
        )
        return changed, replace(history, pods=lives)

    return replace(crowd, entries=tuple(entry(*each) for each in crowd.entries))


def any_scenarios() -> st.SearchStrategy[Scenario]:
    return st.one_of(scenarios(most=3), crowds(), converging())


NOWHERE = os.open(os.devnull, os.O_WRONLY)


class Lines(Sink):
    """The log, in memory, each entry with the time of the simulated world."""

    def __init__(self, world: SimulatedWorld) -> None:
        super().__init__(NOWHERE, Stop())
        self._world = world
        self.entries: list[dict[str, Any]] = []
        self._by_name: dict[str | None, list[dict[str, Any]]] = defaultdict(list)

    def write(self, line: bytes) -> None:
        entry = json.loads(line) | {"at": self._world.now()}
        self.entries.append(entry)
        self._by_name[entry.get("broadcast")].append(entry)

    info = warning = error = write

    def of(self, number: int) -> list[dict[str, Any]]:
        """The entries of one broadcast."""
        return self._by_name[name_of(number)]


def name_of(number: int) -> str:
    return f"clear-{number}"


def run(scenario: Scenario) -> tuple[SimulatedWorld, RunReport, Lines]:
    world = SimulatedWorld(scenario)
    lines = Lines(world)
    named = [b._replace(name=name_of(number)) for number, b in enumerate(scenario.broadcasts)]
    rounds = Rounds(
        named,
        world,
        configure(lines, "json", "info", Masker(())),
        grace_seconds=scenario.grace_seconds,
        sequential=scenario.sequential,
        deadline_at=scenario.deadline_at,
    )
    reports = rounds.run()
    return world, RunReport(reports, world.now(), rounds.stop_signal), lines


def check(world: SimulatedWorld, run: RunReport, lines: Lines) -> None:
    for number, report in enumerate(run.broadcasts):
        check_calls(world, number)
        check_verdicts(world, number, report, lines)
        check_completeness(world, number, report, lines)
        check_log(number, report, lines)
        check_time(world, number, report, lines)
        proofs.check(world, number, report, lines.of(number))
    check_clocks(world, lines)
    if not world.scenario.stands_still:
        check_order(world, lines)
    check_calls_at_once(world)
    check_run(world, run, lines)


def check_clocks(world: SimulatedWorld, lines: Lines) -> None:
    """Each endpoint is called at its own time."""
    numbers = range(len(world.scenario.entries))
    starts = [clocks.starts_of(world, number) for number in numbers]
    if world.scenario.stands_still:
        return
    clocks.check_places(world, starts)
    clocks.check_fairness(world, starts)
    for number in numbers:
        started_at, finished_at = lines.of(number)[0]["at"], lines.of(number)[-1]["at"]
        clocks.check_questions(world, number, started_at, finished_at)
        clocks.check_retries(world, number, finished_at)


def check_run(world: SimulatedWorld, run: RunReport, lines: Lines) -> None:
    """Log, termination message and exit code say the same."""
    stopped = [entry for entry in lines.entries if entry["event"] == "shutdown.requested"]
    assert len(stopped) == (run.stop_signal is not None)
    assert (run.stop_signal is not None) == (world.now() >= world.scenario.stop_at)
    message = json.loads(summary_line(of_run(run, world.scenario.broadcasts), Masker(())))
    finished = [entry for entry in lines.entries if entry["event"] == "broadcast.finished"]
    for name in ("seen", "acknowledged", "failed", "gone", "cancelled"):
        assert message[name] == sum(entry[name] for entry in finished)
    worst = max(entry["exit_code"] for entry in finished)
    assert message["exit_code"] == (143 if stopped else worst)
    complete = all(report.outcome == "complete" for report in run.broadcasts)
    assert complete == (message["outcome"] == "complete")
    if not stopped:
        assert (message["exit_code"] == 0) == complete


def check_time(world: SimulatedWorld, number: int, report: BroadcastReport, lines: Lines) -> None:
    """It ends by its deadline, by the run's, and by the stop signal plus the grace period."""
    scenario, entry = world.scenario, world.scenario.broadcasts[number]
    began_at, finished_at = lines.of(number)[0]["at"], lines.of(number)[-1]["at"]
    deadline_at = min(began_at + entry.deadline_seconds, scenario.deadline_at)
    if scenario.stands_still:
        return
    assert finished_at <= max(deadline_at, began_at) + LATE_ANSWER_SECONDS + 0.001
    for call in world.made:
        if call.number == number:
            assert call.began_at < min(deadline_at, scenario.stop_at), "called too late"
            assert call.ended_at <= min(deadline_at, scenario.cut_at) + 0.001, "not cut"
            assert (call.result.error_type == "deadline") <= (call.ended_at == deadline_at)
    if finished_at > scenario.stop_at:
        assert finished_at <= max(began_at, scenario.cut_at) + 0.001, "did not stop in time"
    assert report.duration_seconds == pytest.approx(finished_at - began_at)


def check_order(world: SimulatedWorld, lines: Lines) -> None:
    """Each begins when the one before has made its first calls, no later and no earlier."""
    scenario = world.scenario
    for number in range(1, len(scenario.entries)):
        before, began_at = lines.of(number - 1), lines.of(number)[0]["at"]
        assert before[0]["at"] <= began_at
        ready_at = before[-1]["at"]
        if not scenario.sequential:
            ready_at = min(ready_at, first_calls_made_at(world, number - 1))
        ready_at = max(before[0]["at"], min(ready_at, scenario.stop_at, scenario.deadline_at))
        assert began_at == pytest.approx(ready_at, abs=LATE_ANSWER_SECONDS)


def first_calls_made_at(world: SimulatedWorld, number: int) -> float:
    """When the first answer's endpoints had all been called or were no more, or there was no such
    answer, or none for a second.
    """
    first = next((q for q in world.questions if q.number == number), None)
    if first is None:
        return math.inf
    if isinstance(first.answer, ResolutionFailure):
        return min(first.arrived_at, first.asked_at + 1.0)
    if first.arrived_at > first.asked_at + 1.0:
        return first.asked_at + 1.0
    calls: dict[Endpoint, float] = {}
    for call in world.made:
        if call.number == number:
            calls.setdefault(call.endpoint, call.ended_at)
    ends = [
        calls.get(endpoint, lost_at(world, number, endpoint)) for endpoint in first.answer.endpoints
    ]
    return max([first.arrived_at, *ends])


def lost_at(world: SimulatedWorld, number: int, endpoint: Endpoint) -> float:
    """When the API first said that the pod is no more, and it needs no call."""
    arrivals = (
        question.arrived_at
        for question in world.questions
        if question.number == number
        and isinstance(question.answer, Answer)
        and clocks.shows_gone(question.answer, endpoint)
    )
    return next(arrivals, math.inf)


def check_calls_at_once(world: SimulatedWorld) -> None:
    """The run has no more calls in flight than its largest broadcast may have."""
    most = max(entry.concurrency for entry in world.scenario.broadcasts)
    assert most_at_once([*world.made, *world.polled]) <= most, "too many at once"


def most_at_once(calls: Sequence[SimulatedCall]) -> int:
    """How many calls overlap at most."""
    changes = [(c.began_at, 1) for c in calls] + [(c.ended_at, -1) for c in calls]
    changes.sort()  # who ends makes room first
    return max(itertools.accumulate((change for _, change in changes)), default=0)


def check_calls(world: SimulatedWorld, number: int) -> None:
    entry = world.scenario.broadcasts[number]
    made = [call for call in world.made if call.number == number]
    polled = [call for call in world.polled if call.number == number]
    assert most_at_once([*made, *polled]) <= entry.concurrency, "too many at once"
    starts = [call.began_at for call in made]
    for earlier, later in itertools.pairwise(starts):
        assert later - earlier >= entry.stagger_seconds - 1e-9, "too close together"
    for endpoint, count in Counter(call.endpoint for call in made).items():
        assert count <= entry.attempts, f"{endpoint} called too often"


def answers_of(
    world: SimulatedWorld, number: int, lines: Lines
) -> list[tuple[float, Answer | ResolutionFailure]]:
    """What DNS said, with the time of its arrival; without what came when all was over."""
    finished_at = lines.of(number)[-1]["at"]
    questions = (q for q in world.questions if q.number == number)
    return [(q.arrived_at, q.answer) for q in questions if q.arrived_at <= finished_at]


def check_verdicts(
    world: SimulatedWorld, number: int, report: BroadcastReport, lines: Lines
) -> None:
    made = [call for call in world.made if call.number == number]
    listed = {
        a
        for _, answer in answers_of(world, number, lines)
        if isinstance(answer, Answer)
        for a in answer.endpoints
    }
    assert {e.endpoint for e in report.endpoints} == listed, "seen is not who was listed"
    for endpoint in report.endpoints:
        calls = [c.result for c in made if c.endpoint == endpoint.endpoint]
        assert endpoint.attempts == len(calls)
        accepted = any(c.error_type is None for c in calls)
        if not world.scenario.broadcasts[number].verify:
            assert (endpoint.verdict == "acknowledged") == accepted
        given_up = report.failure or report.reason in get_args(GivenUp)
        spared = endpoint.verdict == "cancelled" and given_up
        if report.ending in {"confirmed", "settle"} and endpoint.verdict != "gone":
            assert calls or spared, "let off without having been tried"
        if endpoint.verdict == "gone" and world.services[number].exact:
            last = [a for _, a in answers_of(world, number, lines) if isinstance(a, Answer)][-1]
            there = {*last.endpoints, *last.not_ready}
            assert endpoint.endpoint not in there, "gone though its pod is there"
        elif endpoint.verdict == "gone":
            assert calls, "gone without having been tried"
            assert not any(c.connect_seconds for c in calls), "gone though it accepted"
            check_gone(world, number, endpoint.endpoint, lines)
    assert report.calls == len(made)


def check_gone(world: SimulatedWorld, number: int, endpoint: Endpoint, lines: Lines) -> None:
    """It was missing until `settle` was over, and the last answer proves it."""
    settle_seconds = world.scenario.broadcasts[number].settle_seconds
    called_at = max(call.ended_at for call in world.made if call.number == number)
    assert lines.of(number)[-1]["at"] >= called_at + settle_seconds - 1e-6, "gone too early"
    answers = [answer for _, answer in answers_of(world, number, lines)]
    last = answers[-1]
    assert isinstance(last, Answer), "gone though DNS broke"
    assert last.endpoints, "gone since nobody was listed"
    assert not last.stale, "gone by a stale answer"
    assert endpoint not in last.endpoints, "gone though it is listed"


def check_completeness(
    world: SimulatedWorld, number: int, report: BroadcastReport, lines: Lines
) -> None:
    acknowledged = {e.endpoint for e in report.endpoints if e.verdict == "acknowledged"}
    service = world.services[number]
    good = [
        (at, answer)
        for at, answer in answers_of(world, number, lines)
        if isinstance(answer, Answer)
    ]
    if report.outcome == "complete":
        assert good, "complete without an answer"
        assert set(good[-1][1].endpoints) <= acknowledged, (
            "complete, but somebody listed was missed"
        )
        assert not good[-1][1].capped, "complete, but there may be more than were listed"
        assert len(acknowledged) >= world.scenario.broadcasts[number].min_pods
    if report.confirmed:
        last = good[-1][1]
        assert not last.stale, "confirmed by what may be a stale copy"
        nobody = list(itertools.takewhile(lambda each: not each[1].endpoints, reversed(good)))
        if nobody and len(nobody) < len(good) and not service.exact:
            first = nobody[-1][1]
            assert service.produced_at(last) > service.produced_at(first), "one copy of nobody"
        made = [call for call in world.made if call.number == number]
        polled = [call for call in world.polled if call.number == number]
        in_force = [[a for at, a in good if at <= c.began_at][-1] for c in made] or [good[0][1]]
        latest = max(map(service.produced_at, in_force))
        assert service.produced_at(last) > latest, "confirmed by an old copy"
        asked_at = next(q.asked_at for q in world.questions if q.answer is last)
        ends = [call.ended_at for call in [*made, *polled]]
        assert asked_at >= max(ends, default=0.0), "asked too early"
    steady = [
        service.endpoint(f"10.0.0.{number}", 0.0)
        for number, states in enumerate(service.history.pods, 1)
        if states[0].at < 0
        and all(s.listening and s.listed and s.behaviour == "ok" and s.seconds < 1 for s in states)
        and (all(s.exists for s in states) or not service.exact)
    ]
    if report.outcome == "complete" and good:
        seen = {endpoint for _, answer in good for endpoint in answer.endpoints}
        last = good[-1][1]
        if last.endpoints or service.exact:  # else it may be untrue
            again = seen & service.there(service.produced_at(last))
            assert again <= acknowledged, "complete, but a pod that was listed again was missed"
    true_answers = [answer for _, answer in good if answer not in service.untrue]
    if report.outcome == "complete" and true_answers:
        assert set(steady) <= acknowledged, "complete, but a pod that was always there was missed"


def check_log(number: int, report: BroadcastReport, lines: Lines) -> None:
    verdicts = Counter(endpoint.verdict for endpoint in report.endpoints)
    events = Counter(entry["event"] for entry in lines.of(number))
    finished = lines.of(number)[-1]
    assert finished["event"] == "broadcast.finished"
    assert finished["exit_code"] == {"complete": 0, "partial": 3, "failed": 4}[report.outcome]
    assert finished["seen"] == len(report.endpoints) == sum(verdicts.values())
    for verdict in ("acknowledged", "failed", "gone", "cancelled"):
        assert finished[verdict] == verdicts[verdict]
        if verdict != "acknowledged":
            assert events[f"endpoint.{verdict}"] == verdicts[verdict], "a miss without its line"
    if report.polls is None:
        assert events["call.succeeded"] == verdicts["acknowledged"]
    else:
        assert events["call.succeeded"] >= events["verify.succeeded"] >= verdicts["acknowledged"]
    assert events["call.succeeded"] + events["call.failed"] == report.calls
    assert ("reason" in finished) == (report.outcome != "complete")


SETTINGS = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.usefixtures("unmeasured")
@settings(SETTINGS, max_examples=2000)
@given(scenarios())
def test_the_promise_holds_in_every_history(scenario: Scenario) -> None:
    check(*run(scenario))


@pytest.mark.usefixtures("unmeasured")
@settings(SETTINGS, max_examples=700)
@given(crowds())
def test_the_promise_holds_in_a_crowd(scenario: Scenario) -> None:
    check(*run(scenario))


@pytest.mark.usefixtures("unmeasured")
@settings(SETTINGS, max_examples=1000)
@given(scenarios(most=4))
def test_the_promise_holds_for_broadcasts_that_overlap(scenario: Scenario) -> None:
    check(*run(scenario))


@pytest.mark.usefixtures("unmeasured")
@settings(SETTINGS, max_examples=1000)
@given(converging())
def test_the_promise_holds_where_pods_converge(scenario: Scenario) -> None:
    check(*run(scenario))


def test_that_nobody_is_listed_is_no_copy_of_an_answer_with_a_longer_ttl() -> None:
    """While the pod hangs, the server lists nobody for 5 s. Newcomers are looked for all the time.

    Found by the test above.
    """
    pod = (PodState(at=-1.0, listening=True, listed=True, seconds=20.0),)
    nobody = Fault(begins_at=0.005, ends_at=5.005, error_type="lists_nobody")
    history = History((pod,), (Cache(ttl_seconds=30),), faults=(nobody,), dns_seconds=0.0005)
    check(*run(Scenario(((broadcast(attempts=1, settle_seconds=0.0), history),))))


def test_an_answer_that_comes_when_its_broadcast_is_over_changes_nothing() -> None:
    """A stop signal ends the first during its second question; the second still makes a call."""
    entry = broadcast()
    quick, slow = (
        (PodState(-1.0, listening=True, listed=True, seconds=seconds),) for seconds in (0.001, 3.0)
    )
    scenario = Scenario(
        ((entry, History((quick,), dns_seconds=0.3)), (entry, History((slow,)))), stop_at=1.5
    )
    world, whole, lines = run(scenario)
    check(world, whole, lines)
    late = [question for question in world.questions if question.number == 0][-1]
    assert late.arrived_at > lines.of(0)[-1]["at"]
    assert world.now() > late.arrived_at
