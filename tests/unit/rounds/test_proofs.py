"""What becomes of endpoints that took the request and are not proved yet, and of canaries."""

from __future__ import annotations

from typing import Any

import pytest

from tests.records import broadcast, verified
from worker.model import Answer, CallResult, Endpoint
from worker.rounds.ledger import Ledger
from worker.rounds.steps import Booked, Call, Cut, Expire, Finish, Step, Wait
from worker.words import CallError

VERIFY = verified(every_seconds=1.0, within_seconds=3.0)
BROADCAST = broadcast(verify=VERIFY, settle_seconds=10.0, deadline_seconds=20.0)


def pod(number: int) -> Endpoint:
    return Endpoint(f"10.0.0.{number}", 8080, uid=f"uid-{number}")


def listing(at: float, *ready: int, not_ready: tuple[int, ...] = ()) -> Answer:
    """What the Kubernetes API said, at once."""
    return Answer(
        "shop/web",
        tuple(map(pod, ready)),
        0,
        at,
        at,
        exact=True,
        not_ready=frozenset(map(pod, not_ready)),
    )


def of_dns(at: float, *ready: int) -> Answer:
    return Answer("web", tuple(map(pod, ready)), 5, at + 5, at + 5)


def tell(book: Ledger, said: Answer, now: float) -> None:
    book.record_question(now)
    book.record_answer(said, now)


def step(book: Ledger, now: float) -> Step:
    return book.next_step(now, 1000)


def start(book: Ledger, now: float) -> list[Endpoint]:
    """Starts the calls that the ledger wants started. Returns to whom."""
    begun: list[Endpoint] = []
    while isinstance(wanted := step(book, now), Call):
        book.record_started(wanted.endpoints, now)
        begun += wanted.endpoints
    return begun


def end(book: Ledger, now: float, number: int, error_type: CallError | None = None) -> Booked:
    message = "expected new, got old" if error_type else None
    result = CallResult(pod(number), "0" * 16, 0.0, 0.0, None, error_type, message)
    return book.record_call(result, now)


def verdicts(book: Ledger, now: float) -> dict[str, Any]:
    return {
        each.endpoint.address.rpartition(".")[2]: each.error_type or each.verdict
        for each in book.report(now).endpoints
    }


def polled(book: Ledger) -> None:
    """Its only pod took the request, and its first poll is in flight."""
    tell(book, listing(0, 1), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 0.5, 1)
    assert start(book, 0.5) == [pod(1)]


def test_a_proof_counts_once_a_later_list_has_the_pod_be_it_ready_or_not() -> None:
    for later in (listing(2, 1), listing(2, not_ready=(1,))):
        book = Ledger(BROADCAST, 0)
        polled(book)
        tell(book, later._replace(expires_earliest_at=0.7, expires_latest_at=0.7), 0.7)
        assert end(book, 1, 1).over is False
        assert not book.books.confirmed()
        tell(book, later, 2)
        assert verdicts(book, 2) == {"1": "acknowledged"}
        assert step(book, 2) == Finish("confirmed")


def test_a_pod_that_is_replaced_before_its_proof_is_confirmed_is_gone() -> None:
    book = Ledger(BROADCAST, 0)
    polled(book)
    end(book, 1, 1)
    tell(book, listing(2, 2), 2)
    assert start(book, 2) == [pod(2)]
    assert verdicts(book, 2)["1"] == "gone"


def test_nobody_polls_a_pod_that_is_gone() -> None:
    book = Ledger(BROADCAST, 0)
    polled(book)
    end(book, 1, 1, "body_mismatch")
    tell(book, listing(1.5), 1.5)
    assert start(book, 2) == []
    assert verdicts(book, 2) == {"1": "gone"}
    tell(book, listing(3, 1), 3)  # an API server that was behind
    assert start(book, 3) == [pod(1)]


def test_a_pod_that_is_gone_while_it_is_polled_is_given_no_more_time() -> None:
    book = Ledger(BROADCAST, 0)
    polled(book)
    tell(book, listing(1), 1)
    end(book, 4, 1, "timeout")
    assert verdicts(book, 4) == {"1": "gone"}
    assert start(book, 5) == []


