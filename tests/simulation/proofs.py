"""What `verify`, `canary` and `max_failed` promise, told from what the cluster saw."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tests.simulation.clocks import EPSILON, Believed, believed, in_flight, questions_of
from tests.simulation.cluster import SimulatedCall, SimulatedWorld
from worker.model import Broadcast, Endpoint
from worker.report.records import BroadcastReport


def check(
    world: SimulatedWorld, number: int, report: BroadcastReport, lines: Sequence[dict[str, Any]]
) -> None:
    """`lines` are the broadcast's, with the time of each as `at`."""
    finished_at = lines[-1]["at"]
    entry = world.scenario.broadcasts[number]
    made = [call for call in world.made if call.number == number]
    polled = [call for call in world.polled if call.number == number]
    answers = list(believed(questions_of(world, number, finished_at)))
    if entry.verify:
        check_polls(entry, made, polled, answers)
        check_proved(report, made, polled, answers)
        check_patience(entry, made, polled, answers, lines)
        if not world.scenario.stands_still:
            check_promptness(world, entry, made, polled, answers)
    else:
        assert not polled
    if entry.canary:
        check_canaries(entry, made, polled, answers)
        check_the_next_canary(entry, report, made, answers)
    if entry.max_failed is not None:
        check_failures(entry, made, lines)


def by_endpoint(calls: list[SimulatedCall]) -> defaultdict[Endpoint, list[SimulatedCall]]:
    grouped: defaultdict[Endpoint, list[SimulatedCall]] = defaultdict(list)
    for call in calls:
        grouped[call.endpoint].append(call)
    return grouped


def check_polls(
    entry: Broadcast,
    made: list[SimulatedCall],
    polled: list[SimulatedCall],
    answers: list[Believed],
) -> None:
    """Polls come one after another, once the request held, while the endpoint is listed."""
    assert entry.verify
    accepted = accepted_at(made)
    for endpoint, polls in by_endpoint(polled).items():
        assert endpoint in accepted, "polled before it took the request"
        assert polls[0].began_at >= accepted[endpoint] - EPSILON, "polled too early"
        for before, after in itertools.pairwise(polls):
            assert before.result.error_type, "polled after it was proved"
            wait = after.began_at - before.ended_at
            assert wait >= entry.verify.every_seconds - EPSILON, "polled too often"
        for poll in polls:
            last = [a for a in answers if a.arrived_at <= poll.began_at][-1]
            assert endpoint in last.answer.endpoints, "polled though it was not listed"


def accepted_at(made: list[SimulatedCall]) -> dict[Endpoint, float]:
    """When each endpoint took the request."""
    return {c.endpoint: c.ended_at for c in made if c.result.error_type is None}


def proved_at(made: list[SimulatedCall], polled: list[SimulatedCall]) -> dict[Endpoint, float]:
    """When a poll of each endpoint held."""
    accepted = accepted_at(made)
    return {
        c.endpoint: c.ended_at
        for c in polled
        if c.result.error_type is None and c.began_at >= accepted[c.endpoint] - EPSILON
    }


def check_proved(
    report: BroadcastReport,
    made: list[SimulatedCall],
    polled: list[SimulatedCall],
    answers: list[Believed],
) -> None:
    """Who acknowledged was proved, after it took the request, and by the API still was that pod."""
    proved = proved_at(made, polled)
    for each in report.endpoints:
        if each.verdict == "failed" and report.ending == "confirmed":
            assert each.error_type, "missed without a reason"
    for endpoint in (e.endpoint for e in report.endpoints if e.verdict == "acknowledged"):
        assert endpoint in proved, "acknowledged without a proof"
        later = [a.answer for a in answers if a.asked_at >= proved[endpoint] - EPSILON]
        exact = answers[-1].answer.exact
        there = [a for a in later if endpoint in {*a.endpoints, *a.not_ready}]
        assert there or not exact, "acknowledged though it may have been another pod"


def check_patience(
    entry: Broadcast,
    made: list[SimulatedCall],
    polled: list[SimulatedCall],
    answers: list[Believed],
    lines: Sequence[dict[str, Any]],
) -> None:
    """Each has its whole time, in which it does not wait for a place."""
    assert entry.verify
    accepted = {str(endpoint): at for endpoint, at in accepted_at(made).items()}
    waited: defaultdict[str, float] = defaultdict(float)
    for due_at, poll in due(entry, made, polled, answers):
        waited[str(poll.endpoint)] += poll.began_at - due_at
    for line in lines:
        if line["event"] == "verify.failed":
            endpoint = line["endpoint"]
            ends_at = accepted[endpoint] + entry.verify.within_seconds + waited[endpoint]
            # The next poll would have come too late.
            last_at = ends_at - entry.verify.every_seconds
            assert line["at"] >= last_at - EPSILON, "given up too early"


