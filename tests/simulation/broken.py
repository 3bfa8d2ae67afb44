"""Broken decisions. Each class or function below breaks one rule, and says which; `search` looks
for a history that shows it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from tests.simulation.cluster import Scenario
from tests.simulation.stored import shortened
from tests.simulation.test_promise import any_scenarios, check, run
from worker.model import Answer, Broadcast, CallResult, Endpoint
from worker.report.records import EndpointReport
from worker.rounds import ledger, schedule, verdict
from worker.rounds import run as rounds
from worker.rounds.admission import Admission
from worker.rounds.books import Books, Entry
from worker.rounds.ledger import Ledger
from worker.rounds.proofs import Proofs
from worker.rounds.questions import Questions
from worker.rounds.schedule import Schedule
from worker.rounds.steps import Booked, Call, Change, Cut, Step, Wait
from worker.words import Ending, Reason, Verdict


class Replacement(NamedTuple):
    """What stands for what, while a broken rule decides."""

    module: ModuleType
    name: str
    value: object


BROKEN: dict[str, tuple[Replacement, ...]] = {}


def instead_of(module: ModuleType, name: str) -> Callable[[Callable[..., object]], None]:
    """Marks a function that breaks a rule in place of the one of that name."""

    def mark(function: Callable[..., object]) -> None:
        BROKEN[function.__name__] = (Replacement(module, name, function),)

    return mark


# --- who is called, and when ------------------------------------------------------------------


def queued(books: Books, endpoints: Iterable[Endpoint]) -> dict[Endpoint, Entry]:
    return {endpoint: books.entries[endpoint]._replace(phase="queued") for endpoint in endpoints}


class CallsWhoLeftDns(Ledger):
    def _miss(self, answer: Answer, previous: Answer | None, now: float) -> int:
        waited = [*self._queue]
        left = super()._miss(answer, previous, now)
        self._queue.extend(endpoint for endpoint in waited if endpoint not in self._queue)
        self.books.entries |= queued(self.books, waited)
        return left


class ForgetsWhoBecameUnreadyBeforeItsFirstCall(Ledger):
    def _miss(self, answer: Answer, previous: Answer | None, now: float) -> int:
        left = super()._miss(answer, previous, now)
        for endpoint in [*self._queue]:
            entry = self.books.entries[endpoint]
            if not self.books.is_listed(entry):
                self._queue.remove(endpoint)
                self.books.entries[endpoint] = entry._replace(phase="owed", attempts=1)
        return left


class CallsWhoAcknowledged(Ledger):
    def record_call(self, result: CallResult, now: float) -> Booked:
        booked = super().record_call(result, now)
        entry = self.books.entries[result.endpoint]
        if entry.phase == "acknowledged" and entry.attempts == 1:
            self.books.entries[result.endpoint] = entry._replace(phase="owed", due_at=now)
        return booked


class DoesNotCountAttempts(Ledger):
    def record_call(self, result: CallResult, now: float) -> Booked:
        entry = self.books.entries[result.endpoint]
        self.books.entries[result.endpoint] = entry._replace(attempts=0)
        return super().record_call(result, now)


class EverybodyWaitsForTheSlowest(Questions):
    def expect(self, due_at: float) -> None:
        before = self._due_at if self._due_at < math.inf else due_at
        super().expect(due_at)
        self._due_at = max(before, due_at)


class CallsFromAnAnswerThatWasAskedForTooEarly(Ledger):
    def _admit(self, endpoints: Iterable[Endpoint]) -> None:
        self.books.answer_asked_at, asked_at = math.inf, self.books.answer_asked_at
        super()._admit(endpoints)
        self.books.answer_asked_at = asked_at


class CallsWhoCameLastFirst(Ledger):
    def _admit(self, endpoints: Iterable[Endpoint]) -> None:
        super()._admit(endpoints)
        self._queue.reverse()


class IgnoresTheConcurrency(Ledger):
    def _count_to_start(self, now: float, room: int) -> int:
        books = self.books
        books.in_flight, in_flight = min(books.in_flight, 1), books.in_flight
        count = super()._count_to_start(now, room)
        books.in_flight = in_flight
        return count


class IgnoresTheStagger(Ledger):
    def _count_to_start(self, now: float, room: int) -> int:
        self._next_start_at = now
        return super()._count_to_start(now, room)


class IgnoresTheRoomOfTheRun(Ledger):
    def next_step(self, now: float, room: int) -> Step:
        return super().next_step(now, max(room, 1))


# --- when DNS is asked ------------------------------------------------------------------------


class AsksOnlyWhenNoCallIsInFlight(Questions):
    def next_at(self, busy: bool, now: float) -> float:
        return math.inf if self._books.in_flight else super().next_at(busy, now)


class AsksNoMoreWhenSettleIsOverThoughCallsAreInFlight(Questions):
    def next_at(self, _busy: bool, now: float) -> float:
        return super().next_at(False, now)


class AsksWheneverSomebodyIsDue(Questions):
    def _gap(self) -> float:
        return 0.0


# --- what an answer proves --------------------------------------------------------------------


class BelievesTheFirstEmptyAnswer(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        self._first_empty = answer._replace(expires_latest_at=-math.inf)
        return super().record_answer(answer, now)


class TakesACappedAnswerForAWholeOne(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        return super().record_answer(answer._replace(capped=False), now)


class TakesAStaleAnswerForANewerOne(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        return super().record_answer(answer._replace(stale=False), now)


class TakesACachedCopyForANewerAnswer(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        later = answer._replace(expires_earliest_at=now + 60 * (1 + self.books.questions))
        return super().record_answer(later, now)


class DoesNotMoveTheAnswerToBeNewerThan(Ledger):
    def record_started(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        before = self.books.in_force
        super().record_started(endpoints, now)
        self.books.in_force = before or self.books.in_force


class DoubtsTheApi(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        return super().record_answer(answer._replace(exact=False), now)


class TakesWhoIsNotReadyForGone(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        return super().record_answer(answer._replace(not_ready=frozenset()), now)


class CallsWhoIsGone(Ledger):
    def _miss(self, answer: Answer, previous: Answer | None, now: float) -> int:
        waited = [e for e in self._queue if not self.books.entries[e].attempts]
        left = super()._miss(answer, previous, now)
        self._queue.extend(endpoint for endpoint in waited if endpoint not in self._queue)
        self.books.entries |= queued(self.books, waited)
        return left


class LetsTheNextBeginWhenAPodThatIsCalledIsGone(Ledger):
    def _miss(self, answer: Answer, previous: Answer | None, now: float) -> int:
        left = super()._miss(answer, previous, now)
        if self._first:
            self._first -= {e for e, entry in self.books.entries.items() if entry.gone}
        return left


class IsConfirmedByAnAnswerThatWasAskedForDuringACall(Books):
    def confirmed(self) -> bool:
        self.last_call_ended_at, ended_at = -math.inf, self.last_call_ended_at
        confirmed = super().confirmed()
        self.last_call_ended_at = ended_at
        return confirmed


# --- who is gone, and what it came to ---------------------------------------------------------


class WaitsForNobodyToComeBack(Books):
    def may_come_back(self, _entry: Entry) -> bool:
        return False


def is_gone_at_once(books: Books, entry: Entry) -> bool:
    books.ending, ending = "settle", books.ending
    gone = IS_GONE(books, entry)
    books.ending = ending
    return gone


IS_GONE, JUDGE, FIND_REASON = verdict.is_gone, verdict.judge, verdict.find_reason


@instead_of(verdict, "is_gone")
def takes_who_nobody_lists_for_gone(books: Books, entry: Entry) -> bool:
    answer = books.answer
    if answer and not answer.endpoints and not books.is_listed(entry):
        books.answer = answer._replace(endpoints=(Endpoint("10.0.0.99", 8080),))
    gone = IS_GONE(books, entry)
    books.answer = answer
    return gone


@instead_of(verdict, "is_gone")
def takes_who_accepted_a_connection_for_gone(books: Books, entry: Entry) -> bool:
    return IS_GONE(books, entry._replace(reached=False))


@instead_of(verdict, "is_gone")
def takes_a_pod_that_is_not_ready_for_gone(books: Books, entry: Entry) -> bool:
    answer = books.answer
    books.answer = answer and answer._replace(exact=False)
    gone = IS_GONE(books, entry)
    books.answer = answer
    return gone


@instead_of(verdict, "judge")
def takes_who_is_still_listed_for_gone(
    books: Books, endpoint: Endpoint, entry: Entry
) -> EndpointReport:
    report = JUDGE(books, endpoint, entry)
    refused = report.verdict == "failed" and entry.attempts > 0 and not entry.reached
    return report._replace(verdict="gone") if refused else report


@instead_of(verdict, "judge")
def forgets_who_is_owed_a_call_at_the_deadline(
    books: Books, endpoint: Endpoint, entry: Entry
) -> EndpointReport:
    report = JUDGE(books, endpoint, entry)
    return report._replace(verdict="gone") if report.error_type == "deadline" else report


@instead_of(verdict, "find_reason")
def forgets_a_failure_that_is_not_retried(
    books: Books, counts: Counter[Verdict], deadline_hit: bool
) -> Reason | None:
    if not deadline_hit:
        counts = counts.copy()
        del counts["failed"]
    return FIND_REASON(books, counts, deadline_hit)


@instead_of(verdict, "find_reason")
def ignores_min_pods_in_the_outcome(
    books: Books, counts: Counter[Verdict], deadline_hit: bool
) -> Reason | None:
    books.broadcast = books.broadcast._replace(min_pods=0)
    return FIND_REASON(books, counts, deadline_hit)


@instead_of(verdict, "find_reason")
def is_complete_without_any_answer(
    books: Books, counts: Counter[Verdict], deadline_hit: bool
) -> Reason | None:
    reason = FIND_REASON(books, counts, deadline_hit)
    return None if books.answer is None and books.broadcast.min_pods == 0 else reason


# --- deadline and stop ------------------------------------------------------------------------


class IgnoresTheDeadline(Ledger):
    def _find_ending(self, _now: float) -> Ending | None:
        return super()._find_ending(-math.inf)


class IgnoresTheRunsDeadline(Ledger):
    def __init__(self, broadcast: Broadcast, started_at: float, _run_deadline_at: float) -> None:
        super().__init__(broadcast, started_at)


class LetsCallsOutlastTheDeadline(Ledger):
    def next_step(self, now: float, room: int) -> Step:
        step = super().next_step(now, room)
        return Wait(now + 1, "calls") if step == Cut("deadline") else step


class IgnoresAStopSignal(Ledger):
    def record_stop(self, cut_at: float) -> None:
        pass


class LetsCallsOutlastTheGracePeriod(Ledger):
    def record_stop(self, _cut_at: float) -> None:
        super().record_stop(math.inf)


# --- between broadcasts -----------------------------------------------------------------------


class BeginsAtOnce(Schedule):
    begins_at = -math.inf

    def begin(self, now: float) -> int | None:
        return None if len(self.ledgers) == len(self._broadcasts) else super().begin(now)


class BeginsWhenTheOneBeforeIsFinished(Schedule):
    @property
    def begins_at(self) -> float:
        self._sequential = True
        return super().begins_at


class IsNeverSequential(Schedule):
    @property
    def begins_at(self) -> float:
        self._sequential = False
        return super().begins_at


class WaitsForTheFirstAnswerForEver(Ledger):
    @property
    def lets_next_begin_at(self) -> float:
        return super().lets_next_begin_at if self._first is not None else math.inf


class ServesWhoBeganFirst(Schedule):
    def shares(self, now: float) -> Iterator[tuple[int, int]]:
        for number, room in super().shares(now):
            self._served = dict(enumerate(range(len(self.ledgers))))
            yield number, room


class CallsForWhatBeginsAfterAStop(Schedule):
    def begin(self, now: float) -> int | None:
        number = super().begin(now)
        if number is not None and self._cut_at is not None:
            self.ledgers[number].books.stopped = False
        return number


# --- what a proof is, and who may be called for the first time --------------------------------


class TakesTheRequestForItsProof(Proofs):
    def begin(self, entry: Entry, _endpoint: Endpoint, _now: float) -> Entry:
        return entry._replace(phase="acknowledged")


class TakesTheProofOfASuccessor(Proofs):
    def ended(self, result: CallResult, now: float) -> Entry:
        entry = super().ended(result, now)
        return entry._replace(phase="acknowledged") if entry.phase == "proved" else entry


class PollsWhoIsNotListed(Proofs):
    def next_due(self, now: float) -> Endpoint | None:
        while self._timers and self._timers[0][0] <= now:
            self._due.append(self._timers.pop(0)[2])
        entries = self._books.entries
        return next((e for e in self._due if entries[e].phase == "proving"), None)


class PollsAtOnceAgain(Proofs):
    def _again(self, entry: Entry, endpoint: Endpoint, due_at: float) -> Entry:
        assert entry.proof
        pause = self._verify.every_seconds if entry.proof.polls else 0.0
        return super()._again(entry, endpoint, due_at - pause)


class PollsAfterAPause(Proofs):
    def begin(self, entry: Entry, endpoint: Endpoint, now: float) -> Entry:
        entry = super().begin(entry, endpoint, now)
        return self._again(entry, endpoint, now + self._verify.every_seconds)


class GivesUpAfterTheFirstPoll(Proofs):
    def ended(self, result: CallResult, now: float) -> Entry:
        entry = super().ended(result, now)
        waits = entry.phase == "proving" and not entry.gone and result.error_type == "body_mismatch"
        return self._failed(entry, result.endpoint) if waits else entry


class CountsTheTimeThatAPollWaitsForAPlace(Proofs):
    def _ends_at(self, endpoint: Endpoint, _now: float) -> float:
        proof = self._books.entries[endpoint].proof
        assert proof
        return proof.ends_at


class PollsBeyondItsConcurrency(Ledger):
    def _find_poll(self, now: float, room: int) -> Call | None:
        return self._proofs.poll(now) if self._proofs and room and self._may_poll(now) else None


class ConfirmsWhatIsNotProved(Books):
    def is_unproved(self, _entry: Entry) -> bool:
        return False


class CallsEverybodyBesideTheCanaries(Admission):
    def admits(self, _endpoint: Endpoint) -> bool:
        return not self._books.given_up


class LetsTheOthersGoWhenTheFirstCanaryIsDone(Admission):
    def opens(self) -> bool:
        done = any(self._books.entries[each].phase == "acknowledged" for each in self.canaries)
        self.is_open = self.is_open or done
        return done


class ReplacesNoCanary(Admission):
    def _is_lost(self, _entry: Entry) -> bool:
        return False


class GoesOnThoughTooManyFailed(Admission):
    def failed(self, _endpoint: Endpoint) -> None:
        pass


for _kind, _module in (
    (Ledger, schedule),
    (Schedule, rounds),
    (Books, ledger),
    (Questions, ledger),
    (Proofs, ledger),
    (Admission, ledger),
):
    for _broken in _kind.__subclasses__():
        BROKEN[_broken.__name__] = (Replacement(_module, _kind.__name__, _broken),)
BROKEN["WaitsForNobodyToComeBack"] += (Replacement(verdict, "is_gone", is_gone_at_once),)


@contextmanager
def deciding(name: str) -> Iterator[None]:
    """The rounds decide by that broken rule."""
    with pytest.MonkeyPatch.context() as patch:
        for replacement in BROKEN[name]:
            patch.setattr(replacement.module, replacement.name, replacement.value)
        yield


def breaks(scenario: Scenario) -> bool:
    """Whether the run breaks the promise."""
    try:
        check(*run(scenario))
    except AssertionError:
        return True
    return False


def shows(name: str, scenario: Scenario) -> bool:
    """Whether the broken rule of that name breaks the promise, and the sound rules keep it."""
    if breaks(scenario):
        return False
    with deciding(name):
        return breaks(scenario)


def search(name: str) -> Scenario | None:
    """A short history that shows the broken rule of that name."""
    try:
        found = find(
            any_scenarios(),
            lambda scenario: shows(name, scenario),
            settings=settings(
                max_examples=20_000,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    except NoSuchExample:
        return None
    return shortened(found, lambda scenario: shows(name, scenario))