def test_who_is_not_listed_is_not_polled_and_its_time_ends_all_the_same() -> None:
    book = Ledger(BROADCAST, 0)
    tell(book, of_dns(0, 1, 2), 0)
    assert start(book, 0) == [pod(1), pod(2)]
    tell(book, of_dns(2, 2), 2)
    end(book, 2.5, 1)
    assert start(book, 2.5) == []
    assert isinstance(step(book, 3), Wait)
    assert step(book, 5.5) == step(book, 5.5) == Expire(pod(1))
    booked = book.record_expired(pod(1), 5.5)
    assert booked.over
    assert booked.proof
    assert booked.proof.polls == 0
    assert verdicts(book, 5.5)["1"] == "not_verified"


def test_a_poll_that_waits_for_a_place_loses_no_time() -> None:
    """The second pod's request takes 4 s, and there is one place."""
    book = Ledger(BROADCAST._replace(concurrency=1, canary=1), 0)
    tell(book, listing(0, 1, 2), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 0, 1)
    assert start(book, 0) == [pod(1)]
    end(book, 0, 1, "body_mismatch")
    assert start(book, 0.9) == []
    wanted = step(book, 1)
    assert wanted == Call(VERIFY.exchange, (pod(1),), 3.0)
    late = step(book, 2.5)
    assert late == Call(VERIFY.exchange, (pod(1),), 4.5)


def test_a_poll_that_is_cut_is_not_over() -> None:
    book = Ledger(BROADCAST, 0)
    polled(book)
    book.record_stop(1.0)
    assert step(book, 1.0) == Cut("cancelled")
    book.record_cut()
    assert end(book, 1.0, 1, "cancelled").over is False
    assert step(book, 1.0) == Finish("stopped")
    assert verdicts(book, 1.0) == {"1": "cancelled"}


def test_a_canary_that_is_gone_is_replaced_by_the_next() -> None:
    book = Ledger(BROADCAST._replace(verify=None, canary=1), 0)
    tell(book, listing(0, 1, 2, 3), 0)
    assert start(book, 0) == [pod(1)]
    tell(book, listing(1, 2, 3), 1)
    assert start(book, 1) == [pod(2)]
    end(book, 1.5, 1, "timeout")
    assert start(book, 1.5) == []
    end(book, 2, 2)
    assert start(book, 2) == [pod(3)]


def test_a_canary_that_waits_for_a_place_and_is_not_ready_makes_room_for_the_next() -> None:
    book = Ledger(BROADCAST._replace(verify=None, canary=2, concurrency=1), 0)
    tell(book, of_dns(0, 1, 2, 3), 0)
    assert start(book, 0) == [pod(1)]
    tell(book, of_dns(2, 1, 3), 2)
    end(book, 2.5, 1)
    assert start(book, 2.5) == [pod(3)]
    end(book, 3, 3)
    assert start(book, 3) == [pod(2)]  # nobody is let off without having been tried


def test_one_that_waits_for_a_place_and_is_listed_again_is_polled_once() -> None:
    book = Ledger(BROADCAST._replace(concurrency=1), 0)
    tell(book, of_dns(0, 1, 2), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 0.5, 1)
    assert start(book, 0.5) == [pod(2)]  # first calls go before polls
    tell(book, of_dns(2, 2), 2)
    tell(book, of_dns(3, 1, 2), 3)
    step(book, 3)
    end(book, 3.2, 2)
    assert start(book, 3.2) == [pod(1)]
    assert end(book, 3.3, 1, "body_mismatch").over  # another would come too late
    assert start(book, 3.3) == [pod(2)]
    end(book, 3.4, 2)
    assert start(book, 3.4) == []


@pytest.mark.parametrize(
    ("fields", "given_up"),
    [
        ({"canary": 1}, "canary_failed"),
        ({"max_failed": 0}, "max_failed"),
        ({"max_failed": 1}, None),
    ],
)
def test_a_pod_without_the_port_counts_as_one_that_failed(
    fields: dict[str, Any], given_up: str | None
) -> None:
    book = Ledger(BROADCAST._replace(verify=None, **fields), 0)
    portless = pod(1)._replace(port=0)
    said = listing(0, 1, 2)
    tell(book, said._replace(endpoints=(portless, pod(2))), 0)
    assert start(book, 0) == ([] if given_up else [pod(2)])
    assert book.books.given_up == given_up
    if given_up:
        assert step(book, 0) == Finish("given_up")
        report = book.report(0)
        assert (report.reason, report.count_of("cancelled")) == (given_up, 1)


