"""The decisions of the rounds, with no clock: every time is an argument."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.records import broadcast
from worker.model import Answer, CallResult, Endpoint, ResolutionFailure
from worker.rounds.ledger import LATE_ANSWER_SECONDS, Ledger
from worker.rounds.rules import backoff_seconds, is_retried
from worker.rounds.steps import Ask, Booked, Call, Change, Cut, Finish, Step, Wait
from worker.words import CallError, ResolutionError

BROADCAST = broadcast()
ROOM = 1000  # for calls of the whole run
ASK = Ask(ends_at=BROADCAST.deadline_seconds)
SERVFAIL = ResolutionFailure("web.shop.svc.cluster.local", "dns_servfail", "10.0.0.10 answered")


def pod(number: int) -> Endpoint:
    return Endpoint(f"10.0.0.{number}", 8080)


def answer(at: float, *pods: int, ttl: int = 5) -> Answer:
    """An answer that arrived at once."""
    endpoints = tuple(pod(number) for number in pods)
    ends_at = at + ttl
    name = "web.shop.svc.cluster.local"
    return Answer(name, endpoints, ttl, ends_at, ends_at, "NXDOMAIN", stale=ttl == 0)


def result(number: int, error_type: CallError | None = None, **fields: Any) -> CallResult:
    accepted = error_type not in ("connect_refused", "connect_timeout", "unreachable")
    connect = 0.001 if accepted else None
    return CallResult(pod(number), "0" * 16, 0.01, connect, error_type=error_type, **fields)


def ledger(now: float = 0.0, **changes: Any) -> Ledger:
    return Ledger(BROADCAST._replace(**changes), now)


def step(book: Ledger, now: float, room: int = ROOM) -> Step:
    return book.next_step(now, room)


def tell(book: Ledger, said: Answer, now: float) -> Change:
    """The ledger asks, and DNS answers at once."""
    book.record_question(now)
    return book.record_answer(said, now)


def fail(book: Ledger, failure: ResolutionFailure, now: float) -> None:
    """The ledger asks, and gets no answer, which it knows at once."""
    book.record_question(now)
    book.record_failure(failure, now)


def start(book: Ledger, now: float, *pods: int, room: int = ROOM) -> None:
    """Starts the calls that the ledger wants started, which are to be these."""
    wanted = step(book, now, room)
    assert wanted == Call(BROADCAST.exchange, tuple(map(pod, pods)))
    assert isinstance(wanted, Call)
    book.record_started(wanted.endpoints, now)


def call(book: Ledger, now: float, *results: CallResult) -> None:
    """One round of calls."""
    start(book, now, *(int(r.endpoint.address.rpartition(".")[2]) for r in results))
    for each in results:
        book.record_call(each, now)
    step(book, now)


def waiting(book: Ledger, now: float, room: int = ROOM) -> tuple[float, str]:
    """For how long, and why."""
    wait = step(book, now, room)
    assert isinstance(wait, Wait)
    return round(wait.until - now, 6), wait.reason


def settle(book: Ledger, now: float, *pods: int, ttl: int = 5) -> float:
    """Answers in the same way for as long as the ledger asks. Returns when it has finished."""
    while not isinstance(wanted := step(book, now), Finish):
        if isinstance(wanted, Ask):
            tell(book, answer(now, *pods, ttl=ttl), now)
        else:
            assert isinstance(wanted, Wait)
            now = wanted.until
    return now


def verdicts(book: Ledger, now: float) -> list[tuple[str, str, str | None, bool]]:
    endpoints = book.report(now).endpoints
    return [
        (e.endpoint.address, e.verdict, e.error_type, e.verdict == "failed" and not e.listed)
        for e in endpoints
    ]


# --- newer answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "old", "newer"),
    [
        (answer(1.01, 1), answer(0, 1), True),  # uncached: the full TTL again
        (answer(1.0, 1), answer(0, 1), False),  # may be rounding
        (answer(3, 1, ttl=2), answer(0, 1), False),  # the same copy, counted down
        (answer(3.9, 1, ttl=2), answer(0, 1), False),  # the same copy, its TTL rounded up
        (answer(1.1, 1, ttl=0), answer(0, 1, ttl=0), False),  # stale copies have TTL 0, too
        (answer(9.1, 1, ttl=0), answer(0, 1, ttl=5), False),
        (answer(1.1, 1, ttl=5), answer(0, 1, ttl=0), True),
        (answer(0.5, 1, ttl=30), answer(0, 1), True),  # another cache, fresher
    ],
)
def test_an_answer_is_newer_only_if_it_cannot_be_the_same_cached_copy(
    new: Answer, old: Answer, newer: bool
) -> None:
    assert new.is_newer_than(old) is newer


def test_a_slow_answer_counts_from_when_it_was_asked_for() -> None:
    slow = answer(3, 1)._replace(expires_earliest_at=5.5)  # asked at 0.5, arrived at 3
    assert not slow.is_newer_than(answer(0, 1))


def test_answers_that_may_be_stale_confirm_nothing() -> None:
    book = ledger(settle_seconds=3.0)
    tell(book, answer(0, 1, ttl=0), 0)
    call(book, 0, result(1))
    now = settle(book, 0, 1, ttl=0)
    assert now == 3.0
    assert (book.report(now).outcome, book.report(now).confirmed) == ("complete", False)


# --- the straight line ------------------------------------------------------------------------


def test_the_first_thing_is_to_ask() -> None:
    assert step(ledger(), 0) == ASK


def test_all_acknowledge_and_a_newer_answer_confirms_it() -> None:
    book = ledger()
    assert tell(book, answer(0, 1, 2), 0) == Change(2, 2, 0, None, nobody=False)
    call(book, 0.1, result(1), result(2))
    assert waiting(book, 0.1) == (0.92, "cached_answer")
    assert step(book, 1.02) == ASK
    assert tell(book, answer(1.02, 1, 2), 1.02) == Change(2, 0, 0, True, nobody=False)
    assert step(book, 1.02) == Finish("confirmed")
    report = book.report(1.02)
    assert (report.outcome, report.reason, report.confirmed) == ("complete", None, True)
    assert (report.rounds, report.calls, report.duration_seconds) == (2, 2, 1.02)


def test_a_cached_copy_is_waited_out_until_it_expires() -> None:
    book = ledger()
    tell(book, answer(0, 1, ttl=20), 0)
    call(book, 0, result(1))
    tell(book, answer(1.02, 1, ttl=18), 1.02)
    assert waiting(book, 1.02) == (19.02, "cached_answer")
    assert step(book, 20.04) == ASK


def test_a_newcomer_is_called_and_nobody_twice() -> None:
    book = ledger()
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1))
    assert tell(book, answer(1.1, 1, 2), 1.1) == Change(2, 1, 0, True, nobody=False)
    call(book, 1.1, result(2))
    assert waiting(book, 1.1) == (1.02, "cached_answer")
    tell(book, answer(2.2, 1, 2), 2.2)
    assert step(book, 2.2) == Finish("confirmed")


def test_the_copy_of_a_later_expiring_answer_does_not_confirm_calls_from_an_earlier_one() -> None:
    book = ledger()
    tell(book, answer(0, 1, ttl=30), 0)
    call(book, 0, result(1))
    tell(book, answer(1.1, 1, 2, ttl=4), 1.1)  # another replica's copy
    call(book, 1.1, result(2))
    assert tell(book, answer(2.2, 1, ttl=27), 2.2).newer is False  # the first copy again
    assert isinstance(step(book, 2.2), Wait)


# --- retries ----------------------------------------------------------------------------------


def test_a_failure_is_called_again_after_the_backoff_and_a_new_answer() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2), 0)
    start(book, 0, 1, 2)
    assert book.record_call(result(1), 0) == Booked(1, 1, None)
    assert book.record_call(result(2, "status", status_code=503), 0) == Booked(1, 1, 1.0)
    assert waiting(book, 0.5) == (0.52, "backoff")
    assert step(book, 1.02) == ASK
    tell(book, answer(1.02, 1, 2), 1.02)
    call(book, 1.02, result(2))
    tell(book, answer(2.1, 1, 2), 2.1)
    assert step(book, 2.1) == Finish("confirmed")
    assert book.report(2.1).outcome == "complete"


def test_who_failed_just_after_another_shares_its_question() -> None:
    """Else, with the gap that questions keep, it would be called 0.2 s later than the other."""
    book = ledger(backoff_initial_seconds=0.2)
    tell(book, answer(0, 1, 2), 0)
    start(book, 0, 1, 2)
    for now, number in ((0.1, 1), (0.105, 2)):
        assert book.record_call(result(number, "connect_refused"), now) == Booked(1, 1, 0.2)
    assert waiting(book, 0.105) == (0.205, "backoff")
    tell(book, answer(0.31, 1, 2), 0.31)
    assert step(book, 0.31) == Call(book.books.broadcast.exchange, (pod(1), pod(2)))


def test_attempts_are_counted_and_then_it_has_failed() -> None:
    book = ledger(attempts=2)
    tell(book, answer(0, 1), 0)
    start(book, 0, 1)
    assert book.record_call(result(1, "timeout"), 0) == Booked(1, 1, 1.0)
    assert waiting(book, 0) == (1.02, "backoff")
    tell(book, answer(1, 1), 1)
    start(book, 1, 1)
    assert book.record_call(result(1, "timeout"), 1) == Booked(2, 2, None)
    assert waiting(book, 1) == (1.02, "cached_answer")
    tell(book, answer(2.1, 1), 2.1)
    assert step(book, 2.1) == Finish("confirmed")
    report = book.report(2.1)
    assert (report.outcome, report.reason) == ("failed", "all_calls_failed")
    assert verdicts(book, 2.1) == [("10.0.0.1", "failed", "timeout", False)]


@pytest.mark.parametrize(
    ("error_type", "status_code", "retried"),
    [
        ("connect_refused", None, True),
        ("connect_timeout", None, True),
        ("unreachable", None, True),
        ("timeout", None, True),
        ("connection_reset", None, True),
        ("protocol", None, True),
        ("local", None, True),
        ("tls", None, False),
        ("redirect", 301, False),
        ("body_mismatch", 200, False),
        ("status", 204, True),
        ("status", 400, False),
        ("status", 404, False),
        ("status", 408, True),
        ("status", 425, True),
        ("status", 429, True),
        ("status", 500, True),
        ("status", 503, True),
    ],
)
def test_what_is_retried(error_type: CallError, status_code: int | None, retried: bool) -> None:
    assert is_retried(result(1, error_type, status_code=status_code)) is retried


@pytest.mark.parametrize(
    ("attempts", "retry_after", "seconds"),
    [
        (1, None, 1),
        (2, None, 2),
        (4, None, 8),
        (5, None, 15),
        (900, None, 15),
        (1, 7.0, 7),
        (1, 0.2, 1),
        (1, 3600.0, 15),
    ],
)
def test_the_backoff_doubles_and_retry_after_raises_it_up_to_the_maximum(
    attempts: int, retry_after: float | None, seconds: float
) -> None:
    assert backoff_seconds(BROADCAST, attempts, retry_after) == seconds


def test_only_endpoints_of_the_current_answer_are_called() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2), 0)
    call(book, 0, result(1, "timeout"), result(2))
    tell(book, answer(1.02, 2, ttl=4), 1.02)  # 1 is missing, but this is the same old copy
    assert waiting(book, 1.02) == (5.02, "cached_answer")


# --- who left ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error_type", ["connect_refused", "connect_timeout", "unreachable"])
def test_gone_is_who_never_accepted_and_is_missing_until_settle_is_over(
    error_type: CallError,
) -> None:
    book = ledger(settle_seconds=20.0)
    tell(book, answer(0, 1, 2), 0)
    call(book, 0, result(1), result(2, error_type))
    assert tell(book, answer(1.1, 1), 1.1) == Change(1, 0, 1, True, nobody=False)
    assert waiting(book, 1.1) == (1.02, "absent")
    now = settle(book, 1.1, 1)
    assert now == 1.1 + 20  # from when it was missing first
    assert verdicts(book, now) == [
        ("10.0.0.1", "acknowledged", None, False),
        ("10.0.0.2", "gone", error_type, False),
    ]
    report = book.report(now)
    assert (report.outcome, report.confirmed) == ("complete", True)


def test_who_comes_back_before_settle_is_over_is_owed_a_call() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2), 0)
    call(book, 0, result(1), result(2, "connect_refused"))
    tell(book, answer(1.1, 1), 1.1)
    tell(book, answer(30, 1, 2), 30)
    call(book, 30, result(2))
    tell(book, answer(32, 1, 2), 32)
    assert step(book, 32) == Finish("confirmed")
    assert [verdict for _, verdict, _, _ in verdicts(book, 32)] == ["acknowledged"] * 2


def test_who_accepted_a_connection_is_waited_for_too_and_has_failed_if_it_stays_away() -> None:
    book = ledger(settle_seconds=20.0)
    tell(book, answer(0, 1, 2), 0)
    call(book, 0, result(1), result(2, "connection_reset"))
    tell(book, answer(1.1, 1), 1.1)
    assert waiting(book, 1.1) == (1.02, "absent")
    now = settle(book, 1.1, 1)
    assert verdicts(book, now)[1] == ("10.0.0.2", "failed", "connection_reset", True)
    assert book.report(now).reason == "some_calls_failed"


@pytest.mark.parametrize("changes", [{"attempts": 1}, {}])
def test_who_cannot_be_called_again_is_not_waited_for_unless_it_may_be_gone(
    changes: dict[str, Any],
) -> None:
    book = ledger(**changes)
    tell(book, answer(0, 1, 2), 0)
    code = {} if changes else {"status_code": 404}
    call(book, 0, result(1), result(2, "timeout" if changes else "status", **code))
    tell(book, answer(1.1, 1), 1.1)
    assert step(book, 1.1) == Finish("confirmed")
    assert verdicts(book, 1.1)[1][1] == "failed"


def test_an_earlier_connection_counts_though_the_last_was_refused() -> None:
    book = ledger(settle_seconds=5.0)
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1, "connection_reset"))
    tell(book, answer(1, 1), 1)
    call(book, 1, result(1, "connect_refused"))
    tell(book, answer(3, 2), 3)
    call(book, 3, result(2))
    now = settle(book, 3, 2)
    assert verdicts(book, now)[0] == ("10.0.0.1", "failed", "connect_refused", True)


def test_missing_from_an_answer_that_is_not_newer_is_failed() -> None:
    book = ledger(settle_seconds=1.5)
    tell(book, answer(0, 1, 2), 0)
    call(book, 0, result(1), result(2, "connect_refused"))
    tell(book, answer(1, 1, ttl=4), 1)
    tell(book, answer(2.6, 1, ttl=2), 2.6)
    assert step(book, 2.6) == Finish("settle")
    assert verdicts(book, 2.6)[1] == ("10.0.0.2", "failed", "connect_refused", True)
    assert book.report(2.6).confirmed is False


def test_nobody_is_gone_at_a_deadline_or_a_stop() -> None:
    stopped, late = ledger(), ledger(deadline_seconds=10.0)
    for book in (stopped, late):
        tell(book, answer(0, 1, 2), 0)
        call(book, 0, result(1), result(2, "connect_refused"))
        tell(book, answer(1.1, 1), 1.1)
    stopped.record_stop(cut_at=5)
    assert step(stopped, 2) == Finish("stopped")
    assert verdicts(stopped, 2)[1][1] == "cancelled"
    assert step(late, 10) == Finish("deadline")
    assert verdicts(late, 10)[1] == ("10.0.0.2", "failed", "connect_refused", True)


def test_nobody_is_gone_if_dns_breaks_before_settle_is_over() -> None:
    book = ledger(settle_seconds=5.0)
    tell(book, answer(0, 1, 2), 0)
    call(book, 0, result(1), result(2, "connect_refused"))
    tell(book, answer(1.1, 1), 1.1)
    fail(book, SERVFAIL, 6.1)
    assert step(book, 6.1) == Finish("settle")
    assert verdicts(book, 6.1)[1][1] == "failed"


# --- nobody is listed any more ----------------------------------------------------------------


def test_one_empty_answer_changes_nothing() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2), 0)
    call(book, 0, result(1), result(2, "connect_refused"))
    doubted = Change(0, 0, 0, None, nobody=True, doubted=True)
    assert tell(book, answer(1.1), 1.1) == doubted
    assert waiting(book, 1.1) == (1.02, "no_answer")
    tell(book, answer(2.2, 1, 2), 2.2)
    call(book, 2.2, result(2))
    assert tell(book, answer(3.3), 3.3) == doubted  # there was another answer between the two
    tell(book, answer(4.4, 1, 2), 4.4)
    assert step(book, 4.4) == Finish("confirmed")
    assert book.report(4.4).outcome == "complete"


def test_empty_answers_are_believed_when_they_are_a_second_apart_and_make_nobody_gone() -> None:
    book = ledger(settle_seconds=5.0)
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1, "connect_refused"))
    assert tell(book, answer(1.5), 1.5).nobody
    assert tell(book, answer(2.4), 2.4).left == 0  # not yet
    assert tell(book, answer(2.6), 2.6) == Change(0, 0, 1, True, nobody=True)
    now = settle(book, 2.6)
    assert verdicts(book, now) == [("10.0.0.1", "failed", "connect_refused", True)]
    assert book.report(now).reason == "all_calls_failed"


def test_a_service_that_is_scaled_to_nothing_after_all_acknowledged_is_complete() -> None:
    book = ledger(min_pods=1)
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1))
    tell(book, answer(1.1), 1.1)
    tell(book, answer(2.2), 2.2)
    assert step(book, 2.2) == Finish("confirmed")
    assert book.report(2.2).outcome == "complete"


# --- more than the server lists ---------------------------------------------------------------


def test_as_many_endpoints_as_the_server_lists_at_most_are_never_complete() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2)._replace(capped=True), 0)
    call(book, 0, result(1), result(2))
    tell(book, answer(1.1, 1, 2)._replace(capped=True), 1.1)
    assert step(book, 1.1) == Finish("confirmed")
    assert (book.report(1.1).outcome, book.report(1.1).reason) == ("partial", "dns_capped")


def test_a_newer_answer_that_lists_fewer_than_the_server_could_lifts_that_doubt() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2)._replace(capped=True), 0)
    call(book, 0, result(1), result(2))
    tell(book, answer(1.1, 1, 2), 1.1)
    assert step(book, 1.1) == Finish("confirmed")
    assert book.report(1.1).outcome == "complete"


# --- questions while calls are in flight -------------------------------------------------------


def test_newcomers_are_asked_for_and_called_while_a_call_is_in_flight() -> None:
    book = ledger()
    tell(book, answer(0, 1), 0)
    start(book, 0, 1)
    assert waiting(book, 0) == (1.02, "calls")
    assert step(book, 1.02) == ASK
    assert tell(book, answer(1.02, 1, 2), 1.02).newcomers == 1
    start(book, 1.02, 2)
    assert book.record_call(result(2), 1.1) == Booked(1, 2, None)
    assert book.record_call(result(1), 9) == Booked(1, 1, None)
    # Asked for before the last call had ended: it may lack who became ready since.
    assert step(book, 9) == ASK
    tell(book, answer(9, 1, 2), 9)
    assert step(book, 9) == Finish("confirmed")


def test_who_is_due_is_not_called_from_an_answer_that_was_asked_for_before() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2), 0)
    start(book, 0, 1, 2)
    book.record_call(result(1, "timeout"), 0.5)
    book.record_question(1.4)
    book.record_answer(answer(1.6, 1, 2), 1.6)  # it is due at 1.5
    assert waiting(book, 1.6) == (0.82, "calls")  # a second after the last question
    tell(book, answer(2.4, 1, 2), 2.4)
    start(book, 2.4, 1)


def test_who_waits_for_another_call_leaves_the_queue_when_dns_no_longer_lists_it() -> None:
    book = ledger(concurrency=1)
    tell(book, answer(0, 1, 2), 0)
    start(book, 0, 1)
    book.record_call(result(1, "timeout"), 0.1)
    start(book, 0.1, 2)
    tell(book, answer(1.2, 1, 2), 1.2)
    tell(book, answer(2.4, 2), 2.4)
    book.record_call(result(2), 3)
    assert not isinstance(step(book, 3), Call)


def test_no_next_call_is_promised_to_whom_dns_no_longer_lists() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2), 0)
    start(book, 0, 1, 2)
    tell(book, answer(1.1, 1), 1.1)
    assert book.record_call(result(2, "timeout"), 2) == Booked(1, 1, None)


def test_once_the_service_is_not_headless_calls_in_flight_end_and_no_other_begins() -> None:
    book = ledger(concurrency=1)
    tell(book, answer(0, 1, 2), 0)
    start(book, 0, 1)
    fail(book, ResolutionFailure("web", "not_headless", "one address"), 1.1)
    assert waiting(book, 1.1) == (298.9, "calls")
    book.record_call(result(1), 2)
    assert step(book, 2) == Finish("never_resolved")
    assert (book.report(2).outcome, book.report(2).reason) == ("partial", "not_headless")
    assert [verdict for _, verdict, _, _ in verdicts(book, 2)] == ["acknowledged", "cancelled"]


# --- patience ---------------------------------------------------------------------------------


def test_settle_zero_asks_once_and_calls_once() -> None:
    book = ledger(settle_seconds=0.0)
    assert step(book, 0) == ASK
    tell(book, answer(0, 1), 0)
    call(book, 3, result(1))
    assert step(book, 3) == Finish("settle")
    report = book.report(3)
    assert (report.outcome, report.confirmed) == ("complete", False)


def test_settle_does_not_run_while_somebody_is_owed_a_call() -> None:
    book = ledger(settle_seconds=2.0, backoff_initial_seconds=10.0)
    tell(book, answer(0, 1), 0)
    call(book, 30, result(1, "timeout"))
    assert step(book, 30) == ASK  # there may be newcomers
    for now, seconds in ((30, 2.04), (32.04, 4.08), (36.12, 4.38)):
        tell(book, answer(now, 1), now)
        assert waiting(book, now) == (seconds, "backoff")
    assert step(book, 40.5) == ASK
    tell(book, answer(40.5, 1), 40.5)
    call(book, 40.5, result(1))
    assert waiting(book, 40.5) == (1.02, "cached_answer")


def test_patience_ends_with_one_last_question() -> None:
    book = ledger(settle_seconds=4.0)
    tell(book, answer(0, 1, ttl=30), 0)
    call(book, 0, result(1))
    tell(book, answer(1.02, 1, ttl=28), 1.02)
    assert waiting(book, 1.02) == (2.98, "cached_answer")
    assert step(book, 4) == ASK
    tell(book, answer(4, 1, ttl=26), 4)
    assert step(book, 4) == Finish("settle")


def test_broken_dns_is_asked_again_less_and_less_often_until_settle_is_spent() -> None:
    book, waits, now = ledger(settle_seconds=20.0), [], 0.0
    while step(book, now) == ASK:
        fail(book, SERVFAIL, now)
        wait = step(book, now)
        if isinstance(wait, Wait):
            assert wait.reason == "no_answer"
            waits.append(round(wait.until - now, 2))
            now = wait.until
    assert waits == [1.02, 2.04, 4.08, 5, 5, 2.86]
    assert step(book, now) == Finish("settle")
    report = book.report(now)
    assert (report.outcome, report.reason, report.endpoints) == ("failed", "dns_servfail", ())


def test_dns_that_breaks_after_the_calls_leaves_the_outcome_unconfirmed() -> None:
    book = ledger(settle_seconds=1.5)
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1))
    fail(book, SERVFAIL, 1.1)
    fail(book, SERVFAIL, 1.5)
    assert step(book, 1.5) == Finish("settle")
    report = book.report(1.5)
    assert (report.outcome, report.reason, report.confirmed) == ("complete", None, False)


def test_dns_that_breaks_while_a_call_is_owed_makes_it_fail_with_its_own_error() -> None:
    book = ledger(settle_seconds=1.0)
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1, "timeout"))
    fail(book, SERVFAIL, 1.5)
    assert waiting(book, 1.5) == (0.5, "no_answer")
    fail(book, SERVFAIL, 2)
    assert step(book, 2) == Finish("settle")
    assert verdicts(book, 2) == [("10.0.0.1", "failed", "timeout", False)]


def test_fewer_than_min_pods_are_called_and_the_rest_waited_for() -> None:
    book = ledger(min_pods=2, settle_seconds=3.0)
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1))
    tell(book, answer(1.1, 1), 1.1)
    assert waiting(book, 1.1) == (1.9, "min_pods")
    tell(book, answer(3, 1), 3)
    assert step(book, 3) == Finish("settle")
    report = book.report(3)
    assert (report.outcome, report.reason, report.confirmed) == ("partial", "min_pods", True)


def test_failures_are_not_waited_out_as_if_pods_were_missing() -> None:
    book = ledger()
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1, "status", status_code=404))
    tell(book, answer(1.1, 1), 1.1)
    assert step(book, 1.1) == Finish("confirmed")


def test_an_empty_service_is_no_pods() -> None:
    book = ledger(settle_seconds=1.0)
    assert tell(book, answer(0), 0) == Change(0, 0, 0, None, nobody=True)
    assert waiting(book, 0) == (1.0, "no_answer")
    tell(book, answer(1), 1)
    assert step(book, 1) == Finish("settle")
    assert book.report(1).reason == "no_pods"


def test_min_pods_0_allows_an_empty_service_once_a_newer_answer_says_so_too() -> None:
    book = ledger(min_pods=0)
    assert tell(book, answer(0), 0) == Change(0, 0, 0, None, nobody=False)
    assert waiting(book, 0) == (1.02, "cached_answer")
    tell(book, answer(1.1), 1.1)
    assert step(book, 1.1) == Finish("confirmed")
    assert book.report(1.1).outcome == "complete"


def test_min_pods_0_does_not_allow_broken_dns() -> None:
    book = ledger(min_pods=0, settle_seconds=0.0)
    fail(book, SERVFAIL, 0)
    assert step(book, 0) == Finish("settle")
    assert (book.report(0).outcome, book.report(0).reason) == ("failed", "dns_servfail")


@pytest.mark.parametrize("error_type", ["not_headless", "no_cluster_suffix"])
def test_what_no_later_answer_can_change_ends_it_at_once(error_type: ResolutionError) -> None:
    book = ledger()
    fail(book, ResolutionFailure("web", error_type, "one address"), 0)
    assert step(book, 0) == Finish("never_resolved")
    assert (book.report(0).outcome, book.report(0).reason) == ("failed", error_type)


# --- calls at once ----------------------------------------------------------------------------


def test_no_more_calls_start_than_the_concurrency_allows() -> None:
    book = ledger(concurrency=2)
    tell(book, answer(0, 1, 2, 3), 0)
    start(book, 0, 1, 2)
    assert waiting(book, 0) == (1.02, "calls")
    book.record_call(result(2), 0.1)
    start(book, 0.1, 3)
    assert book.lets_next_begin_at == math.inf
    book.record_call(result(1), 0.2)
    book.record_call(result(3), 0.2)
    assert waiting(book, 0.2)[1] == "cached_answer"
    assert book.lets_next_begin_at == -math.inf


def test_no_more_calls_start_than_the_run_has_room_for() -> None:
    book = ledger()
    tell(book, answer(0, 1, 2, 3), 0)
    start(book, 0, 1, 2, room=2)
    assert waiting(book, 0, room=0) == (1.02, "calls")
    assert book.waits_for_room(0)
    start(book, 0, 3, room=1)
    assert not book.waits_for_room(0)


def test_with_a_stagger_one_call_starts_at_a_time() -> None:
    book = ledger(stagger_seconds=0.5, backoff_initial_seconds=0.1)
    tell(book, answer(0, 1, 2), 0)
    start(book, 0, 1)
    assert waiting(book, 0.1) == (0.4, "calls")
    book.record_call(result(1, "timeout"), 0.2)
    start(book, 0.5, 2)
    book.record_call(result(2), 0.6)
    assert step(book, 0.6) == ASK
    tell(book, answer(0.7, 1, 2), 0.7)
    assert waiting(book, 0.7) == (0.3, "calls")  # it holds across rounds
    start(book, 1.0, 1)


def test_the_first_calls_are_made_when_there_is_nobody_to_call() -> None:
    nobody, broken = ledger(), ledger()
    tell(nobody, answer(0), 0)
    fail(broken, SERVFAIL, 0)
    assert nobody.lets_next_begin_at == -math.inf
    assert broken.lets_next_begin_at == -math.inf


def test_a_question_is_waited_for() -> None:
    book = ledger()
    assert step(book, 0) == ASK
    book.record_question(0)
    assert waiting(book, 0.1)[1] == "question"
    tell(book, answer(0.2, 1), 0.2)
    start(book, 0.2, 1)


# --- deadline and stop ------------------------------------------------------------------------


def test_at_the_deadline_calls_in_flight_are_cut_and_who_is_owed_one_has_failed() -> None:
    book = ledger(deadline_seconds=10.0, concurrency=2)
    tell(book, answer(0, 1, 2, 3), 0)
    start(book, 0, 1, 2)
    book.record_call(result(1), 9)
    assert step(book, 10) == Cut("deadline")
    book.record_cut()
    assert waiting(book, 10) == (math.inf, "calls")
    assert book.record_call(result(2, "deadline"), 10) == Booked(1, 1, None)
    assert step(book, 10) == Finish("deadline")
    assert verdicts(book, 10) == [
        ("10.0.0.1", "acknowledged", None, False),
        ("10.0.0.2", "failed", "deadline", False),
        ("10.0.0.3", "failed", "deadline", False),  # never called
    ]
    assert (book.report(10).outcome, book.report(10).reason) == ("partial", "deadline")


def test_the_runs_deadline_may_be_earlier_than_the_broadcasts() -> None:
    book = Ledger(BROADCAST, started_at=0, run_deadline_at=10.0)
    tell(book, answer(0, 1), 0)
    start(book, 0, 1)
    book.record_question(9.9)
    assert waiting(book, 9.9) == (0.1, "question")
    assert step(book, 10) == Cut("deadline")


def test_the_time_that_it_has() -> None:
    assert Ledger(BROADCAST, 100.0).deadline_seconds == BROADCAST.deadline_seconds
    assert Ledger(BROADCAST, 100.0, 150.0).deadline_seconds == 50.0
    assert Ledger(BROADCAST, 100.0, 90.0).deadline_seconds == 0.0


def test_no_next_call_is_promised_that_would_come_after_the_deadline() -> None:
    book = ledger(deadline_seconds=10.0)
    tell(book, answer(0, 1), 0)
    start(book, 0, 1)
    assert book.record_call(result(1, "timeout"), 9.5) == Booked(1, 1, None)
    tell(book, answer(9.5, 1), 9.5)
    assert waiting(book, 9.5) == (0.5, "backoff")
    assert step(book, 10) == Finish("deadline")
    assert verdicts(book, 10) == [("10.0.0.1", "failed", "deadline", False)]


def test_no_wait_goes_past_the_deadline() -> None:
    book = ledger(deadline_seconds=0.5)
    fail(book, SERVFAIL, 0)
    assert waiting(book, 0) == (0.5, "no_answer")
    assert step(book, 0.5) == Finish("deadline")
    assert book.report(0.5).reason == "dns_servfail"


def test_a_deadline_before_any_answer_says_so() -> None:
    book = ledger(deadline_seconds=0.5)
    assert step(book, 0.5) == Finish("deadline")
    assert (book.report(0.5).outcome, book.report(0.5).reason) == ("failed", "deadline")


def test_a_question_that_hangs_past_the_deadline_is_given_up() -> None:
    book = ledger(deadline_seconds=10.0)
    assert step(book, 0) == Ask(ends_at=10.0)
    book.record_question(0)
    assert waiting(book, 10) == (LATE_ANSWER_SECONDS, "question")
    assert step(book, 10 + LATE_ANSWER_SECONDS) == Finish("deadline")
    assert (book.report(11).outcome, book.report(11).reason) == ("failed", "deadline")


def test_at_a_stop_who_is_owed_a_call_is_cancelled() -> None:
    book = ledger(attempts=1, concurrency=3)
    tell(book, answer(0, 1, 2, 3, 4), 0)
    start(book, 0, 1, 2, 3)
    book.record_call(result(1), 0)
    book.record_stop(cut_at=5)
    assert waiting(book, 1) == (4.0, "calls")
    book.record_call(result(3, "status", status_code=500), 1)
    assert step(book, 5) == Cut("cancelled")
    book.record_cut()
    book.record_call(result(2, "cancelled"), 5)  # its only attempt
    assert step(book, 5) == Finish("stopped")
    assert [verdict for _, verdict, _, _ in verdicts(book, 5)] == [
        "acknowledged",
        "cancelled",
        "failed",
        "cancelled",
    ]
    assert (book.report(5).outcome, book.report(5).reason) == ("partial", "cancelled")


def test_a_grace_period_beyond_the_deadline_moves_it_no_further() -> None:
    book = ledger(deadline_seconds=10.0)
    tell(book, answer(0, 1), 0)
    start(book, 0, 1)
    book.record_stop(cut_at=20)
    assert waiting(book, 1) == (9.0, "calls")
    assert step(book, 10) == Cut("deadline")


def test_a_second_stop_signal_cuts_at_once() -> None:
    book = ledger()
    tell(book, answer(0, 1), 0)
    start(book, 0, 1)
    book.record_stop(cut_at=5)
    assert isinstance(step(book, 1), Wait)
    book.record_stop(cut_at=1)
    assert step(book, 1) == Cut("cancelled")


def test_after_a_stop_no_next_call_is_promised() -> None:
    book = ledger()
    tell(book, answer(0, 1), 0)
    start(book, 0, 1)
    book.record_stop(cut_at=5)
    assert book.record_call(result(1, "timeout"), 1) == Booked(1, 1, None)
    assert step(book, 1) == Finish("stopped")
    assert [verdict for _, verdict, _, _ in verdicts(book, 1)] == ["cancelled"]


def test_a_broadcast_stopped_before_it_began_is_failed_and_cancelled() -> None:
    book = ledger(min_pods=0)
    book.record_stop(cut_at=5)
    assert step(book, 0) == Finish("stopped")
    report = book.report(0)
    assert (report.outcome, report.reason, report.endpoints) == ("failed", "cancelled", ())


def test_a_stop_after_everybody_acknowledged_leaves_it_complete_and_unconfirmed() -> None:
    book = ledger()
    tell(book, answer(0, 1), 0)
    call(book, 0, result(1))
    book.record_stop(cut_at=5)
    assert step(book, 0) == Finish("stopped")
    assert (book.report(0).outcome, book.report(0).confirmed) == ("complete", False)
