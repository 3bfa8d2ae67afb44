"""Exit codes and levels, from records alone."""

from __future__ import annotations

from typing import Any

import pytest

from worker.model import CallResult, Endpoint
from worker.report import outcome as report
from worker.report.records import BroadcastReport, EndpointReport, RunReport
from worker.words import CallError, Outcome, Verdict


def endpoint(number: int, verdict: Verdict, error: CallError | None, **last: Any) -> EndpointReport:
    address = Endpoint(f"10.0.0.{number}", 8080)
    call = CallResult(address, "0" * 16, 0.1, error_type=error, **last) if error else None
    return EndpointReport(address, verdict, 1, error, last=call)


def broadcast_report(*endpoints: EndpointReport, **changes: Any) -> BroadcastReport:
    fields: dict[str, Any] = {
        "name": "clear",
        "outcome": "failed",
        "reason": "all_calls_failed",
        "endpoints": endpoints,
        "rounds": 2,
        "calls": 3,
        "confirmed": True,
        "duration_seconds": 1.5,
    }
    return BroadcastReport(**fields | changes)


ACKNOWLEDGED = endpoint(1, "acknowledged", None)
FAILED = endpoint(2, "failed", "timeout")
GONE = endpoint(3, "gone", "connect_refused")
CANCELLED = endpoint(4, "cancelled", None)


@pytest.mark.parametrize(
    ("outcomes", "stop_signal", "exit_code"),
    [
        (["complete", "complete"], None, 0),
        (["complete", "partial"], None, 3),
        (["failed", "partial", "complete"], None, 4),
        (["complete"], 15, 143),
        (["failed"], 2, 130),
    ],
)
def test_exit_codes(outcomes: list[Outcome], stop_signal: int | None, exit_code: int) -> None:
    reports = tuple(broadcast_report(outcome=outcome) for outcome in outcomes)
    assert report.run_exit_code(RunReport(reports, 1.0, stop_signal)) == exit_code


@pytest.mark.parametrize(
    ("changes", "endpoints", "level"),
    [
        ({"outcome": "complete"}, [ACKNOWLEDGED], "info"),
        ({"outcome": "complete", "confirmed": False}, [ACKNOWLEDGED], "warning"),
        ({"outcome": "complete"}, [ACKNOWLEDGED, GONE], "warning"),
        ({"outcome": "partial"}, [ACKNOWLEDGED, FAILED], "error"),
        ({"outcome": "failed"}, [], "error"),
    ],
)
def test_levels(changes: dict[str, Any], endpoints: list[EndpointReport], level: str) -> None:
    assert report.level(broadcast_report(*endpoints, **changes)) == level
