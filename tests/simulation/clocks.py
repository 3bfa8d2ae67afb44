"""Each endpoint has its own clock: when it may be called, and when it has to be.

What joins the queue, and when, is told here from what DNS said and what the calls came to, by the
contract's rules and not by the program's code.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.simulation.cluster import SimulatedCall, SimulatedQuestion, SimulatedWorld
from worker.model import Answer, Broadcast, Endpoint, ResolutionFailure

EPSILON = 1e-6


class Believed(NamedTuple):
    """An answer that counts. An empty one, where somebody was listed before, may not."""

    asked_at: float
    arrived_at: float
    answer: Answer


class Start(NamedTuple):
    """The beginning of a call: since when its endpoint has waited for a place."""

    joined_at: float
    call: SimulatedCall


def questions_of(
    world: SimulatedWorld, number: int, until: float = math.inf
) -> list[SimulatedQuestion]:
    """The broadcast's questions that were over by then, in order."""
    return [q for q in world.questions if q.number == number and q.arrived_at <= until]


def believed(questions: Sequence[SimulatedQuestion]) -> Iterator[Believed]:
    """The answers that count: that nobody is listed any more has to be said twice."""
    first_empty: Answer | None = None
    seen = False
    for question in questions:
        answer = question.answer
        if isinstance(answer, ResolutionFailure):
            continue
        if answer.endpoints or not seen or answer.exact:
            seen, first_empty = seen or bool(answer.endpoints), None
        else:
            first_empty = first_empty or answer
            if not answer.is_newer_than(first_empty):
                continue
        yield Believed(question.asked_at, question.arrived_at, answer)


def starts_of(world: SimulatedWorld, number: int) -> list[Start]:
    """All calls of the broadcast in the order in which they began.

    Fails where a call had no reason: an answer that listed the endpoint, and for another call one
    that was asked for when it was due, with no later one that did not list it.
    """
    entry = world.scenario.broadcasts[number]
    answers = list(believed(questions_of(world, number)))
    earlier: defaultdict[Endpoint, list[SimulatedCall]] = defaultdict(list)
    starts = []
    for call in (call for call in world.made if call.number == number):
        before = earlier[call.endpoint]
        assert all(b.result.error_type for b in before), "called again after it acknowledged"
        due_at = due_of(entry, before)
        known = [a for a in answers if a.arrived_at <= call.began_at]
        if before:
            gaps = [n for n, a in enumerate(known) if call.endpoint not in a.answer.endpoints]
            known = known[gaps[-1] + 1 if gaps else 0 :]
        else:
            lost = [n for n, a in enumerate(known) if shows_gone(a.answer, call.endpoint)]
            known = known[lost[-1] + 1 if lost else 0 :]
        reasons = [a for a in known if call.endpoint in a.answer.endpoints and a.asked_at >= due_at]
        assert reasons, "called without an answer that listed it when it was due"
        starts.append(Start(reasons[0].arrived_at, call))
        before.append(call)
    return starts


def shows_gone(answer: Answer, endpoint: Endpoint) -> bool:
    """Whether the API lists no such pod."""
    return answer.exact and endpoint not in {*answer.endpoints, *answer.not_ready}


def due_of(entry: Broadcast, calls: Sequence[SimulatedCall]) -> float:
    """When the endpoint may be called again after these calls."""
    if not calls:
        return -math.inf
    last = calls[-1]
    doubled = entry.backoff_initial_seconds * 2.0 ** (len(calls) - 1)
    longer = max(doubled, last.result.retry_after_seconds or 0.0)
    return last.ended_at + min(longer, entry.backoff_max_seconds)


def check_places(world: SimulatedWorld, starts: Sequence[Sequence[Start]]) -> None:
    """Whoever waits is called as soon as there is a place, and who waited longest comes first."""
    everything = [call for of_one in starts for _, call in of_one] + world.polled
    most = max(entry.concurrency for entry in world.scenario.broadcasts)
    for number, of_one in enumerate(starts):
        entry = world.scenario.broadcasts[number]
        if entry.canary or entry.max_failed is not None:
            continue  # who is held back joins later than its answer says
        for earlier, later in itertools.pairwise(of_one):
            assert earlier.joined_at <= later.joined_at + EPSILON, "who came later was called first"
        begins = -math.inf
        for joined_at, call in of_one:
            free_at = max(joined_at, begins + entry.stagger_seconds)
            begins = call.began_at
            if call.began_at <= free_at + EPSILON:
                continue
            moments = [c.ended_at for c in everything if free_at <= c.ended_at < call.began_at]
            for moment in (free_at, *moments):
                own = in_flight(everything, moment, number)
                full = own >= entry.concurrency or in_flight(everything, moment) >= most
                assert full, "a place was free, and somebody waited for one"


def in_flight(calls: Sequence[SimulatedCall], at: float, number: int | None = None) -> int:
    """How many are in flight just after that moment, when what could begin has begun."""
    return sum(
        call.began_at <= at < call.ended_at and number in {None, call.number} for call in calls
    )


