"""A broadcast's report -> all that a hint may depend on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from worker.model import Broadcast, CallResult, Endpoint, Exchange
from worker.report.records import BroadcastReport
from worker.words import Ending

NO_CALL = CallResult(Endpoint("", 0), span_id="", duration_seconds=0.0)


class Facts(NamedTuple):
    """All that a hint may depend on, and all that a template may name."""

    cases: frozenset[str]  # the report's reason, and the failure of the calls if all are alike
    broadcast: Broadcast
    exchange: Exchange  # the broadcast's
    last: CallResult  # of the calls that failed alike; else NO_CALL
    acknowledged: int
    too_early: str  # " before 2 of 3 endpoints had acknowledged", where some had not
    other_remedies: str  # than a later deadline, where something else held the calls up
    ending: Ending | None
    resolution_error: str | None  # of the last question …
    resolution_message: str  # … and its words
    account: str  # that the Kubernetes API refused, or the usual one
    stale: bool  # the last answer may be an old copy
    ended_by_run: bool  # the run's deadline is earlier than the broadcast's
    has_credentials: bool
    slowest: str  # of those who did show the effect, and its time, in brackets
    path: str
    service: str
    in_namespace: str  # " -n shop", where the URL names a namespace


def facts_of(broadcast: Broadcast, report: BroadcastReport) -> Facts:
    """The facts about one broadcast that the table of hints needs."""
    last = _alike([e.last for e in report.endpoints if e.verdict == "failed"])
    failed, seen = report.count_of("failed"), len(report.endpoints)
    exchange = broadcast.exchange
    service, namespace = exchange.url.service
    failure = report.failure
    headers = {name.lower() for name, _ in exchange.headers}
    return Facts(
        cases=frozenset(_cases(report, last)),
        broadcast=broadcast,
        exchange=exchange,
        last=last or NO_CALL,
        acknowledged=report.count_of("acknowledged"),
        too_early=f" before {failed} of {seen} endpoints had acknowledged" if failed else "",
        other_remedies=" or concurrency" * (seen > broadcast.concurrency)
        + ", or lower stagger" * bool(broadcast.stagger_seconds),
        ending=report.ending,
        resolution_error=failure.error_type if failure else None,
        resolution_message=failure.error_message if failure else "",
        account=_account(failure.error_message if failure else ""),
        stale=report.stale,
        ended_by_run=report.ended_by_run,
        has_credentials=bool(exchange.auth) or "authorization" in headers,
        slowest=_slowest(report),
        path=exchange.url.target.partition("?")[0],
        service=service,
        in_namespace=f" -n {namespace}" if namespace else "",
    )


def _slowest(report: BroadcastReport) -> str:
    slowest = report.slowest
    if not slowest:
        return ""
    return f" (of the others, {slowest.name} took longest: {slowest.verified_seconds:.1f} s)"


def _account(message: str) -> str:
    """The user whom the Kubernetes API names in its refusal, as `kubectl --as` takes it."""
    found = re.search(r'User "([^"]+)"', message)
    return found[1] if found else "system:serviceaccount:NAMESPACE:pod-broadcast"


def _cases(report: BroadcastReport, last: CallResult | None) -> Iterator[str]:
    if report.outcome == "complete" and not report.confirmed:
        yield "unconfirmed"
    if report.reason:
        yield report.reason
    if last and last.error_type and report.reason != "cancelled":
        yield last.error_type
        if last.error_type == "status" and last.status_code:
            yield f"status {last.status_code}"
            if last.status_code >= 500:
                yield "status 5xx"


def _alike(calls: Sequence[CallResult | None]) -> CallResult | None:
    """One of the calls, if all failed in the same way."""
    first = calls[0] if calls else None
    kinds = {(call.error_type, _kind_of(call)) if call else None for call in calls}
    return first if len(kinds) == 1 else None


def _kind_of(call: CallResult) -> int | str | None:
    """The status code or message by which failures of the same error_type differ."""
    if call.error_type == "status":
        return 400 if call.status_code == 421 else call.status_code
    return call.error_message if call.error_type == "tls" else None
