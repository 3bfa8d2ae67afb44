"""When the witness is asked again: every time is an argument."""

from __future__ import annotations

import math

import pytest

from tests.records import broadcast
from worker.model import Answer, Endpoint, ResolutionFailure
from worker.rounds.books import Books, Entry
from worker.rounds.questions import Questions
from worker.rounds.rules import pause_seconds

BROADCAST = broadcast(backoff_initial_seconds=1.0, settle_seconds=40.0)
SERVFAIL = ResolutionFailure("web", "dns_servfail", "SERVFAIL")
POD = Endpoint("10.0.0.1", 8080)
# So much later than its own time an endpoint is asked for: others may be due soon after it.
SHARING = 0.05


def of_dns(at: float, *pods: Endpoint, ttl: int = 5) -> Answer:
    return Answer("web", pods, ttl, at + ttl, at + ttl)


def of_api(at: float, *pods: Endpoint) -> Answer:
    return Answer("shop/web", pods, 0, at, at, exact=True)


class Asking:
    """The questions of a broadcast, with the books that they look into."""

    def __init__(self, settle_seconds: float = 40.0) -> None:
        self.books = Books(BROADCAST._replace(settle_seconds=settle_seconds), 0.0, 300.0)
        self.questions = Questions(self.books)

    def answered(self, now: float, answer: Answer, **entry: object) -> None:
        """A question that is answered at once. `entry`: that of the pod, if it is listed."""
        self.questions.begin(now)
        self.questions.end(now)
        self.books.failure = None
        previous, self.books.answer = self.books.answer, answer
        self.books.answer_asked_at = now
        self.books.in_force = self.books.in_force or answer
        if answer.endpoints:
            self.books.entries[POD] = Entry(answer, 1)._replace(**entry)  # type: ignore[arg-type]
        self.questions.answered(answer, previous, queued=False, busy=False)

    def failed(self, now: float) -> None:
        self.questions.begin(now)
        self.questions.end(now)
        self.books.failure = SERVFAIL
        self.questions.failed(SERVFAIL, now)

    def next_at(self, now: float, busy: bool = False) -> float:
        return self.questions.next_at(busy, now)


def test_the_first_question_is_asked_at_once() -> None:
    assert Asking().next_at(0.0) == 0.0


def test_the_pauses_grow_while_nothing_happens() -> None:
    asking = Asking()
    asking.answered(0.0, of_dns(0.0, POD), phase="acknowledged")
    assert asking.next_at(0.0) == pause_seconds(1)
    asking.answered(2.0, of_dns(2.0, POD), phase="acknowledged")
    assert asking.next_at(2.0) == 2.0 + pause_seconds(2)
    asking.answered(10.0, of_dns(10.0, POD), phase="acknowledged")
    assert asking.next_at(10.0) == 10.0 + pause_seconds(3)


def test_after_a_failure_they_begin_anew() -> None:
    asking = Asking()
    for now in (0.0, 5.0, 10.0, 15.0):
        asking.answered(now, of_dns(now, POD), phase="acknowledged")
    asking.failed(20.0)
    assert asking.next_at(20.0) == 20.0 + pause_seconds(1)
    asking.answered(25.0, of_dns(25.0, POD), phase="acknowledged")
    assert asking.next_at(25.0) == 25.0 + pause_seconds(2)


def test_an_answer_ends_a_row_of_failures() -> None:
    asking = Asking()
    asking.failed(0.0)
    asking.failed(2.0)
    assert asking.next_at(2.0) == 2.0 + pause_seconds(2)
    asking.answered(5.0, of_dns(5.0, POD), phase="acknowledged")
    asking.failed(10.0)
    assert asking.next_at(10.0) == 10.0 + pause_seconds(1)


def test_who_is_due_waits_for_the_pause_after_a_failure() -> None:
    asking = Asking()
    asking.answered(0.0, of_dns(0.0, POD), phase="owed", due_at=1.2, attempts=1)
    asking.failed(1.0)
    assert asking.next_at(1.0, busy=True) == 1.0 + pause_seconds(1)


def test_a_question_at_the_time_when_somebody_is_due_serves_it() -> None:
    asking = Asking()
    asking.answered(0.0, of_dns(0.0, POD), phase="owed", due_at=2.0, attempts=1)
    assert asking.next_at(0.0) == pause_seconds(1)
    asking.answered(2.0, of_dns(2.0, POD), phase="owed", due_at=2.0, attempts=1)
    assert asking.next_at(2.0) == 2.0 + pause_seconds(1), "it counts as one of which nothing came"


def test_who_is_listed_again_is_asked_for_when_it_is_due() -> None:
    asking = Asking()
    asking.answered(0.0, of_dns(0.0, POD), phase="owed", due_at=7.0, attempts=1)
    asking.answered(2.0, of_dns(2.0))
    asking.answered(6.5, of_dns(6.5, POD), phase="owed", due_at=7.5, attempts=1)
    assert asking.next_at(6.5) == pytest.approx(7.5 + SHARING)


def test_settle_brings_no_question_before_somebody_is_due() -> None:
    """The answer is a copy, which a cache keeps for 30 s."""
    asking = Asking(settle_seconds=5.0)
    asking.answered(0.0, of_dns(0.0, POD, ttl=30), phase="owed", due_at=20.0, attempts=1)
    asking.answered(4.0, of_dns(4.0, POD, ttl=26), phase="owed", due_at=20.0, attempts=1)
    assert asking.next_at(4.0) == pytest.approx(20.0 + SHARING)


def test_when_the_calls_are_over_dns_is_asked_as_if_for_the_first_time() -> None:
    asking = Asking()
    for now in (0.0, 5.0, 10.0):
        asking.answered(now, of_dns(now, POD), phase="acknowledged")
    asking.questions.calls_over()
    assert asking.next_at(10.0) == 10.0 + pause_seconds(1)


def test_but_not_where_the_last_question_failed() -> None:
    asking = Asking()
    asking.answered(0.0, of_dns(0.0, POD), phase="acknowledged")
    asking.failed(5.0)
    asking.failed(7.0)
    asking.questions.calls_over()
    assert asking.next_at(7.0) == 7.0 + pause_seconds(2)


def test_the_api_is_asked_at_once_when_the_calls_are_over() -> None:
    """Its next list confirms the result; before that, nobody waits for it."""
    asking = Asking()
    asking.questions.begin(0.0)
    asking.questions.end(0.0)
    asking.books.answer = asking.books.in_force = of_api(0.0, POD)
    asking.books.answer_asked_at = 0.0
    asking.books.entries[POD] = Entry(asking.books.answer, 1)._replace(phase="acknowledged")
    asking.books.last_call_ended_at = 0.3
    asking.questions.answered(asking.books.answer, None, queued=False, busy=True)
    assert asking.next_at(0.3, busy=True) == pause_seconds(1)
    asking.questions.calls_over()
    assert asking.next_at(0.3) == 0.0


def test_nobody_is_asked_when_it_is_over() -> None:
    asking = Asking()
    asking.answered(0.0, of_dns(0.0, POD), phase="acknowledged")
    assert asking.next_at(300.0) == math.inf
    asking.books.stopped = True
    assert asking.next_at(1.0) == math.inf
