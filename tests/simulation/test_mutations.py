"""The simulation finds a broken ledger. Each subclass below breaks one rule, and says which."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from tests.simulation.cluster import History
from tests.simulation.test_promise import BROADCASTS, check, histories, run
from worker.model import Answer, Broadcast, Endpoint, EndpointReport, Reason, Verdict
from worker.rounds import run as broadcast
from worker.rounds.ledger import Ending, Entry, Ledger, is_newer


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


class TakesWhoAcceptedAConnectionForGone(Ledger):
    def _is_gone(self, entry: Entry) -> bool:
        return super()._is_gone(entry._replace(reached=False))


class TakesWhoIsStillListedForGone(Ledger):
    def _judge(self, endpoint: Endpoint, entry: Entry) -> EndpointReport:
        report = super()._judge(endpoint, entry)
        refused = report.verdict == "failed" and entry.attempts > 0 and not entry.reached
        return report._replace(verdict="gone") if refused else report


class TakesACachedCopyForANewerAnswer(Ledger):
    def _is_newer(self, answer: Answer, other: Answer) -> bool:
        return answer.ttl_seconds > 0 or super()._is_newer(answer, other)


class TakesACacheThatStaysAtTtlZeroForNoCache(Ledger):
    def _is_newer(self, answer: Answer, other: Answer) -> bool:
        return is_newer(answer, other)


class DoesNotMoveTheAnswerToBeNewerThan(Ledger):
    def end_round(self, now: float) -> None:
        baseline = self._baseline
        super().end_round(now)
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
    def record_stop(self) -> None:
        pass


class IgnoresMinPodsInTheOutcome(Ledger):
    def _find_reason(self, counts: Counter[Verdict], deadline_hit: bool) -> Reason | None:
        self._broadcast = self._broadcast._replace(min_pods=0)
        return super()._find_reason(counts, deadline_hit)


class IsCompleteWithoutAnyAnswer(Ledger):
    def _find_reason(self, counts: Counter[Verdict], deadline_hit: bool) -> Reason | None:
        reason = super()._find_reason(counts, deadline_hit)
        return None if self._answer is None and self._broadcast.min_pods == 0 else reason


def breaks(case: tuple[Broadcast, History]) -> bool:
    try:
        check(*run(*case))
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("broken", Ledger.__subclasses__())
def test_a_broken_ledger_is_found(broken: type[Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "Ledger", broken)
    try:
        find(
            st.tuples(BROADCASTS, histories()),
            breaks,
            settings=settings(
                max_examples=20_000,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],  # any example will do: it need not be the smallest
                suppress_health_check=list(HealthCheck),
            ),
        )
    except NoSuchExample:
        pytest.fail("the simulation did not notice")
