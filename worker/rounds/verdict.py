"""The books of a broadcast that is over -> its report. Changes nothing."""

from __future__ import annotations

from collections import Counter

from worker.model import CallResult, Endpoint, Target
from worker.report.outcome import outcome_of
from worker.report.records import BroadcastReport, EndpointReport
from worker.rounds.books import Books, Entry
from worker.words import RESOLUTION_ERRORS, Reason, Verdict


def report(books: Books, now: float) -> BroadcastReport:
    """The report on the broadcast, which is over at `now`."""
    endpoints = tuple(judge(books, endpoint, entry) for endpoint, entry in books.entries.items())
    counts = Counter(each.verdict for each in endpoints)
    reason = find_reason(books, counts, any(e.error_type == "deadline" for e in endpoints))
    return BroadcastReport(
        name=books.broadcast.name,
        outcome=outcome_of(counts["acknowledged"], reason),
        reason=reason,
        endpoints=endpoints,
        rounds=books.questions,
        calls=books.calls,
        confirmed=books.confirmed(),
        failure=books.failure,
        stale=books.answer is not None and books.answer.stale,
        duration_seconds=now - books.started_at,
        ending=books.ending,
        ended_by_run=books.deadline_at < books.started_at + books.broadcast.deadline_seconds,
        responses=responses(books),
        polls=books.polls if books.broadcast.verify else None,
        not_ready=not_ready(books),
    )


def responses(books: Books) -> int | None:
    """How many different responses the endpoints gave last; None unless all are logged."""
    if books.broadcast.exchange.log_response != "all":
        return None
    return len({entry.said for entry in books.entries.values()} - {None})


def not_ready(books: Books) -> dict[Endpoint, Target]:
    """The pods that the last answer names, and that were not called, since they are not ready."""
    if not books.answer:
        return {}
    left_out = books.answer.not_ready - books.entries.keys()
    return {each: books.answer.targets[each] for each in sorted(left_out)}


def judge(books: Books, endpoint: Endpoint, entry: Entry) -> EndpointReport:
    """The report on one endpoint."""
    verdict: Verdict = "failed"
    last = entry.last
    error_type = last.error_type if last else None
    if entry.phase == "acknowledged":
        verdict = "acknowledged"
    elif entry.gone:
        verdict = "gone"
    elif error_type == "cancelled" or _is_given_up(books, entry):
        verdict = "cancelled"
    elif books.ending == "deadline" and (books.is_owed(entry) or books.is_unproved(entry)):
        error_type = "deadline"
        if entry.proof:
            message = f"not verified yet: {entry.proof.missing or 'no poll has ended'}"
            last = CallResult(endpoint, "", 0.0, error_type="deadline", error_message=message)
    elif is_gone(books, entry):
        verdict = "gone"
    listed = books.is_listed(entry)
    target = books.target(endpoint)
    seconds = entry.proof.seconds if entry.proof and verdict == "acknowledged" else None
    return EndpointReport(
        endpoint, verdict, entry.attempts, error_type, listed, last, target, seconds
    )


def _is_given_up(books: Books, entry: Entry) -> bool:
    """True if it was owed a call that never came, since the broadcast was given up."""
    if books.ending == "never_resolved":
        return not entry.attempts
    if books.given_up and not entry.attempts and entry.phase != "failed":
        return True
    return books.ending == "stopped" and (entry.may_be_called or books.is_unproved(entry))


def is_gone(books: Books, entry: Entry) -> bool:
    """True if DNS shows that it is no more: the API's answers say so (`Entry.gone`).

    It was tried, never accepted a connection, and was missing until `settle` was over. The last
    answer, which lists others, is newer than the first that did not list it. One unlucky copy in a
    cache proves nothing, nor does an answer that lists nobody.
    """
    answer = books.answer
    return (
        entry.attempts > 0
        and not entry.reached
        and not books.is_listed(entry)
        and books.ending == "settle"
        and books.failure is None
        and answer is not None
        and not answer.exact
        and bool(answer.endpoints)
        and entry.missing_from is not None
        and answer.is_newer_than(entry.missing_from)
    )


def find_reason(books: Books, counts: Counter[Verdict], deadline_hit: bool) -> Reason | None:
    """The reason why the broadcast is not complete, or None if it is."""
    failure = books.failure.error_type if books.failure else None
    short = counts["acknowledged"] < books.broadcast.min_pods or books.answer is None
    shown = failure is not None and RESOLUTION_ERRORS[failure].shows == "somebody"
    missed = shown or short or counts["failed"] or counts["cancelled"]
    if failure and missed and not RESOLUTION_ERRORS[failure].retried:
        return failure
    if books.given_up and books.ending != "stopped":
        return books.given_up
    if counts["cancelled"] or (books.ending == "stopped" and short and not counts["failed"]):
        return "cancelled"
    if counts["failed"]:
        if deadline_hit:
            return "deadline"
        return "some_calls_failed" if counts["acknowledged"] else "all_calls_failed"
    if shown:
        return failure
    if books.capped:
        return "dns_capped"
    if not short:
        return None
    if counts["acknowledged"]:
        return "min_pods"
    return failure or ("no_pods" if books.answer else "deadline")