def check_fairness(world: SimulatedWorld, starts: Sequence[Sequence[Start]]) -> None:
    """No broadcast waits for a place while another gets two."""
    everything = [call for of_one in starts for _, call in of_one] + world.polled
    for number, of_one in enumerate(starts):
        entry = world.scenario.broadcasts[number]
        if entry.stagger_seconds or entry.canary or entry.max_failed is not None:
            continue
        served_at = -math.inf
        for joined_at, call in of_one:
            waits_at = max(joined_at, served_at)
            served_at = call.began_at
            if call.began_at <= waits_at + EPSILON:
                continue
            served = Counter(
                other.number
                for other in everything
                if other.number != number
                and waits_at + EPSILON < other.began_at < call.began_at - EPSILON
                and in_flight(everything, other.began_at, number) < entry.concurrency
            )
            assert all(count <= 1 for count in served.values()), "another was served twice"


def check_questions(
    world: SimulatedWorld, number: int, started_at: float, finished_at: float
) -> None:
    """One at a time; not too often; and often enough for those who are due, and for newcomers."""
    entry = world.scenario.broadcasts[number]
    questions = [q for q in world.questions if q.number == number]
    calls = [c for c in [*world.made, *world.polled] if c.number == number]
    began = [started_at, *(q.arrived_at for q in questions), *(call.ended_at for call in calls)]
    requests = [call for call in world.made if call.number == number]
    began += [due_of(entry, made) for made in _attempts(requests)]
    patience = Moments(at + entry.settle_seconds for at in began)  # the last question comes then
    exact = world.services[number].exact
    first = next((q for q in questions if isinstance(q.answer, Answer)), None)
    for before, after in itertools.pairwise(questions):
        took = before.arrived_at - before.asked_at
        gap = gap_after(entry, before)
        ended_at = max((c.ended_at for c in calls if c.ended_at <= after.asked_at), default=0.0)
        if exact and (before.asked_at < ended_at or before is first):
            gap = min(1.02, 10 * took)  # it is the one that confirms
        assert after.asked_at >= before.arrived_at - EPSILON, "two at once"
        if after.asked_at in patience:
            continue
        assert after.asked_at >= before.asked_at + gap - EPSILON, "too often"
        if isinstance(before.answer, ResolutionFailure):
            pause = max(1.02, before.answer.retry_after_seconds)
            assert after.asked_at >= before.arrived_at + pause - EPSILON, "too soon after a failure"
    if any(cache.holds_seconds for cache in world.services[number].history.caches):
        return
    ends = [*(question.asked_at for question in questions[1:]), finished_at]
    for question, after_at in zip(questions, ends, strict=bool(questions)):
        busy = any(c.began_at <= question.arrived_at and c.ended_at >= after_at for c in calls)
        if busy and after_at < world.scenario.stop_at:
            took = question.arrived_at - question.asked_at
            pause = max(5.0, 10 * took) if exact else 5.0
            assert after_at <= question.arrived_at + pause + EPSILON, "nobody looks for newcomers"


def gap_after(entry: Broadcast, question: SimulatedQuestion | Believed) -> float:
    """The least time from this question to the next one that somebody needs."""
    took = question.arrived_at - question.asked_at
    gap = min(1.02, max(entry.backoff_initial_seconds, 10 * took))
    by_api = entry.discovery == "endpointslices" and isinstance(question.answer, Answer)
    return max(gap, 2 * took) if by_api else gap


class Moments:
    """Times that were computed in more than one way."""

    def __init__(self, times: Iterable[float]) -> None:
        self._times = sorted(times)

    def __contains__(self, at: float) -> bool:
        index = bisect.bisect_left(self._times, at - EPSILON)
        return index < len(self._times) and self._times[index] <= at + EPSILON


def _attempts(calls: Sequence[SimulatedCall]) -> Iterator[list[SimulatedCall]]:
    """The calls of one endpoint up to each of them."""
    made: defaultdict[Endpoint, list[SimulatedCall]] = defaultdict(list)
    for call in calls:
        made[call.endpoint].append(call)
        yield list(made[call.endpoint])


def check_retries(world: SimulatedWorld, number: int, finished_at: float) -> None:
    """A failed endpoint is asked about when it is due, with the gap that questions keep."""
    entry = world.scenario.broadcasts[number]
    questions = [q for q in world.questions if q.number == number]
    if any(isinstance(question.answer, ResolutionFailure) for question in questions):
        return
    answers = list(believed(questions))
    if len(answers) < len(questions):
        return
    calls: defaultdict[Endpoint, list[SimulatedCall]] = defaultdict(list)
    for call in world.made:
        if call.number == number:
            calls[call.endpoint].append(call)
    for endpoint, made in calls.items():
        for count in range(1, len(made)):
            due_at = due_of(entry, made[:count])
            before = [a for a in answers if a.asked_at < due_at]
            if not all(endpoint in a.answer.endpoints for a in before):
                continue
            last = before[-1]
            gap = gap_after(entry, last)
            asked_at = next((a.asked_at for a in answers if a.asked_at >= due_at), finished_at)
            shared_at = due_at + 0.05 * entry.backoff_initial_seconds
            latest = max(shared_at, last.asked_at + gap, last.arrived_at)
            assert asked_at <= latest + EPSILON, "nobody asked about who was due"