def test_what_a_proof_says_when_it_holds_and_when_it_does_not() -> None:
    book = Ledger(BROADCAST, 0)
    polled(book)
    first = end(book, 1.0, 1, "body_mismatch")
    assert first.proof
    assert (first.proof.polls, first.proof.missing, first.proof.seconds) == (
        *(1, "expected new, got old", None),
    )
    assert start(book, 2.0) == [pod(1)]
    second = end(book, 2.25, 1)
    assert second.proof
    assert (second.proof.polls, second.proof.missing, second.proof.seconds) == (2, None, 1.75)
    tell(book, listing(3, 1), 3)
    report = book.report(3)
    assert report.polls == 2
    assert report.endpoints[0].verified_seconds == 1.75


def test_by_dns_the_poll_that_holds_is_the_acknowledgement() -> None:
    book = Ledger(BROADCAST, 0)
    tell(book, of_dns(0, 1), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 0.5, 1)
    assert start(book, 0.5) == [pod(1)]
    end(book, 1, 1)
    assert verdicts(book, 1) == {"1": "acknowledged"}


@pytest.mark.parametrize(("ended_at", "over"), [(2.4, False), (2.5, True)])
def test_no_poll_begins_at_the_end_of_its_time(ended_at: float, over: bool) -> None:
    """Its time is over at 3.5, and the next poll would begin a second after this one."""
    book = Ledger(BROADCAST, 0)
    polled(book)
    assert end(book, ended_at, 1, "body_mismatch").over is over
    assert start(book, 3.4) == ([] if over else [pod(1)])
    if over:
        tell(book, listing(4, 1), 4)
        assert step(book, 4) == Finish("confirmed")
        (report,) = book.report(4).endpoints
        assert report.last
        assert report.last.error_message == "not within 3 s: expected new, got old"


def test_with_a_time_shorter_than_the_pause_there_is_one_poll() -> None:
    verify = verified(every_seconds=10.0, within_seconds=0.5)
    book = Ledger(BROADCAST._replace(verify=verify), 0)
    polled(book)
    assert end(book, 0.6, 1, "body_mismatch").over


def test_with_one_attempt_a_request_that_fails_is_followed_by_no_poll() -> None:
    book = Ledger(BROADCAST._replace(attempts=1), 0)
    tell(book, listing(0, 1), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 1, 1, "timeout")
    tell(book, listing(2, 1), 2)
    assert step(book, 2) == Finish("confirmed")
    assert verdicts(book, 2) == {"1": "timeout"}


def test_who_is_not_verified_counts_for_max_failed() -> None:
    book = Ledger(BROADCAST._replace(max_failed=0, concurrency=1), 0)
    tell(book, listing(0, 1), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 0.5, 1)
    assert start(book, 0.5) == [pod(1)]
    assert end(book, 3.0, 1, "body_mismatch").over
    tell(book, listing(4, 1, 2), 4)
    assert start(book, 4) == []
    assert book.report(4).reason == "max_failed"


def test_the_pod_of_a_proof_that_is_gone_is_not_waited_for() -> None:
    book = Ledger(BROADCAST, 0)
    polled(book)
    end(book, 1, 1, "body_mismatch")
    tell(book, listing(1.5, 2), 1.5)
    assert start(book, 1.5) == [pod(2)]
    end(book, 1.6, 2)
    assert start(book, 1.6) == [pod(2)]
    end(book, 1.7, 2)
    tell(book, listing(2, 2), 2)
    assert step(book, 2) == Finish("confirmed")


def waiting(book: Ledger) -> None:
    """The first pod's second poll is due at 1.0, and the second pod's request has the one place."""
    tell(book, of_dns(0, 1, 2), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 0, 1)
    assert start(book, 0) == [pod(2)]
    assert isinstance(step(book, 1), Wait)


def test_who_waits_for_a_place_and_is_not_listed_any_more_has_its_time_all_the_same() -> None:
    book = Ledger(BROADCAST._replace(concurrency=1), 0)
    waiting(book)
    tell(book, of_dns(2, 2), 2)
    end(book, 2.5, 2, "timeout")
    assert start(book, 2.5) == []
    assert step(book, 3) == Expire(pod(1))


def test_an_answer_takes_no_time_from_who_waits_for_a_place() -> None:
    book = Ledger(BROADCAST._replace(concurrency=1), 0)
    waiting(book)
    tell(book, of_dns(2, 1, 2), 2)
    end(book, 2.5, 2, "timeout")
    assert step(book, 2.5) == Call(VERIFY.exchange, (pod(1),), 5.5)


