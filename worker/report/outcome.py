"""Reports -> outcome, exit code and log level: how bad it is. Pure.

What to do about it, `hints` says. docs/exit-codes.md explains each code.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.report.records import BroadcastReport, RunReport
from worker.words import LEVELS, OUTCOMES, Level, Outcome, Reason, worst

EXIT_CODES: dict[Outcome, int] = {"complete": 0, "partial": 3, "failed": 4}
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_SIGNAL_BASE = 128  # plus the signal's number, as shells do


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
