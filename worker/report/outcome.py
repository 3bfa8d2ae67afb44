"""Reports -> exit code, log level and summary: how bad it is. Pure.

What to do about it, `hints` says. docs/exit-codes.md explains each code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from worker.model import named
from worker.report.records import BroadcastReport, EndpointReport, RunReport
from worker.words import LEVELS, OUTCOMES, Level, Outcome, Reason, Verdict, worst

EXIT_CODES: dict[Outcome, int] = {"complete": 0, "partial": 3, "failed": 4}
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_SIGNAL_BASE = 128  # plus the signal's number, as shells do
LISTED_ENDPOINTS = 20  # they fit in one field of a log line, IPv6 addresses as well


def outcome_of(acknowledged: int, reason: Reason | None) -> Outcome:
    """The outcome of a broadcast. `reason`: why it is not complete, or None if it is."""
    if reason is None:
        return "complete"
    return "partial" if acknowledged else "failed"


def exit_code(outcome: Outcome) -> int:
    """The exit code of a run with only one broadcast, of this outcome."""
    return EXIT_CODES[outcome]


def run_outcome(broadcasts: Sequence[BroadcastReport]) -> Outcome:
    """The worst outcome of the broadcasts, of which there is at least one."""
    return worst((report.outcome for report in broadcasts), OUTCOMES)


def run_exit_code(run: RunReport) -> int:
    """0 complete, 3 partial, 4 failed; 130 or 143 after a stop signal."""
    if run.stop_signal is not None:
        return EXIT_SIGNAL_BASE + run.stop_signal
    return exit_code(run_outcome(run.broadcasts))


def level(report: BroadcastReport) -> Level:
    """The level of `broadcast.finished`."""
    if report.outcome != "complete":
        return "error"
    remarkable = report.count_of("gone") or report.not_ready or not report.confirmed
    return "warning" if remarkable else "info"


def run_level(run: RunReport) -> Level:
    """The level of `run.finished`: the highest of the broadcasts."""
    return worst((level(report) for report in run.broadcasts), LEVELS)


def summary(run: RunReport) -> dict[str, str | int | float]:
    """The fields of `run.finished`."""
    reports = run.broadcasts
    outcomes: list[str] = [report.outcome for report in reports]
    verdicts = get_args(Verdict)
    return {
        "outcome": run_outcome(reports),
        "exit_code": run_exit_code(run),
        **{f"broadcasts_{outcome}": outcomes.count(outcome) for outcome in OUTCOMES},
        "seen": sum(len(report.endpoints) for report in reports),
        **{verdict: sum(report.count_of(verdict) for report in reports) for verdict in verdicts},
        "duration_seconds": run.duration_seconds,
    }


def failed_endpoints(report: BroadcastReport) -> str | None:
    """The first 20 that failed, as `10.0.0.7:8080 status 503, …`; None if none did.

    With the pod's name where it is known: `web-7d4b9-x2x (10.0.0.7:8080) status 503`.
    """
    failed = [each for each in report.endpoints if each.verdict == "failed"]
    return _listed([f"{each.name} {_cause(each)}" for each in failed])


def not_ready_endpoints(report: BroadcastReport) -> str | None:
    """The first 20 that were not called, since they are not ready; None if there are none."""
    return _listed([named(endpoint, target.pod) for endpoint, target in report.not_ready.items()])


def _cause(report: EndpointReport) -> str:
    """The error's word, with the status code that came."""
    if report.error_type == "status" and report.last:
        return f"status {report.last.status_code}"
    return str(report.error_type)


def _listed(texts: Sequence[str]) -> str | None:
    more = ["…"] * (len(texts) > LISTED_ENDPOINTS)
    return ", ".join([*texts[:LISTED_ENDPOINTS], *more]) or None