def test_the_time_of_who_was_missing_for_a_while_is_not_over_during_its_poll() -> None:
    book = Ledger(BROADCAST, 0)
    tell(book, of_dns(0, 1, 2), 0)
    assert start(book, 0) == [pod(1), pod(2)]
    tell(book, of_dns(1.5, 2), 1.5)
    end(book, 2, 1)
    assert isinstance(step(book, 2), Wait)  # it is looked at again when its time is over
    tell(book, of_dns(4, 1, 2), 4)
    assert start(book, 4) == [pod(1)]
    tell(book, of_dns(5.5, 2), 5.5)
    assert isinstance(step(book, 5.6), Wait)
    assert end(book, 5.7, 1).proof


def test_nor_while_it_waits_for_a_place() -> None:
    book = Ledger(BROADCAST._replace(concurrency=1), 0)
    tell(book, of_dns(0, 1, 2), 0)
    assert start(book, 0) == [pod(1)]
    tell(book, of_dns(1.5, 2), 1.5)
    end(book, 2, 1)
    assert start(book, 2) == [pod(2)]
    tell(book, of_dns(4, 1, 2), 4)
    assert isinstance(step(book, 6), Wait)
    end(book, 6, 2, "timeout")
    assert step(book, 6) == Call(VERIFY.exchange, (pod(1),), 7.0)


# --- canaries -----------------------------------------------------------------------------------

CANARY = BROADCAST._replace(verify=None, canary=1, attempts=2, backoff_initial_seconds=0.1)


def test_a_canary_that_fails_for_good_ends_it() -> None:
    book = Ledger(CANARY._replace(attempts=1), 0)
    tell(book, listing(0, 1, 2), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 1, 1, "status")
    assert step(book, 1) == Finish("given_up")
    assert book.report(1).reason == "canary_failed"
    assert verdicts(book, 1) == {"1": "status", "2": "cancelled"}


def test_one_without_a_port_that_is_no_canary_ends_nothing() -> None:
    book = Ledger(CANARY, 0)
    said = listing(0, 1, 2)
    tell(book, said._replace(endpoints=(pod(1), pod(9)._replace(port=0))), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 1, 1)
    assert book.books.given_up is None


def test_where_fewer_are_there_than_canaries_the_next_newcomer_is_one() -> None:
    book = Ledger(CANARY._replace(canary=2), 0)
    tell(book, listing(0, 1), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 0.5, 1)
    tell(book, listing(1, 1, 2, 3), 1)
    assert start(book, 1) == [pod(2)]
    end(book, 1.5, 2)
    assert start(book, 1.5) == [pod(3)]


def test_who_was_held_back_is_called_though_it_is_not_ready_any_more() -> None:
    """The list that shows that the canary was this pod lets the others in."""
    book = Ledger(BROADCAST._replace(canary=1), 0)
    tell(book, listing(0, 1, 2, 3), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 0.5, 1)
    assert start(book, 0.5) == [pod(1)]
    end(book, 1, 1)
    assert start(book, 1) == []
    tell(book, listing(2, 1, 2, not_ready=(3,)), 2)
    assert start(book, 2) == [pod(2), pod(3)]


def until_settled(book: Ledger, now: float, *not_ready: int) -> float:
    """Answers each question with a list of pods that are not ready. Returns the time of the end."""
    while not isinstance(wanted := step(book, now), Finish):
        if isinstance(wanted, Wait):
            now = wanted.until
        else:
            tell(book, listing(now, not_ready=not_ready), now)
    assert wanted == Finish("settle")
    return now


def test_who_was_held_back_to_the_end_is_cancelled_since_the_canaries_failed() -> None:
    book = Ledger(CANARY, 0)
    tell(book, listing(0, 1, 2), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 1, 1, "status")
    tell(book, listing(1.05, not_ready=(1, 2)), 1.05)
    now = until_settled(book, 1.05, 1, 2)
    assert book.report(now).reason == "canary_failed"
    assert verdicts(book, now) == {"1": "status", "2": "cancelled"}


def test_where_nobody_was_held_back_the_reason_is_another() -> None:
    book = Ledger(CANARY, 0)
    tell(book, listing(0, 1), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 1, 1, "status")
    now = until_settled(book, 1.05, 1)
    assert book.report(now).reason == "all_calls_failed"
    assert verdicts(book, now) == {"1": "status"}


def test_nor_where_all_canaries_had_acknowledged() -> None:
    book = Ledger(CANARY._replace(min_pods=2), 0)
    tell(book, listing(0, 1), 0)
    assert start(book, 0) == [pod(1)]
    end(book, 1, 1)
    now = until_settled(book, 1.05, 1)
    assert book.report(now).reason == "min_pods"
