"""What came of a run -> the fields of the last lines, up to `run.finished`. Pure.

Whoever reads only the last line learns who was missed, why, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from worker.model import Broadcast, named
from worker.report.hints import hint
from worker.report.outcome import exit_code, run_exit_code, run_outcome
from worker.report.records import BroadcastReport, EndpointReport, RunReport
from worker.words import OUTCOMES, Verdict, after

# Lists end with a whole entry. A log's field has 2,000 bytes at most, and the termination message,
# which has both lists, 4,096.
ENDPOINTS_BYTES = 1900
BROADCASTS_BYTES = 900

Fields = dict[str, Any]


def of_endpoint(report: EndpointReport) -> Fields:
    """The fields of `endpoint.failed` about the last call."""
    last = report.last
    return {
        "error_type": report.error_type,
        "status_code": last.status_code if last else None,
        "error_message": last.error_message if last else None,
        "listed": report.listed,
    }


def of_broadcast(broadcast: Broadcast, report: BroadcastReport) -> Fields:
    """The fields of `broadcast.finished`."""
    by_api = broadcast.discovery == "endpointslices"
    not_ready = [named(endpoint, target.pod) for endpoint, target in report.not_ready.items()]
    return {
        "outcome": report.outcome,
        "exit_code": exit_code(report.outcome),
        "reason": report.reason,
        **_counts([report]),
        "not_ready": len(not_ready) if by_api else None,
        "rounds": report.rounds,
        "calls": report.calls,
        "polls": report.polls,
        "verified_seconds": report.slowest.verified_seconds if report.slowest else None,
        "responses": report.responses,
        "confirmed": report.confirmed,
        "duration_seconds": report.duration_seconds,
        "failed_endpoints": joined(_missed(report, "failed"), ENDPOINTS_BYTES),
        "not_ready_endpoints": joined(not_ready, ENDPOINTS_BYTES),
        "hint": hint(broadcast, report),
    }


def of_run(run: RunReport, broadcasts: Sequence[Broadcast]) -> Fields:
    """The fields of `run.finished`. The reports are those of the broadcasts, in the same order."""
    reports = run.broadcasts
    outcomes: list[str] = [report.outcome for report in reports]
    fields = {
        "outcome": run_outcome(reports),
        "exit_code": run_exit_code(run),
        **{f"broadcasts_{outcome}": outcomes.count(outcome) for outcome in OUTCOMES},
        **_counts(reports),
        "duration_seconds": run.duration_seconds,
    }
    pairs = list(zip(broadcasts, reports, strict=True))
    missed = [pair for pair in pairs if pair[1].outcome != "complete"]
    if not missed:
        return fields
    missed.sort(key=lambda pair: list(OUTCOMES).index(pair[1].outcome), reverse=True)
    (broadcast, report), *others = missed
    endpoints = [*_missed(report, "failed"), *_missed(report, "cancelled")]
    return fields | {
        "worst_broadcast": report.name,
        "reason": report.reason,
        "hint": hint(broadcast, report),
        "missed_endpoints": joined(endpoints, ENDPOINTS_BYTES),
        "other_broadcasts": joined(
            [f"{each.name} {each.outcome} ({each.reason})" for _, each in others], BROADCASTS_BYTES
        ),
    }


def _counts(reports: Iterable[BroadcastReport]) -> dict[str, int]:
    reports = list(reports)
    seen = sum(len(report.endpoints) for report in reports)
    verdicts = get_args(Verdict)
    return {"seen": seen} | {
        verdict: sum(report.count_of(verdict) for report in reports) for verdict in verdicts
    }


def _missed(report: BroadcastReport, verdict: Verdict) -> list[str]:
    """The endpoints of this verdict, as `web-7d4b9-x2x (10.0.0.7:8080) status 503 after 5 calls`.

    Without the error's text, which may be a pod's own words, and look like other entries.
    """
    return [
        f"{each.name} {_cause(each)} {after(each.attempts)}"
        for each in report.endpoints
        if each.verdict == verdict
    ]


def _cause(report: EndpointReport) -> str:
    """The error's word, with the status code that came."""
    if report.error_type == "status" and report.last:
        return f"status {report.last.status_code}"
    return report.error_type or report.verdict


def joined(entries: Sequence[str], limit: int) -> str | None:
    """As many entries as fit in `limit` bytes, and how many more there are. None without any."""
    if not entries:
        return None
    text = ", ".join(entries)
    if len(text.encode()) <= limit:
        return text
    room, shown = limit - len(f"and {len(entries)} more"), 0
    while (room := room - len(f"{entries[shown]}, ".encode())) >= 0:
        shown += 1
    return ", ".join([*entries[:shown], f"and {len(entries) - shown} more"])