def check_promptness(
    world: SimulatedWorld,
    entry: Broadcast,
    made: list[SimulatedCall],
    polled: list[SimulatedCall],
    answers: list[Believed],
) -> None:
    """A poll begins when it is due, if there is a place."""
    everything = [*world.made, *world.polled]
    least = min(each.concurrency for each in world.scenario.broadcasts)
    for due_at, poll in due(entry, made, polled, answers):
        if poll.began_at > due_at + EPSILON:
            moments = [c.ended_at for c in everything if due_at <= c.ended_at < poll.began_at]
            for moment in (due_at, *moments):
                assert in_flight(everything, moment) >= least, "nobody polled who was due"


def due(
    entry: Broadcast,
    made: list[SimulatedCall],
    polled: list[SimulatedCall],
    answers: list[Believed],
) -> Iterator[tuple[float, SimulatedCall]]:
    """Each poll with the time at which it was due, if its endpoint was listed from then on."""
    assert entry.verify
    accepted = accepted_at(made)
    for endpoint, polls in by_endpoint(polled).items():
        ends = [poll.ended_at + entry.verify.every_seconds for poll in polls]
        for due_at, poll in zip([accepted[endpoint], *ends], polls, strict=False):
            if was_listed(endpoint, answers, due_at, poll.began_at):
                yield due_at, poll


def done_at(
    entry: Broadcast, made: list[SimulatedCall], polled: list[SimulatedCall]
) -> dict[Endpoint, float]:
    """When each endpoint acknowledged, as far as the calls show."""
    return proved_at(made, polled) if entry.verify else accepted_at(made)


def check_canaries(
    entry: Broadcast,
    made: list[SimulatedCall],
    polled: list[SimulatedCall],
    answers: list[Believed],
) -> None:
    """Nobody but canaries is called before all of them have acknowledged."""
    done = done_at(entry, made, polled)
    enough = sorted(done.values())[entry.canary - 1 : entry.canary]
    open_at = min(enough, default=math.inf) - EPSILON
    began = {endpoint: calls[0].began_at for endpoint, calls in by_endpoint(made).items()}
    for at in (at for at in began.values() if at < open_at):
        canaries = [
            endpoint
            for endpoint in began
            if began[endpoint] <= at
            and (
                done.get(endpoint, math.inf) <= at
                or was_listed(endpoint, answers, began[endpoint], at)
            )
        ]
        assert len(canaries) <= entry.canary, "called beside the canaries"


def check_the_next_canary(
    entry: Broadcast,
    report: BroadcastReport,
    made: list[SimulatedCall],
    answers: list[Believed],
) -> None:
    """Where a canary is lost, the next one takes its part."""
    called = {call.endpoint for call in made}
    if report.ending == "settle" and not report.failure:
        listed = set(answers[-1].answer.endpoints)
        acknowledged = {e.endpoint for e in report.endpoints if e.verdict == "acknowledged"}
        canaries = called & (listed | acknowledged)
        assert listed <= called or len(canaries) >= entry.canary, "nobody took its part"


def was_listed(endpoint: Endpoint, answers: list[Believed], since: float, until: float) -> bool:
    """Whether every answer in this time listed it. Otherwise another one may have its part."""
    before = [a for a in answers if a.arrived_at <= since][-1:]
    between = [a for a in answers if since < a.arrived_at <= until]
    return all(endpoint in a.answer.endpoints for a in before + between)


def check_failures(
    entry: Broadcast, made: list[SimulatedCall], lines: Sequence[dict[str, Any]]
) -> None:
    """Once more than `max_failed` have failed for good, nobody new is called."""
    assert entry.max_failed is not None
    attempts = by_endpoint(made)
    failed = sorted(
        [
            calls[-1].ended_at
            for calls in attempts.values()
            if len(calls) == entry.attempts and calls[-1].result.error_type
        ]
        + [line["at"] for line in lines if line["event"] == "verify.failed"]
    )
    if len(failed) > entry.max_failed:
        too_many_at = failed[entry.max_failed]
        for calls in attempts.values():
            assert calls[0].began_at <= too_many_at + EPSILON, "called though too many had failed"
