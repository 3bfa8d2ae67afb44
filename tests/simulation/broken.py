"""Broken decisions. Each subclass below breaks one rule, and says which; `search` looks for a
history that shows it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from tests.simulation.cluster import Scenario
from tests.simulation.stored import shortened
from tests.simulation.test_promise import check, run, scenarios
from worker.model import Answer, Broadcast, Ending, Endpoint, EndpointReport, Reason, Verdict
from worker.rounds import run as rounds
from worker.rounds import schedule
from worker.rounds.ledger import Ledger
from worker.rounds.rules import Entry
from worker.rounds.schedule import Schedule
from worker.rounds.steps import Change, Cut, Step, Wait


class CallsWhoLeftDns(Ledger):
    def _owed(self) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint, e in self._entries.items() if self._owes(e))

    def _owes(self, entry: Entry) -> bool:
        return self._answer is not None and super()._owes(entry._replace(listed_in=self._answer))


class CallsWhoAcknowledged(Ledger):
    def _owes(self, entry: Entry) -> bool:
        return super()._owes(entry._replace(acknowledged=False))


class DoesNotCountAttempts(Ledger):
    def _owes(self, entry: Entry) -> bool:
        return super()._owes(entry._replace(attempts=0))


class DoesNotWaitForWhoMayComeBack(Ledger):
    def _may_come_back(self, _entry: Entry) -> bool:
        return False

    def _is_gone(self, entry: Entry) -> bool:
        self.ending, ending = "settle", self.ending
        gone = super()._is_gone(entry)
        self.ending = ending
        return gone


class BelievesTheFirstEmptyAnswer(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        self._first_empty = answer._replace(expires_latest_at=-math.inf)
        return super().record_answer(answer, now)


class TakesWhoNobodyListsForGone(Ledger):
    def _is_gone(self, entry: Entry) -> bool:
        answer = self._answer
        if answer and not answer.endpoints:
            self._answer = answer._replace(endpoints=(Endpoint("10.0.0.99", 8080),))
        gone = super()._is_gone(entry)
        self._answer = answer
        return gone


class TakesACappedAnswerForAWholeOne(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        return super().record_answer(answer._replace(capped=False), now)


class TakesAStaleAnswerForANewerOne(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        return super().record_answer(answer._replace(stale=False), now)


class TakesACachedCopyForANewerAnswer(Ledger):
    def record_answer(self, answer: Answer, now: float) -> Change:
        later = answer._replace(expires_earliest_at=now + 60 * (1 + self.rounds))
        return super().record_answer(later, now)


class TakesWhoAcceptedAConnectionForGone(Ledger):
    def _is_gone(self, entry: Entry) -> bool:
        return super()._is_gone(entry._replace(reached=False))


class TakesWhoIsStillListedForGone(Ledger):
    def _judge(self, endpoint: Endpoint, entry: Entry) -> EndpointReport:
        report = super()._judge(endpoint, entry)
        refused = report.verdict == "failed" and entry.attempts > 0 and not entry.reached
        return report._replace(verdict="gone") if refused else report


class DoesNotMoveTheAnswerToBeNewerThan(Ledger):
    def _end_round(self, now: float) -> None:
        baseline = self._baseline
        super()._end_round(now)
        self._baseline = baseline


class ForgetsAFailureThatIsNotRetried(Ledger):
    def _find_reason(self, counts: Counter[Verdict], deadline_hit: bool) -> Reason | None:
        if not deadline_hit:
            counts = counts.copy()
            del counts["failed"]
        return super()._find_reason(counts, deadline_hit)


class ForgetsWhoIsOwedACallAtTheDeadline(Ledger):
    def _judge(self, endpoint: Endpoint, entry: Entry) -> EndpointReport:
        report = super()._judge(endpoint, entry)
        return report._replace(verdict="gone") if report.error_type == "deadline" else report


class IgnoresTheDeadline(Ledger):
    def _find_ending(self, now: float) -> Ending | None:
        return super()._find_ending(now - math.inf)


class IgnoresAStopSignal(Ledger):
    def record_stop(self, cut_at: float) -> None:
        pass


class LetsCallsOutlastTheDeadline(Ledger):
    def _call_or_wait(self, now: float, room: int) -> Step:
        step = super()._call_or_wait(now, room)
        return Wait(now + 1, "calls") if step == Cut("deadline") else step


class LetsCallsOutlastTheGracePeriod(Ledger):
    def record_stop(self, _cut_at: float) -> None:
        super().record_stop(math.inf)


class IgnoresTheConcurrency(Ledger):
    def _call_or_wait(self, now: float, room: int) -> Step:
        self.in_flight, in_flight = min(self.in_flight, 1), self.in_flight
        step = super()._call_or_wait(now, room)
        self.in_flight = in_flight
        return step


class IgnoresTheStagger(Ledger):
    def _call_or_wait(self, now: float, room: int) -> Step:
        self._next_start_at = now
        return super()._call_or_wait(now, room)


class IgnoresTheRoomOfTheRun(Ledger):
    def next_step(self, now: float, room: int) -> Step:
        return super().next_step(now, max(room, 1))


class IgnoresTheRunsDeadline(Ledger):
    def __init__(self, broadcast: Broadcast, started_at: float, _run_deadline_at: float) -> None:
        super().__init__(broadcast, started_at)


class BeginsAtOnce(Schedule):
    def _may_begin(self, _now: float) -> bool:
        return True


class BeginsWhenTheOneBeforeIsFinished(Schedule):
    def _may_begin(self, now: float) -> bool:
        self._sequential = True
        return super()._may_begin(now)


class IsNeverSequential(Schedule):
    def _may_begin(self, now: float) -> bool:
        self._sequential = False
        return super()._may_begin(now)


class CallsForWhatBeginsAfterAStop(Schedule):
    def begin(self, now: float) -> int | None:
        number = super().begin(now)
        if number is not None and self._cut_at is not None:
            self.ledgers[number]._stopped = False  # noqa: SLF001
        return number


class IgnoresMinPodsInTheOutcome(Ledger):
    def _find_reason(self, counts: Counter[Verdict], deadline_hit: bool) -> Reason | None:
        self._broadcast = self._broadcast._replace(min_pods=0)
        return super()._find_reason(counts, deadline_hit)


class IsCompleteWithoutAnyAnswer(Ledger):
    def _find_reason(self, counts: Counter[Verdict], deadline_hit: bool) -> Reason | None:
        reason = super()._find_reason(counts, deadline_hit)
        return None if self._answer is None and self._broadcast.min_pods == 0 else reason


BROKEN: dict[str, type[Ledger | Schedule]] = {
    broken.__name__: broken
    for broken in chain[type[Ledger | Schedule]](Ledger.__subclasses__(), Schedule.__subclasses__())
}


@contextmanager
def deciding(broken: type[Ledger | Schedule]) -> Iterator[None]:
    """The rounds decide by this class instead of the sound one."""
    with pytest.MonkeyPatch.context() as patch:
        if issubclass(broken, Ledger):
            patch.setattr(schedule, "Ledger", broken)
        else:
            patch.setattr(rounds, "Schedule", broken)
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
    with deciding(BROKEN[name]):
        return breaks(scenario)


def search(name: str) -> Scenario | None:
    """A short history that shows the broken rule of that name."""
    try:
        found = find(
            scenarios(most=3),
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
